"""implicit's ALS on the Pinterest files, by the evaluator that measured ours: the row beside ncf_pinterest_wals.

    python benchmarks/implicit_pinterest.py [--dim 192] [--epochs 16]

Its weight of a taken pair and its regularization are chosen on the next-to-last events, then it learns from all of
train, as our settings come from the literature.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shlex
import sys
import time
from importlib import metadata
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from record import save
from scipy.sparse import csr_matrix

from recexp import config, facts
from recexp.eval.evaluation import Evaluation
from recexp.model.base import product
from recexp.task.assemble import Experiment
from recexp.types import Interactions, Query

ALPHAS, REGULARIZATIONS = [1.0, 3.0, 10.0], [30.0, 100.0, 300.0, 1000.0]


def experiment(*settings: str) -> Experiment:
    """The experiment that ours is a row of."""
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        return Experiment(compose("config", overrides=["experiment=ncf_pinterest_wals", *settings]))


def metrics(train: Interactions, evaluation: Evaluation, **settings: Any) -> dict[str, float]:
    """Of implicit's factors."""
    from implicit.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    shape = (evaluation.questions.dataset.num_users, evaluation.questions.dataset.num_items)
    matrix = csr_matrix((np.ones(len(train), np.float32), (train.user, train.item)), shape)
    model = AlternatingLeastSquares(**settings, use_gpu=False, num_threads=torch.get_num_threads(), random_state=0)
    with threadpool_limits(1, "blas"):
        model.fit(matrix, show_progress=False)
    users_UK, items_IK = torch.from_numpy(model.user_factors), torch.from_numpy(model.item_factors)

    def score(query: Query, items: torch.Tensor | None) -> torch.Tensor:
        return product(users_UK[query.users], items_IK if items is None else items_IK[items.clamp(min=0)])

    return evaluation.of(score).metrics


def main(dim: int, epochs: int) -> None:
    """Choose, fit, measure, keep."""
    held, whole = experiment("split.validation=next_to_last"), experiment()
    common, tried = {"factors": dim, "iterations": epochs}, {}
    for alpha, regularization in itertools.product(ALPHAS, REGULARIZATIONS):
        settings = {"alpha": alpha, "regularization": regularization}
        found = metrics(held.data.split.train, held.evaluations["val"], **common, **settings)
        tried[alpha, regularization] = found["ndcg@10"]
        print(f"alpha={alpha} regularization={regularization}: val/ndcg@10 {found['ndcg@10']:.4f}", flush=True)
    alpha, regularization = max(tried, key=lambda setting: tried[setting])
    settings, started = {**common, "alpha": alpha, "regularization": regularization}, time.perf_counter()
    found = metrics(whole.data.split.train, whole.test, **settings)
    known = facts.provenance([])
    path = save(
        "ncf_pinterest_implicit",
        command=shlex.join(["python", *sys.argv]),
        commit=known["git"],
        date=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **whole.identity(),
        seconds=time.perf_counter() - started,
        machine=known["hardware"],
        versions={**known["versions"], "implicit": metadata.version("implicit")},
        settings=settings,
        validation={f"alpha={a} regularization={r}": value for (a, r), value in tried.items()},
        metrics={f"test/{name}": value for name, value in found.items()},
    )
    print(f"test: hr@10 {found['hr@10']:.4f}, ndcg@10 {found['ndcg@10']:.4f}; {os.path.relpath(path)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--epochs", type=int, default=16)
    main(**vars(parser.parse_args()))
