"""BERT4Rec and SASRec: what is asked, what may be seen, and histories of every shape."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch.nn import functional as F

from recexp import config
from recexp.errors import RecexpError
from recexp.model.base import PairScorer
from recexp.model.sequences import Asked, Reader, buckets, compact, cosine
from recexp.task.assemble import new_model
from recexp.task.run import Run
from recexp.types import PAD, Query

MODELS = ["bert4rec", "sasrec"]
ITEMS = 12


def fresh(model: str, *overrides: str) -> PairScorer:
    small = {"model.embedding_dim": "8", "model.init_std": "1.0", "model.max_length": "6"}
    small |= dict(override.split("=") for override in overrides)
    options = [f"model={model}", *(f"{key}={value}" for key, value in small.items())]
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        scorer = new_model(compose("config", overrides=options), num_users=4, num_items=ITEMS).eval()
    assert isinstance(scorer, PairScorer)
    return scorer


def asking(histories: list[list[int]], places: list[list[int]]) -> Query:
    query = Query.from_histories(histories)
    asked_BL = torch.zeros(query.history.shape, dtype=torch.bool)
    for row, those in enumerate(places):
        asked_BL[row, those] = True
    return query.asking(asked_BL)


@pytest.mark.parametrize("model", MODELS)
def test_a_row_of_scores_for_each_place_in_order(model: str) -> None:
    scorer = fresh(model)
    histories = [[0, 1, 2, 3, 4, 5], [6], [7, 8, 9], [3, 2, 1, 0, 4, 5]]
    places = [[1, 5], [0], [2], [0, 3, 4]]
    together = scorer.score(asking(histories, places))
    alone = [scorer.score(asking([h], [[p]])) for h, those in zip(histories, places, strict=True) for p in those]
    if model == "sasrec":  # what is asked elsewhere is hidden from BERT4Rec
        torch.testing.assert_close(together, torch.cat(alone))
    rows = [scorer.score(asking([h], [those])) for h, those in zip(histories, places, strict=True)]
    torch.testing.assert_close(together, torch.cat(rows))
    assert together.shape == (7, ITEMS)


@pytest.mark.parametrize("model", MODELS)
def test_what_is_asked_is_not_looked_at(model: str) -> None:
    scorer = fresh(model)
    one = scorer.score(asking([[0, 1, 2, 3, 4]], [[1, 4]]))
    other = scorer.score(asking([[0, 9, 2, 3, 8]], [[1, 4]]))
    if model == "bert4rec":
        assert torch.equal(one, other)
    else:
        assert torch.equal(one[0], other[0]), "asked for item 1, sees item 0 alone"
        assert not torch.equal(one[1], other[1]), "item 1 is history to the last place"
        torch.testing.assert_close(one[1], scorer.score(asking([[0, 1, 2, 3, 7]], [[4]]))[0])


@pytest.mark.parametrize("model", MODELS)
def test_asking_for_the_last_place_is_recommending_after_the_rest(model: str) -> None:
    scorer = fresh(model)
    torch.testing.assert_close(
        scorer.score(asking([[0, 1, 2, 5]], [[3]])), scorer.score(Query.from_histories([[0, 1, 2]]))
    )


def test_later_items_are_hidden_from_sasrec_and_seen_by_bert4rec() -> None:
    one, other = asking([[0, 1, 2, 3]], [[1]]), asking([[0, 1, 2, 9]], [[1]])
    assert torch.equal(fresh("sasrec").score(one), fresh("sasrec").score(other))
    assert not torch.equal(fresh("bert4rec").score(one), fresh("bert4rec").score(other))


@pytest.mark.parametrize("model", MODELS)
def test_the_order_matters_and_so_does_the_place_from_the_end(model: str) -> None:
    scorer = fresh(model)
    a, b, c = scorer.score(Query.from_histories([[0, 1, 2], [1, 0, 2], [2, 1, 0]]))
    assert not torch.allclose(a, b)
    assert not torch.allclose(a, c)


@pytest.mark.parametrize("model", MODELS)
def test_odd_histories(model: str) -> None:
    """Of 1, of the maximum length and one more, far more, with items nobody knows, of nothing else, empty."""
    scorer = fresh(model)
    histories = [[3], [0, 1, 2, 3, 4, 5], [9, 0, 1, 2, 3, 4, 5], [7] * 30 + [1, 2, 3, 4, 5], [0, PAD, 2], [PAD], []]
    scores = scorer.score(Query.from_histories(histories))
    assert torch.isfinite(scores).all()
    torch.testing.assert_close(scores[1], scores[2])
    torch.testing.assert_close(scores[1], scores[3])
    assert not torch.equal(scores[4], scorer.score(Query.from_histories([[0, 1, 2]]))[0])
    nobody = scorer.score(Query.from_histories([[], []]))
    torch.testing.assert_close(nobody, scores[6:].expand(2, -1))


@pytest.mark.parametrize("model", MODELS)
def test_nobody_and_nothing_asked(model: str) -> None:
    scorer = fresh(model)
    assert scorer.score(Query.from_histories([])).shape == (0, ITEMS)
    some = asking([[0, 1, 2], [3]], [[1], []])
    torch.testing.assert_close(scorer.score(some), scorer.score(asking([[0, 1, 2]], [[1]])))


@pytest.mark.parametrize("model", MODELS)
def test_asking_for_more_than_the_model_sees_is_refused(model: str) -> None:
    with pytest.raises(RecexpError, match=r"examples\.max_length=7"):
        fresh(model).score(asking([[0, 1, 2, 3, 4, 5, 6]], [[0]]))


@pytest.mark.parametrize("model", MODELS)
def test_few_histories_are_learned_by_heart(model: str) -> None:
    """20 sequences without any pattern: every item is known from the rest of its history."""
    torch.manual_seed(0)
    small = ["model.embedding_dim=32", "model.max_length=10", "model.init_std=0.1", "model.layers.dropout=0.0"]
    scorer = fresh(model, *small).train()
    history_BL = torch.stack([torch.randperm(ITEMS)[:10] for _ in range(20)])
    query = Query.from_histories(history_BL.tolist())
    asked_BL = torch.zeros(20, 10, dtype=torch.bool)
    asked_BL[:, 5::2] = True
    optimizer = torch.optim.Adam(scorer.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(scorer.score(query.asking(asked_BL)), history_BL[asked_BL]).backward()
        optimizer.step()
    told = scorer.eval().score(query.asking(asked_BL)).argmax(1)
    assert (told == history_BL[asked_BL]).float().mean() > 0.97


def test_buckets_hold_every_answer_once_with_little_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    length_B = torch.randint(1, 201, (300,), generator=generator)
    filled_BL = torch.arange(200) < length_B[:, None]
    item_BL = torch.randint(9, (300, 200), generator=generator).masked_fill(~filled_BL, PAD)
    asked_BL = (torch.rand(300, 200, generator=generator) < 0.2) & filled_BL
    parts = list(buckets(Asked(item_BL, length_B, asked_BL)))
    assert sorted(torch.cat([part.answer for part in parts]).tolist()) == list(range(int(asked_BL.sum())))
    for part in parts:
        assert torch.equal(item_BL[asked_BL][part.answer], part.item[part.asked])
    assert sum(part.item.numel() for part in parts) < 1.15 * filled_BL.sum()
    assert len(parts) <= 8


def test_compact_places() -> None:
    places, filled = compact(torch.tensor([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]).bool())
    assert places.tolist() == [[1, 3], [0, 0], [0, 0]]
    assert filled.tolist() == [[True, True], [True, False], [False, False]]


def test_cosine_positions_are_the_formula_and_no_weights() -> None:
    scorer = fresh("bert4rec", "model.positions=cosine")
    position_LD = cosine(6, torch.empty(1, 8))
    assert position_LD[3, 2].item() == pytest.approx(torch.tensor(3 / 10000**0.25).sin().item(), abs=1e-6)
    assert position_LD[3, 3].item() == pytest.approx(torch.tensor(3 / 10000**0.25).cos().item(), abs=1e-6)
    reader = scorer.get_submodule("reader")
    assert isinstance(reader, Reader)
    assert torch.equal(reader.position, position_LD)
    assert "reader.position" not in dict(scorer.named_parameters())
    assert "reader.position" in dict(fresh("bert4rec").named_parameters())


def test_sasrec_may_not_see_what_it_is_asked_for(run: Callable[..., Run]) -> None:
    with pytest.raises(RecexpError, match="would see the items"):
        run("model=sasrec", "model.layers.view=all")


def test_unknown_positions_are_refused() -> None:
    with pytest.raises(RecexpError, match=r"model\.positions=cosin"):
        fresh("sasrec", "model.positions=cosin")
