"""Cold items: nowhere in train nor in any history, asked for among themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from recexp.data.filters import Filters
from recexp.data.synthetic import Synthetic
from recexp.eval.protocol import Full
from recexp.eval.segments import Segments
from recexp.split.base import digest
from recexp.split.cold_items import ColdItems
from recexp.task.run import Run
from recexp.types import Query

DATA = Synthetic(100, 80, 20, 0, None, Filters(None, None, "first", 0, 0)).load()


def test_cold_items_are_in_no_history() -> None:
    split = ColdItems(0.1, 0.2)(DATA, seed=0)
    assert split.validation is not None
    cold, choosing = (set(part.target.item.tolist()) for part in (split.test, split.validation))
    assert len(cold) == 16
    assert len(choosing) == 8
    assert not cold & choosing
    for part in (split.train, split.test.history, split.validation.history):
        assert not (cold | choosing) & set(part.item.tolist())
    assert len(split.train) + len(split.test.target) + len(split.validation.target) == len(DATA.interactions)


def test_the_seed_decides() -> None:
    one, same, other = (digest(ColdItems(0.0, 0.2)(DATA, seed)) for seed in (0, 0, 1))
    assert one == same != other


def test_only_cold_items_are_ranked() -> None:
    split = ColdItems(0.0, 0.2)(DATA, seed=0)
    segments = Segments(0.2, 5)
    evaluation = Full("full", [1, 5], ["hr"], "expected", "exclude", 64, segments).on(split, split.test, DATA, 0)
    cold = np.unique(split.test.target.item)

    def warm_first(query: Query, items: torch.Tensor | None) -> torch.Tensor:
        """Every warm item above every cold one, all cold ones tied."""
        scores = torch.ones(DATA.num_items)
        scores[torch.from_numpy(cold.astype(np.int64))] = 0.0
        return scores.expand(len(query), -1)

    evaluation.update(warm_first, torch.arange(len(evaluation.users)), "cpu")
    asked = np.bincount(split.test.target.user)[evaluation.users]
    assert evaluation.result().metrics["hr@1"] == pytest.approx((asked / len(cold)).mean())
    assert evaluation.result().notes == [f"ranked among the {len(cold)} items that the split asks for"]


def test_features_find_cold_items_and_ids_do_not(run: Callable[..., Run]) -> None:
    settings = ["split=cold_items", "model=two_tower", "model.id_dropout=0.5", "trainer.max_epochs=8", "eval.k=[5]"]
    data = ["data.num_users=300", "data.num_items=200", "data.num_events=20"]
    seeing = run(*settings, *data)
    blind = run(*settings, *data, "model.features.items=[id]")
    assert seeing.metrics["test/recall@5"] > 2 * seeing.metrics["popularity/recall@5"]
    assert blind.metrics["test/recall@5"] < 1.5 * blind.metrics["popularity/recall@5"]
