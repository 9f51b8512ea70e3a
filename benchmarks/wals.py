"""WALS on MovieLens 1M (the NCF files): seconds per epoch and to equal quality, beside peers where they are installed.

    python benchmarks/wals.py [--dims 64 192] [--epochs 12] [--peers irspack implicit lenskit]

Everybody takes turns epoch by epoch, so that whatever else the machine does hits all; the median and the least of the
epochs are printed. Quality is NDCG@10 of the NCF protocol after each epoch, outside the clock; `to_quality` is how long
each took to the least of what all reach at best, at this size. GFLOP/s count 2 nnz k^2 + (U + I)(k^3 / 3 + 2 k^2) per
exact epoch, whatever was done instead of it, against one large float32 product in the same run. With implicit there is
a parity check: on a small case with equal weights both must score alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from peers_als import A0, INIT_STD, LAMBDA, NU, PEERS, SOLVERS, Factors, Fit, Recexp, seconds
from record import save
from scipy.sparse import csr_matrix

from recexp import config, facts
from recexp.model.wals import WALS
from recexp.model.wals_solvers import Cholesky
from recexp.task.assemble import Experiment
from recexp.types import Interactions

THREADS = torch.get_num_threads()
"""Ours at every epoch: a peer's limit on the threads of its own BLAS reaches torch too, and stays."""

KINDS = ("cholesky", "conjugate_gradient", "block")


def main(dims: Sequence[int], epochs: int, peers: Sequence[str]) -> None:
    """Measure everybody in turn, and keep the result."""
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        experiment = Experiment(compose("config", overrides=["experiment=ncf_movielens_1m_wals"]))
    limit = product_gflops()
    print(f"torch float32 product: {limit:.0f} GFLOP/s on {torch.get_num_threads()} threads")
    found = {"product_gflops": limit, "results": [row for k in dims for row in measured(experiment, k, epochs, peers)]}
    for row in found["results"]:
        show(row, limit)
    if "implicit" in peers:
        found["parity_with_implicit"] = parity()
        print(f"scores against implicit's, converged, largest difference: {found['parity_with_implicit']:.1e}")
    print(os.path.relpath(save("wals", **circumstances(peers), **found)))


def product_gflops() -> float:
    """What a product of two 2048 x 2048 matrices reaches."""
    one = torch.rand(2048, 2048)
    return 2 * 2048**3 / min(seconds(lambda: one @ one) for _ in range(8)) / 1e9


def measured(experiment: Experiment, dim: int, epochs: int, peers: Sequence[str]) -> list[dict[str, Any]]:
    """A row for everybody at one size."""
    train, dataset = experiment.data.split.train, experiment.data.dataset
    matrix = csr_matrix((train.weight, (train.user, train.item)), (dataset.num_users, dataset.num_items))
    warm_up(train, matrix, dim)
    fits: dict[tuple[str, str], Fit] = {("recexp", kind): Recexp(train, matrix, dim, kind) for kind in SOLVERS}
    fits |= {(p, kind): PEERS[p][0](train, matrix, dim, kind) for p in peers for kind in KINDS if kind in PEERS[p][1]}
    taken: dict[tuple[str, str], list[float]] = {who: [] for who in fits}
    quality: dict[tuple[str, str], list[float]] = {who: [] for who in fits}
    for _ in range(epochs):
        for who, fit in fits.items():
            torch.set_num_threads(THREADS)
            taken[who].append(fit.epoch())
            quality[who].append(ndcg(experiment, fit.factors()))
    flops = 2 * matrix.nnz * dim**2 + sum(matrix.shape) * (dim**3 / 3 + 2 * dim**2)
    rows = [row(who, dim, taken[who], quality[who], flops) for who in fits]
    return with_ratios(rows)


def warm_up(train: Any, matrix: csr_matrix, dim: int) -> None:
    """Compile, outside the clock."""
    torch.set_num_threads(THREADS)
    for kind in SOLVERS:
        Recexp(train, matrix, dim, kind).epoch()


def ndcg(experiment: Experiment, factors: Factors) -> float:
    """NDCG@10 of anybody's factors."""
    users, items = (torch.from_numpy(np.ascontiguousarray(side, np.float32)) for side in factors)
    scorer = WALS(users.shape[1], A0, LAMBDA, NU, 1, INIT_STD, Cholesky(), len(users), len(items))
    scorer.load_state_dict({"user_factors": users, "item_factors": items})
    with torch.no_grad():
        return experiment.test.of(scorer.score).metrics["ndcg@10"]


