"""Weighted ALS of ours and of others, behind one face: `epoch()` seconds, `factors()` users and items.

irspack minimizes our objective. implicit and LensKit weigh an unobserved pair by 1 and regularize all rows alike; they
get our settings in their terms: weights divided by a0, the regularization of an average row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from scipy.sparse import csr_matrix

from recexp.model.wals import WALS
from recexp.model.wals_solvers import Cholesky, ConjugateGradient, Solver
from recexp.types import Interactions

A0, LAMBDA, NU, INIT_STD = 0.3, 0.007, 1.0, 0.1
SOLVERS: dict[str, Solver] = {"cholesky": Cholesky(), "conjugate_gradient": ConjugateGradient(2)}
Factors = tuple[np.ndarray, np.ndarray]


class Fit(Protocol):
    """One system at work."""

    def __init__(self, train: Interactions, matrix: csr_matrix, dim: int, solver: str) -> None: ...

    def epoch(self) -> float:
        """Seconds of one more epoch."""

    def factors(self) -> Factors:
        """Of users [U, k] and items [I, k]."""


def seconds(work: Callable[[], Any]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def flat(matrix: csr_matrix) -> float:
    """lambda (n + a0 n_other) of an average row, over a0."""
    users, items = matrix.shape
    rows = [matrix.nnz / users + A0 * items, matrix.nnz / items + A0 * users]
    return LAMBDA * sum(rows) / 2 / A0


class Recexp:
    """Ours, without the objective, as the others are timed; two preconditioned steps for three plain ones."""

    def __init__(self, train: Interactions, matrix: csr_matrix, dim: int, solver: str) -> None:
        torch.manual_seed(0)
        self.model = WALS(dim, A0, LAMBDA, NU, 1, INIT_STD, SOLVERS[solver], *matrix.shape)
        self.model.prepare(train)

    def epoch(self) -> float:
        return seconds(lambda: [self.model.solve(block) for block in self.model.steps(0)])

    def factors(self) -> Factors:
        return self.model.user_factors.numpy(), self.model.item_factors.numpy()


class Irspack:
    """The fastest one known to us."""

    def __init__(self, train: Interactions, matrix: csr_matrix, dim: int, solver: str) -> None:
        from irspack import IALSRecommender

        kind = {"cholesky": "CHOLESKY", "conjugate_gradient": "CG", "block": "IALSPP"}[solver]
        settings = {"alpha0": A0, "reg": LAMBDA, "nu": NU, "init_std": INIT_STD, "max_cg_steps": 3}
        threads = torch.get_num_threads()
        self.trainer = IALSRecommender(matrix, dim, **settings, solver_type=kind, n_threads=threads)._create_trainer()

    def epoch(self) -> float:
        return seconds(self.trainer.run_epoch)

    def factors(self) -> Factors:
        return self.trainer.core_trainer.user, self.trainer.core_trainer.item


class Implicit:
    """With one thread of BLAS, as its manual asks."""

    def __init__(self, train: Interactions, matrix: csr_matrix, dim: int, solver: str) -> None:
        from implicit.als import AlternatingLeastSquares

        self.matrix = matrix
        settings = {"alpha": 1 / A0 + 1, "regularization": flat(matrix), "use_cg": solver != "cholesky"}
        threads = torch.get_num_threads()
        self.model = AlternatingLeastSquares(
            dim, **settings, iterations=1, use_gpu=False, num_threads=threads, random_state=0
        )

    def epoch(self) -> float:
        from threadpoolctl import threadpool_limits

        taken: list[float] = []
        with threadpool_limits(1, "blas"):
            self.model.fit(self.matrix, show_progress=False, callback=lambda _, second, loss: taken.append(second))
        return taken[0]

    def factors(self) -> Factors:
        return self.model.user_factors, self.model.item_factors


class LensKit:
    """Exact only."""

    def __init__(self, train: Interactions, matrix: csr_matrix, dim: int, solver: str) -> None:
        import pandas as pd
        from lenskit.als import ImplicitMFScorer
        from lenskit.data import from_interactions_df
        from lenskit.training import TrainingOptions

        data = from_interactions_df(pd.DataFrame({"user_id": train.user, "item_id": train.item}))
        settings = {"weight": 1 / A0, "regularization": flat(matrix), "user_embeddings": True}
        self.shape, self.scorer = matrix.shape, ImplicitMFScorer(embedding_size=dim, epochs=1, **settings)
        self.trainer = self.scorer.create_trainer(data, TrainingOptions(rng=0))

    def epoch(self) -> float:
        return seconds(self.trainer.train_epoch)

    def factors(self) -> Factors:
        sides = (self.scorer.user_embeddings, self.scorer.users), (self.scorer.item_embeddings, self.scorer.items)
        spread = []
        for (found, ids), size in zip(sides, self.shape, strict=True):
            rows = np.zeros((size, found.shape[1]), np.float32)
            rows[ids.ids()] = found
            spread.append(rows)
        return spread[0], spread[1]


PEERS: dict[str, tuple[type[Fit], set[str]]] = {
    "irspack": (Irspack, {"cholesky", "conjugate_gradient", "block"}),
    "implicit": (Implicit, {"cholesky", "conjugate_gradient"}),
    "lenskit": (LensKit, {"cholesky"}),
}
