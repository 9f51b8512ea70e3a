"""SLIM fit: ours, irspack's C++ where it is installed, and a loop of scikit-learn's ElasticNet, in one run.

    python benchmarks/slim.py [--data movielens_1m] [--alpha 0.2] [--l1-ratio 0.02] [--columns 50] [--full]

The same matrix, the same objective. The loop does what RecBole's and Ferrari Dacrema's SLIM do: one ElasticNet per
item on the sparse matrix, positive, no intercept, max_iter 100, tol 1e-4, one process; it fits `--columns` random
columns and is extrapolated by their number, unless `--full`. irspack gets as many threads as torch. Those columns are
fitted once more to a tight tolerance: `excess` is how far, relative to that, the worst column's objective is above it.
Ours includes the Gram matrix; compiling is done before, and reported; ours and irspack are the medians of `--repeats`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from importlib import metadata, util
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from record import RESULTS, save
from scipy.sparse import csc_array, csr_array, csr_matrix
from sklearn.linear_model import ElasticNet

from recexp import config, facts
from recexp.model.columns import Solver
from recexp.model.slim_kernels import Rows
from recexp.model.sparse import user_item
from recexp.task.assemble import make

SOLVER = {"max_iter": 1000, "tol": 1e-6, "max_dense_items": 20_000, "num_neighbors": 200}


def ours(matrix: csr_array, alpha: float, l1_ratio: float) -> Rows:
    """All columns of W."""
    num_users, num_items = matrix.shape
    l1, l2 = num_users * alpha * l1_ratio, num_users * alpha * (1 - l1_ratio)
    nothing = Rows(np.zeros(num_items + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    return Solver(**SOLVER).on(matrix, l1, l2, num_items).solve(np.arange(num_items), nothing)  # type: ignore[arg-type]


def peer(matrix: csr_array, columns: np.ndarray, alpha: float, l1_ratio: float, **until: Any) -> np.ndarray:
    """Some columns of W, [len(columns), I]."""
    net = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, positive=True, fit_intercept=False, copy_X=False, **until)
    others, found = csc_array(matrix), []
    for j in columns:
        own = slice(others.indptr[j], others.indptr[j + 1])
        kept = others.data[own].copy()
        target = matrix[:, [j]].toarray().ravel()
        others.data[own] = 0
        found.append(net.fit(others, target).coef_.copy())
        others.data[own] = kept
    return np.stack(found)


def irspack(matrix: csr_array, alpha: float, l1_ratio: float) -> np.ndarray:
    """All columns of W, as rows."""
    from irspack import SLIMRecommender

    threads = torch.get_num_threads()
    settings = {"alpha": alpha, "l1_ratio": l1_ratio, "positive_only": True, "n_iter": 100, "tol": 1e-4}
    return csr_array(SLIMRecommender(csr_matrix(matrix), **settings, n_threads=threads).learn().W).T.tocsr()


def objective(matrix: csr_array, j: int, w: np.ndarray, alpha: float, l1_ratio: float) -> float:
    """Of one column, in double precision."""
    residual = matrix[:, [j]].toarray().ravel().astype(float) - matrix.astype(float) @ w
    scale = matrix.shape[0] * alpha
    return float(0.5 * residual @ residual + scale * (l1_ratio * w.sum() + 0.5 * (1 - l1_ratio) * w @ w))


def timed(work: Any, *args: Any, **more: Any) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    started = time.perf_counter()
    result = work(*args, **more)
    return time.perf_counter() - started, result


def excess(
    matrix: csr_array, columns: np.ndarray, found: Sequence[np.ndarray], least: np.ndarray, *penalty: float
) -> float:
    """How far the worst column's objective is above the least, relative to it."""
    values = [objective(matrix, j, w, *penalty) for j, w in zip(columns, found, strict=True)]
    return float((np.array(values) / least - 1).max())


def compared(matrix: csr_array, columns: np.ndarray, full: bool, repeats: int, *penalty: float) -> dict[str, Any]:
    """Seconds and excess of all."""
    num_items = matrix.shape[1]
    tight = peer(matrix, columns, *penalty, max_iter=1000, tol=1e-9)
    least = np.array([objective(matrix, j, w, *penalty) for j, w in zip(columns, tight, strict=True)])

    def told(seconds: Sequence[float], W_jI: csr_array) -> dict[str, Any]:
        own = [W_jI[[j]].toarray()[0].astype(float) for j in columns]
        worst = excess(matrix, columns, own, least, *penalty)
        return {"seconds": statistics.median(seconds), "all_seconds": seconds, "excess": worst, "weights": W_jI.nnz}

    compiling, _ = timed(ours, matrix[:50, :50], *penalty)
    goes = [timed(ours, matrix, *penalty) for _ in range(repeats)]
    found = goes[-1][1]
    W_jI = csr_array((found.value, found.column, found.start), shape=(num_items, num_items))
    results = {"recexp": {**told([seconds for seconds, _ in goes], W_jI), "compiling": compiling}}
    if util.find_spec("irspack"):
        goes = [timed(irspack, matrix, *penalty) for _ in range(repeats)]
        results["irspack"] = told([seconds for seconds, _ in goes], goes[-1][1])
    part = np.arange(num_items) if full else columns
    loop, theirs = timed(peer, matrix, part, *penalty, max_iter=100, tol=1e-4)
    worst = excess(matrix, columns, list(theirs[np.searchsorted(part, columns)]), least, *penalty)
    results["scikit-learn"] = {"seconds": loop * num_items / len(part), "excess": worst, "columns": len(part)}
    return results


def main(asked: argparse.Namespace) -> None:
    """Fit both, compare the objectives, keep the result."""
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        dataset = make(compose("config", overrides=[f"data={asked.data}"]).data).load()
    matrix = user_item(dataset.interactions, dataset.num_users, dataset.num_items)
    columns = np.sort(np.random.default_rng(0).choice(dataset.num_items, asked.columns, replace=False))
    results = compared(matrix, columns, asked.full, asked.repeats, asked.alpha, asked.l1_ratio)
    ratios = {who: row["seconds"] / results["recexp"]["seconds"] for who, row in results.items()}
    provenance = {**facts.provenance([]), "command": shlex.join(["python", *sys.argv])}
    provenance["versions"] |= {who: metadata.version(who) for who in results}
    RESULTS.mkdir(exist_ok=True)
    path = save(
        f"slim_{asked.data}_alpha{asked.alpha}_l1ratio{asked.l1_ratio}",
        **provenance,
        date=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        data=dataset.sha256,
        threads=torch.get_num_threads(),
        settings={**vars(asked), **SOLVER},
        results=results,
        ratios=ratios,
    )
    for who, ratio in ratios.items():
        print(f"{who:13} {results[who]['seconds']:7.2f} s  {ratio:6.1f}x ours  excess {results[who]['excess']:.1e}")
    print(os.path.relpath(path))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="movielens_1m")
    parser.add_argument("--alpha", type=float, default=0.2)
    parser.add_argument("--l1-ratio", type=float, default=0.02)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--full", action="store_true")
    warnings.simplefilter("ignore")  # the peer's columns that stop at max_iter
    main(parser.parse_args())
