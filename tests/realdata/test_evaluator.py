"""Popularity on the NCF files is known to the last digit: it validates reading, splitting and ranking together.

Rendle, Krichene, Zhang & Anderson, RecSys 2020, table 3: HR@10 .4535, NDCG@10 .2543.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recexp.task.run import Run

pytestmark = pytest.mark.realdata


@pytest.mark.parametrize(
    ("ties", "hits", "hr", "ndcg"),
    [
        ("expected", 2739.0, 0.45348, 0.25427),
        ("against", 2737.0, 0.45315, 0.25409),
        ("for", 2741.0, 0.45381, 0.25446),
    ],
)
def test_popularity_on_ncf_ml_1m(
    real_data: Path, run: Callable[..., Run], ties: str, hits: float, hr: float, ndcg: float
) -> None:
    done = run("data=ncf_movielens_1m", "model=popularity", "eval=sampled", f"eval.ties={ties}")
    assert done.metrics["test/hr@10"] * 6040 == pytest.approx(hits, abs=1e-6)
    assert done.metrics["test/hr@10"] == pytest.approx(hr, abs=5e-6)
    assert done.metrics["test/ndcg@10"] == pytest.approx(ndcg, abs=5e-6)
    assert done.metrics["popularity/hr@10"] == done.metrics["test/hr@10"]
