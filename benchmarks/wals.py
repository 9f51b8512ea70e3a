"""Seconds per epoch of WALS on MovieLens 1M (the NCF files), beside peers where they are installed.

    python benchmarks/wals.py [--dims 64 192] [--epochs 5] [--peer irspack implicit] [--steps 2]

Ours and the peers take turns epoch by epoch, so that whatever else the machine does hits all; the least and the median
of the epochs are printed. irspack minimizes the same objective, so its factors are measured by ours; implicit's differs
(confidence replaces the weight of unobserved pairs, regularization is flat), so only its time can be compared.
GFLOP/s count 2 nnz k^2 + (U + I)(k^3 / 3 + 2 k^2) per exact epoch, whatever was done instead of it, against what
one large float32 product of torch reaches in the same run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from record import RESULTS, save
from scipy.sparse import csr_matrix

from recexp import config, facts
from recexp.model.wals import WALS
from recexp.model.wals_solvers import Cholesky, ConjugateGradient, Solver
from recexp.task.assemble import Experiment
from recexp.types import Interactions

A0, LAMBDA, NU, INIT_STD, STEPS = 0.3, 0.007, 1.0, 0.1, 3
SOLVERS: dict[str, Solver] = {"cholesky": Cholesky(), "conjugate_gradient": ConjugateGradient(STEPS)}
OF_IRSPACK = {"cholesky": "CHOLESKY", "conjugate_gradient": "CG", "block": "IALSPP"}


class Recexp:
    """Our own, timed without the objective, as the peers are."""

    def __init__(self, train: Interactions, matrix: csr_matrix, dim: int, solver: str) -> None:
        torch.manual_seed(0)
        self.model = WALS(dim, A0, LAMBDA, NU, 1, INIT_STD, SOLVERS[solver], *matrix.shape)
        self.model.prepare(train)

    def epoch(self) -> float:
        started = time.perf_counter()
        for block in self.model.steps(0):
            self.model.solve(block)
        return time.perf_counter() - started

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        return self.model.user_factors.numpy(), self.model.item_factors.numpy()


class Irspack:
    """The same objective and the same number of conjugate-gradient steps."""

    def __init__(self, train: Interactions, matrix: csr_matrix, dim: int, solver: str) -> None:
        from irspack import IALSRecommender

        settings = {"alpha0": A0, "reg": LAMBDA, "nu": NU, "init_std": INIT_STD, "max_cg_steps": STEPS}
        recommender = IALSRecommender(
            matrix, dim, **settings, solver_type=OF_IRSPACK[solver], n_threads=torch.get_num_threads()
        )
        self.trainer = recommender._create_trainer()

    def epoch(self) -> float:
        started = time.perf_counter()
        self.trainer.run_epoch()
        return time.perf_counter() - started

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        return self.trainer.core_trainer.user, self.trainer.core_trainer.item


class Implicit:
    """Another objective; one iteration of the same kind, one thread of BLAS, as its manual asks."""

    def __init__(self, train: Interactions, matrix: csr_matrix, dim: int, solver: str) -> None:
        from implicit.als import AlternatingLeastSquares

        self.matrix = matrix
        self.model = AlternatingLeastSquares(
            dim, iterations=1, use_cg=solver != "cholesky", use_gpu=False, num_threads=torch.get_num_threads()
        )

    def epoch(self) -> float:
        from threadpoolctl import threadpool_limits

        seconds: list[float] = []
        with threadpool_limits(1, "blas"):
            self.model.fit(self.matrix, show_progress=False, callback=lambda _, taken, loss: seconds.append(taken))
        return seconds[0]

    factors = None


PEERS: dict[str, Any] = {"irspack": Irspack, "implicit": Implicit}


def main() -> None:
    """Measure everybody in turn."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--dims", type=int, nargs="+", default=[64, 192])
    arguments.add_argument("--epochs", type=int, default=5)
    arguments.add_argument("--peer", choices=list(PEERS), nargs="*", default=[])
    arguments.add_argument("--steps", type=int, default=STEPS, help="conjugate-gradient steps of ours; peers take 3")
    chosen = arguments.parse_args()
    SOLVERS["conjugate_gradient"] = ConjugateGradient(chosen.steps)
    train, matrix = training_data()
    limit = product_gflops()
    print(f"torch float32 product: {limit:.0f} GFLOP/s on {torch.get_num_threads()} threads")
    results = [row for dim in chosen.dims for row in measured(train, matrix, dim, chosen.epochs, chosen.peer, limit)]
    RESULTS.mkdir(exist_ok=True)
    path = save(
        "wals",
        **circumstances(chosen.peer),
        conjugate_gradient_steps=chosen.steps,
        product_gflops=limit,
        results=results,
    )
    print(os.path.relpath(path))