def row(who: tuple[str, str], dim: int, taken: list[float], quality: list[float], flops: float) -> dict[str, Any]:
    """One result."""
    middle = statistics.median(taken)
    found = {"who": who[0], "solver": who[1], "dim": dim, "median_seconds": middle, "least_seconds": min(taken)}
    rate = {"gflops": flops / middle / 1e9} if who[1] == "cholesky" else {}
    return {**found, **rate, "all_seconds": taken, "ndcg@10": quality}


def with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with what each takes relative to ours, by epoch and to equal quality."""
    goal = min(max(row["ndcg@10"]) for row in rows)
    for row in rows:
        epochs = next(n for n, reached in enumerate(row["ndcg@10"], 1) if reached >= goal)
        row["to_quality"] = {"ndcg@10": goal, "epochs": epochs, "seconds": sum(row["all_seconds"][:epochs])}
    own = {row["solver"]: row for row in rows if row["who"] == "recexp"}
    for row in rows:
        ours = own.get(row["solver"], own["cholesky"])
        row["ratio_per_epoch"] = row["median_seconds"] / ours["median_seconds"]
        row["ratio_to_quality"] = row["to_quality"]["seconds"] / ours["to_quality"]["seconds"]
    return rows


def show(row: dict[str, Any], limit: float) -> None:
    """Print a row."""
    text = "{who:9} k={dim:<4} {solver:19} {median_seconds:6.3f} s/epoch (least {least_seconds:.3f})".format(**row)
    text += f" {row['ratio_per_epoch']:5.2f}x ours   to ndcg@10 {row['to_quality']['ndcg@10']:.4f}:"
    text += f" {row['to_quality']['epochs']:2} epochs {row['to_quality']['seconds']:6.2f} s"
    text += f" {row['ratio_to_quality']:5.2f}x ours   last {row['ndcg@10'][-1]:.4f}"
    print(
        text
        + (f"   {row['gflops']:4.0f} GFLOP/s, {row['gflops'] / limit:.2f} of the product's" if "gflops" in row else "")
    )


def parity() -> float:
    """Largest difference of scores from implicit's at convergence, all weights equal.

    implicit: sum_S c (1 - s)^2 + sum_(not S) s^2 + mu (|P|^2 + |Q|^2). Ours with w = c - 1, a0 = 1, nu = 0 is, up to a
    constant, sum_S c (r - s)^2 + sum_(not S) s^2 + lambda (...) with r = (c - 1) / c: the same problem for s / r if
    lambda = r mu.
    """
    from implicit.als import AlternatingLeastSquares

    c, mu, k = 5.0, 0.5, 3
    taken = np.random.default_rng(0).random((40, 25)) < 0.3
    user, item = taken.nonzero()
    theirs = AlternatingLeastSquares(
        k, alpha=1.0, regularization=mu, iterations=3000, use_cg=False, dtype=np.float64, random_state=0
    )
    theirs.fit(csr_matrix(np.where(taken, c, 0.0)), show_progress=False)
    torch.manual_seed(0)
    r = (c - 1) / c
    ours = WALS(k, 1.0, r * mu, 0.0, 1, 0.5, Cholesky(), *taken.shape).double()
    ours.prepare(interactions(user, item, c - 1))
    for _ in range(3000):
        for block in ours.steps(0):
            ours.solve(block)
    expected = r * theirs.user_factors @ theirs.item_factors.T
    return float(np.abs((ours.user_factors @ ours.item_factors.T).numpy() - expected).max())


def interactions(user: np.ndarray, item: np.ndarray, weight: float) -> Interactions:
    """Events of one weight."""
    ones = np.ones(len(user), np.float32)
    return Interactions(
        user.astype(np.int32), item.astype(np.int32), np.zeros(len(user), np.int64), weight * ones, ones
    )


def circumstances(peers: Sequence[str]) -> dict[str, Any]:
    """What a result needs to be believed."""
    known = facts.provenance([])
    return {
        "command": f"python benchmarks/wals.py --peers {' '.join(peers)}",
        "commit": known["git"],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": known["hardware"],
        "threads": THREADS,
        "versions": {**known["versions"], **{name: metadata.version(name) for name in peers}},
    }


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--dims", type=int, nargs="+", default=[64, 192])
    arguments.add_argument("--epochs", type=int, default=12)
    arguments.add_argument("--peers", choices=list(PEERS), nargs="*", default=[])
    main(**vars(arguments.parse_args()))
