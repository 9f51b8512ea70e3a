"""The two-tower network: what the towers see, and what they must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from recexp import config
from recexp.errors import RecexpError
from recexp.model.two_tower import TwoTower
from recexp.task.assemble import new_model
from recexp.task.served import Served
from recexp.types import PAD, Bags, Features, Numbers, Query

HISTORIES = ["mean", "gru", "transformer"]
COLD = 5
FEATURES = Features(
    users={"id": Bags.single(np.array([0, 1, PAD, 3]), 4), "age": Numbers(torch.tensor([[1.0], [0.0], [2.0], [-1.0]]))},
    items={
        "id": Bags.single(np.array([0, 1, 2, 3, 4, PAD]), 6),
        "genres": Bags(
            torch.tensor([0, 1, 3, 3, 4, 5, 7]), torch.tensor([0, 1, 2, 0, 2, 0, 1]), torch.ones(7) / 2, size=3
        ),
    },
    num_users=4,
    num_items=6,
    context={"device": Bags.single(np.array([0, 1, PAD]), 3)},
)


WITHOUT_ID = replace(FEATURES, items={"genres": FEATURES.items["genres"]}, events={"id": FEATURES.items["id"]})


def model(*overrides: str, features: Features = FEATURES) -> TwoTower:
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        composed = compose("config", overrides=["model=two_tower", "model.embedding_dim=8", *overrides])
    made = new_model(composed, 4, 6, features).eval()
    assert isinstance(made, TwoTower)
    return made


@pytest.mark.parametrize("history", HISTORIES)
def test_every_place_is_answered_from_the_events_before_it(history: str) -> None:
    network = model(f"model/history={history}", "model.history.max_length=6")
    whole = Query.from_histories([[0, 1, 2, 3, 4], [5, 4, 3]], [1, PAD])
    asked = torch.tensor([[False, True, True, False, True], [False, True, True, False, False]])
    together = network.encode_query(whole.asking(asked))
    prefixes = [([0], 1), ([0, 1], 1), ([0, 1, 2, 3], 1), ([5], PAD), ([5, 4], PAD)]
    alone = torch.cat([network.encode_query(Query.from_histories([items], [user])) for items, user in prefixes])
    if history == "transformer":  # its positions count from the newest place of the row, as in training
        assert together.shape == alone.shape
        changed = replace(whole.log, item=whole.log.item.clone())
        changed.item[4] = 0  # the last place asks for it, and nobody may look at it
        torch.testing.assert_close(together, network.encode_query(replace(whole, log=changed).asking(asked)))
        changed.item[0] = 3
        assert not torch.allclose(together, network.encode_query(replace(whole, log=changed).asking(asked)))
    else:
        torch.testing.assert_close(together, alone)


def test_mean_weighs_events() -> None:
    network = model()
    query = Query.from_histories([[0, 1]])
    weighed = replace(query, log=replace(query.log, weight=torch.tensor([1.0, 3.0])))
    expected = 0.25 * network.events(torch.tensor([0])) + 0.75 * network.events(torch.tensor([1]))
    torch.testing.assert_close(network.history(weighed, network.events), expected)


def test_mean_weighs_events_before_each_place() -> None:
    network = model()
    query = Query.from_histories([[0, 1, 2, 3], [4, 5]])
    weighed = replace(query, log=replace(query.log, weight=torch.tensor([1.0, 3.0, 4.0, 9.0, 2.0, 7.0])))
    asked = torch.tensor([[True, True, True, True], [False, True, False, False]])
    share_QI = torch.zeros(5, 6)
    share_QI[1, 0] = 1
    share_QI[2, :2] = torch.tensor([1.0, 3.0]) / 4
    share_QI[3, :3] = torch.tensor([1.0, 3.0, 4.0]) / 8
    share_QI[4, 4] = 1
    expected = share_QI @ network.events(torch.arange(6))
    torch.testing.assert_close(network.history(weighed.asking(asked), network.events), expected)


def test_a_cold_item_is_scored_from_its_features_alone() -> None:
    network, query = model(), Query.from_histories([[0, 1]], [0])
    before = network.score(query)[0, COLD]
    with torch.no_grad():
        network.item.columns["id"].table[COLD] += 100.0
    assert network.score(query)[0, COLD] == before
    with torch.no_grad():
        network.item.columns["column_1"].table += 1.0
    assert network.score(query)[0, COLD] != before


def test_a_user_without_id_is_scored_from_history() -> None:
    network = model()
    nobody, unseen = Query.from_histories([[0, 1]], [PAD]), Query.from_histories([[3]], [PAD])
    assert torch.isfinite(network.score(nobody)).all()
    assert not torch.allclose(network.score(nobody), network.score(unseen))


@pytest.mark.parametrize("stored", ["trained", "not trained"])
def test_a_user_that_training_never_saw_is_known_by_their_features(stored: str) -> None:
    network, query = model(), Query.from_histories([[0, 1]], [2])
    served = Served(network, torch.tensor([True, True, stored == "trained", True]))
    assert torch.equal(served.score(query), network.score(replace(query, users=torch.tensor([PAD]))))
    nobody = Query.from_histories([[0, 1]])
    assert not torch.allclose(served.score(query), served.score(nobody))
    stranger = Query.from_histories([[0, 1]], [4])
    assert torch.equal(served.score(stranger), served.score(nobody)), "the tables have four rows"


def test_the_program_of_queries_knows_users_by_their_features_too() -> None:
    network = model()
    query = replace(Query.from_histories([[0, 1], [2]], [PAD, PAD]), profiles=torch.tensor([2, PAD]))
    tower = network.towers()[0]
    torch.testing.assert_close(tower(*tower.inputs(query)), network.encode_query(query))


def test_inputs_of_a_program_have_names_of_their_own() -> None:
    number = Numbers(torch.zeros(4, 1))
    columns = {
        "vector": number,
        "history": number,
        "a": Bags.single(np.arange(4), 4),
        "a_tokens": number,
        "user": number,
    }
    features = replace(FEATURES, users={**FEATURES.users, **columns})
    query, _ = model(features=features).towers()
    assert len(set(query.names)) == len(query.names) == 11
    assert "vector" not in query.names, "that is the output"
    assert {"a_tokens", "a_weights", "user_a_tokens", "user_vector", "user", "user_user"} < set(query.names)


def test_id_dropout_hides_ids_in_training_only() -> None:
    network = model("model.id_dropout=0.5", "model.dropout=0.0")
    items = torch.zeros(400, dtype=torch.int64)
    hidden = (network.item.train()(items)[:, :8] == 0).all(1)
    assert 0.35 < hidden.float().mean() < 0.65
    assert (network.item.eval()(items)[:, :8] != 0).any(1).all()
    assert (network.item.train()(items)[:, 8:] != 0).any(1).all()


def test_cosine_lies_between_minus_1_and_1_and_dot_does_not() -> None:
    query = Query.from_histories([[0, 1], [2]], [0, 1])
    assert model("model.similarity=cosine", "model.init_std=9").score(query).abs().max() <= 1 + 1e-5
    assert model("model.init_std=9").score(query).abs().max() > 1 + 1e-5


def test_towers_share_item_embeddings_or_not() -> None:
    shared, own = model(), model("model.history.embedding=own")
    assert shared.events(torch.tensor([1])).tolist() == shared.item.columns["id"](torch.tensor([1])).tolist()
    assert own.events(torch.tensor([1])).tolist() != own.item.columns["id"](torch.tensor([1])).tolist()


@pytest.mark.parametrize("features", [FEATURES, WITHOUT_ID])
def test_a_cold_item_is_nothing_in_a_history(features: Features) -> None:
    network = model("model.history.embedding=own", features=features)
    assert not network.events(torch.tensor([[COLD]])).any()
    assert network.events(torch.tensor([[0, 4]])).all()


def test_histories_share_no_ids_that_no_item_has() -> None:
    complaint = r"embedding=shared .* model.features.items=\[genres\] has no id. Type model.history.embedding=own"
    with pytest.raises(RecexpError, match=complaint):
        model(features=WITHOUT_ID)


@pytest.mark.parametrize("history", HISTORIES)
def test_towers_of_their_own_say_what_the_model_says(history: str) -> None:
    network = model(f"model/history={history}", "model.history.max_length=4")
    query_tower, item_tower = network.towers()
    query, items = Query.from_histories([[0, 1, 2, 3, 4], [], [5]], [1, PAD, 3]), torch.tensor([5, 0, 2])
    weighed = replace(query.log, weight=torch.tensor([1.0, 3.0, 0.5, 2.0, 4.0, 7.0]))
    query = replace(query, log=weighed, context=torch.tensor([[1], [PAD], [2]]))
    assert item_tower.names == ["item", "genres_tokens", "genres_weights"]
    weight = ["history_weight"] if history == "mean" else []
    assert query_tower.names == ["history", *weight, "context", "user", "age"]
    torch.testing.assert_close(query_tower(*query_tower.inputs(query)), network.encode_query(query))
    torch.testing.assert_close(item_tower(*item_tower.inputs(items)), network.encode_items(items))


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("model.similarity=cosin", "model.similarity=cosin is unknown; allowed: cosine, dot"),
        ("model.history.embedding=shard", "model.history.embedding=shard is unknown; allowed: shared, own"),
    ],
)
def test_impossible_wishes(override: str, complaint: str) -> None:
    with pytest.raises(RecexpError, match=complaint):
        model(override)
