"""The linear models of the NCF tables, on the files of those tables.

Ferrari Dacrema et al., TOIS 2021, and Rendle et al., RecSys 2022: HR@10 and NDCG@10; one standard error of HR is .006.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from scipy.sparse import csc_array, csr_array
from sklearn.linear_model import ElasticNet

from recexp import config
from recexp.model.columns import Solver
from recexp.model.slim_kernels import Rows
from recexp.model.sparse import user_item
from recexp.task.assemble import Experiment
from recexp.task.run import Run

pytestmark = pytest.mark.realdata


@pytest.mark.parametrize(
    ("experiment", "hr", "ndcg"),
    [
        ("ncf_movielens_1m_ease", 0.7192, 0.4494),
        ("ncf_movielens_1m_slim", 0.7162, 0.4468),
        ("ncf_movielens_1m_wals", 0.7310, 0.4521),
    ],
)
def test_as_published(real_data: Path, run: Callable[..., Run], experiment: str, hr: float, ndcg: float) -> None:
    metrics = run(f"experiment={experiment}").metrics
    assert metrics["test/hr@10"] > hr - 0.006
    assert metrics["test/ndcg@10"] > ndcg - 0.006


def test_slim_columns_are_scikit_learns(real_data: Path) -> None:
    """Objectives of random columns of MovieLens 1M, at the published setting."""
    alpha, l1_ratio = 0.0788, 1.19e-5
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        composed = compose("config", overrides=["experiment=ncf_movielens_1m_slim"])
    data = Experiment(composed).data
    A_UI = user_item(data.split.train, data.dataset.num_users, data.dataset.num_items)
    num_users, num_items = A_UI.shape
    columns = np.random.default_rng(0).choice(num_items, 15, replace=False)
    settings = {name: value for name, value in composed.model.solver.items() if name != "_target_"}
    l1, l2 = num_users * alpha * l1_ratio, num_users * alpha * (1 - l1_ratio)
    nothing = Rows(np.zeros(num_items + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    found = Solver(**settings).on(A_UI, l1, l2, num_items).solve(columns, nothing)
    W_jI = csr_array((found.value, found.column, found.start), shape=(len(columns), num_items)).toarray()
    net = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, positive=True, fit_intercept=False, max_iter=1000, tol=1e-8)
    for j, own in zip(columns, W_jI, strict=True):
        others, target = csc_array(A_UI.astype(float)), A_UI[:, [j]].toarray().ravel().astype(float)
        others.data[others.indptr[j] : others.indptr[j + 1]] = 0

        def objective(w: np.ndarray) -> float:
            residual = target - A_UI.astype(float) @ w  # noqa: B023
            return float(0.5 * residual @ residual + l1 * w.sum() + 0.5 * l2 * w @ w)

        assert own[j] == 0
        assert objective(own) <= objective(net.fit(others, target).coef_) * (1 + 1e-6)