def training_data() -> tuple[Interactions, csr_matrix]:
    """Training events of the published experiment."""
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        data = Experiment(compose("config", overrides=["experiment=ncf_movielens_1m_wals"])).data
    train, shape = data.split.train, (data.dataset.num_users, data.dataset.num_items)
    return train, csr_matrix((train.weight, (train.user, train.item)), shape)


def product_gflops() -> float:
    """What a product of two 2048 x 2048 matrices reaches."""
    one = torch.rand(2048, 2048)
    return 2 * 2048**3 / min(seconds(lambda: one @ one) for _ in range(8)) / 1e9


def seconds(work: Callable[[], Any]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measured(
    train: Interactions, matrix: csr_matrix, dim: int, epochs: int, peers: list[str], limit: float
) -> list[dict[str, Any]]:
    """A row for everybody at one size, each solver's in turn."""
    rows = []
    for solver in OF_IRSPACK:
        rivals: dict[str, Any] = {"recexp": Recexp} if solver in SOLVERS else {}
        rivals |= {name: PEERS[name] for name in peers if solver in SOLVERS or name == "irspack"}
        fits = {name: kind(train, matrix, dim, solver) for name, kind in rivals.items()}
        for fit in fits.values():
            fit.epoch()  # compiles, and touches the memory
        taken: dict[str, list[float]] = {name: [] for name in fits}
        for _ in range(epochs):
            for name, fit in fits.items():
                taken[name].append(fit.epoch())
        rows += [row(name, solver, dim, taken[name], fits[name], (train, matrix)) for name in fits]
    return [told(r, rows, exact_flops(matrix, dim), limit) for r in rows]


def row(
    name: str, solver: str, dim: int, taken: list[float], fit: Any, data: tuple[Interactions, csr_matrix]
) -> dict[str, Any]:
    """One result."""
    found = {
        "who": name,
        "solver": solver,
        "dim": dim,
        "seconds": min(taken),
        "median_seconds": statistics.median(taken),
    }
    return {**found, "all_seconds": taken, "objective": objective(fit, *data) if fit.factors else None}


def objective(fit: Any, train: Interactions, matrix: csr_matrix) -> float:
    """Ours, of anybody's factors."""
    users, items = fit.factors()
    judge = WALS(users.shape[1], A0, LAMBDA, NU, 1, INIT_STD, SOLVERS["cholesky"], *matrix.shape)
    judge.load_state_dict({"user_factors": torch.from_numpy(users), "item_factors": torch.from_numpy(items)})
    judge.prepare(train)
    return judge.objective()


def exact_flops(matrix: csr_matrix, dim: int) -> float:
    """2 nnz k^2 + (U + I)(k^3 / 3 + 2 k^2)."""
    return 2 * matrix.nnz * dim**2 + sum(matrix.shape) * (dim**3 / 3 + 2 * dim**2)


def told(result: dict[str, Any], rows: list[dict[str, Any]], flops: float, limit: float) -> dict[str, Any]:
    """The result with its ratios, printed."""
    own = [r["seconds"] for r in rows if r["who"] == "recexp" and r["solver"] == result["solver"]]
    ratio = result["seconds"] / own[0] if own else None
    counted = {"gflops": flops / result["seconds"] / 1e9} if result["solver"] == "cholesky" else {}
    text = "{who:9} k={dim:<4} {solver:19} {seconds:6.3f} s/epoch (median {median_seconds:.3f})".format(**result)
    text += f"  {ratio:5.2f} x ours" if ratio else ""
    text += "".join(f"  {rate:4.0f} GFLOP/s, {rate / limit:.2f} of the product's" for rate in counted.values())
    print(text + (f"  objective {result['objective']:.1f}" if result["objective"] else ""), flush=True)
    return {**result, **counted, "ratio_to_recexp": ratio}


def circumstances(peers: list[str]) -> dict[str, Any]:
    """What a result needs to be believed."""
    known = facts.provenance([])
    return {
        "command": "python benchmarks/wals.py",
        "commit": known["git"],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": known["hardware"],
        "threads": torch.get_num_threads(),
        "versions": {**known["versions"], **{name: metadata.version(name) for name in peers}},
    }


if __name__ == "__main__":
    main()
