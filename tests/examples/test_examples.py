"""What one row of training is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import recexp
from recexp.examples.events import Events
from recexp.examples.masked import Masked
from recexp.examples.next_items import NextItems
from recexp.task.run import Run
from recexp.types import Interactions


def log(lengths: list[int], label: float = 1.0) -> Interactions:
    """Users with so many events each; event n is item n."""
    user = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)
    count = len(user)
    weight, labels = np.arange(1, count + 1, dtype=np.float32), np.full(count, label, np.float32)
    return Interactions(user, np.arange(count, dtype=np.int32), np.arange(count), weight, labels)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_event_asks_for_itself_given_those_before() -> None:
    examples, train = Events(), log([3, 0, 2])
    examples.prepare(train, 3, torch.device("cpu"))
    batch = examples(torch.tensor([4, 0, 2]), generator())
    assert examples.count(train) == 5
    assert batch.query.users.tolist() == [2, 0, 0]
    assert batch.query.history.tolist() == [[3, -1], [-1, -1], [0, 1]]
    assert batch.positive.tolist() == [4, 0, 2]
    assert batch.weight.tolist() == [5.0, 1.0, 3.0]
    assert batch.label is None
    assert batch.query.asked is None


def test_next_items_asks_for_all_but_the_first() -> None:
    examples, train = NextItems(max_length=3), log([2, 1, 0, 5], label=0.5)
    examples.prepare(train, 4, torch.device("cpu"))
    assert examples.count(train) == 2, "who has one event has nothing to tell the next from"
    batch = examples(torch.tensor([1, 0]), generator())
    assert batch.query.users.tolist() == [3, 0]
    assert batch.query.history.tolist() == [[5, 6, 7], [0, 1, -1]]
    assert batch.query.asked is not None
    assert batch.query.asked.tolist() == [[False, True, True], [False, True, False]]
    assert batch.positive.tolist() == [6, 7, 1]
    assert batch.weight.tolist() == [7.0, 8.0, 2.0]
    assert batch.label is not None
    assert batch.label.tolist() == [0.5, 0.5, 0.5]


def test_masking_statistics() -> None:
    lengths = [40, 10] * 500
    examples, train = Masked(mask_share=0.2, last_share=0.1, max_length=20), log(lengths)
    examples.prepare(train, len(lengths), torch.device("cpu"))
    batch = examples(torch.arange(1000), generator())
    asked_BL, length_B = batch.query.asked, batch.query.length
    assert asked_BL is not None
    filled_BL = torch.arange(20) < length_B[:, None]
    assert not (asked_BL & ~filled_BL).any()
    assert asked_BL.any(1).all()
    assert torch.equal(batch.positive, batch.query.history[asked_BL])
    last_BL = torch.arange(20) == length_B[:, None] - 1
    only_last_B = (asked_BL == last_BL).all(1)
    long_B = length_B == 20
    expected = 0.1 + 0.9 * (0.8**20 + 0.2 * 0.8**19)  # drawn so, or nothing drawn, or nothing but the last drawn
    assert only_last_B[long_B].double().mean().item() == pytest.approx(expected, abs=0.04)
    inner_BL = (filled_BL & ~last_BL)[long_B]
    share_L = (asked_BL[long_B] & inner_BL).double().mean(0)[:19]
    assert share_L.mean().item() == pytest.approx(0.2 * 0.9, abs=0.01)
    assert share_L.min() > 0.1
    assert share_L.max() < 0.26, "no place is preferred"


def test_masks_are_others_each_time_and_the_generator_decides() -> None:
    examples, train = Masked(0.3, 0.1, 20), log([20] * 30)
    examples.prepare(train, 30, torch.device("cpu"))
    rows, one = torch.arange(30), generator()
    first, second, again = examples(rows, one), examples(rows, one), examples(rows, generator())
    assert not torch.equal(first.query.asked, second.query.asked)  # type: ignore[arg-type]
    assert torch.equal(first.query.asked, again.query.asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("last_share", [0.0, 1.0])
def test_share_of_histories_that_ask_for_the_last_alone(last_share: float) -> None:
    examples, train = Masked(0.9, last_share, 20), log([20] * 30)
    examples.prepare(train, 30, torch.device("cpu"))
    batch = examples(torch.arange(30), generator())
    assert (len(batch.positive) == 30) == (last_share == 1.0)


def test_a_model_that_answers_one_question_refuses_many(run: Callable[..., Run]) -> None:
    with pytest.raises(recexp.RecexpError, match="examples=events"):
        run("model=mf", "examples=masked")


def test_a_model_that_hides_what_is_asked_refuses_to_be_asked_for_all(run: Callable[..., Run]) -> None:
    with pytest.raises(recexp.RecexpError, match="examples=masked"):
        run("model=bert4rec", "examples=next_items")


LEARNT = ["model.embedding_dim=16", "model.layers.dropout=0", "optimizer.lr=0.01", "trainer.max_epochs=40"]


@pytest.mark.parametrize("negatives", ["full", "uniform", "in_batch"])
@pytest.mark.parametrize(
    ("model", "examples"), [("bert4rec", "masked"), ("sasrec", "masked"), ("sasrec", "next_items")]
)
def test_models_of_sequences_learn_from_whole_histories(
    model: str, examples: str, negatives: str, run: Callable[..., Run], on_checkerboard: list[str]
) -> None:
    asked = [f"model={model}", f"examples={examples}", f"negatives={negatives}", *LEARNT, "fit.batch_size=40"]
    done = run(*on_checkerboard, *asked, "fit.patience=null", "trainer.check_val_every_n_epoch=40", "eval.k=[1]")
    assert done.metrics["test/hr@1"] > 0.5 > 5 * done.metrics["popularity/hr@1"]
