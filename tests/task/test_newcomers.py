"""Users and items that come after the fit, known by what tables say of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import recexp
from recexp.errors import RecexpError
from recexp.task.run import Run
from recexp.types import Bags, Dataset, Query

SMALL = ["trainer=cpu", "logger=none", "trainer.enable_progress_bar=false"]
WORDS = ["red", "hen", "fox", "sea"]


@pytest.fixture(scope="session")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a two-tower network that reads titles, in tables of its own, and that some items never met."""
    folder = tmp_path_factory.mktemp("towers")
    rng = np.random.default_rng(0)
    rows = [f"{user},{item},{place}" for user in range(30) for place, item in enumerate(rng.permutation(20)[:9])]
    (folder / "events.csv").write_text("\n".join(["user,item,time", *rows]))
    titles = [
        {"item": item, "title": f"{WORDS[item % 4]} {WORDS[item // 5]}", "year": 1990 + item} for item in range(20)
    ]
    pl.DataFrame(titles).write_ndjson(folder / "items.jsonl")
    users = [{"user": user, "city": f"c{user % 3}", "neighbours": [(user + 1) % 30]} for user in range(30)]
    pl.DataFrame(users).write_ndjson(folder / "users.jsonl")
    table = [
        "data=table",
        f"data.path={folder}/events.csv",
        "data.time=time",
        f"data.features.items={folder}/items.jsonl",
    ]
    model = [
        "model=two_tower",
        "model.features.text=[title]",
        "split=cold_items",
        "split.test=0.3",
        "trainer.max_epochs=2",
        "eval.k=[1]",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RECEXP_CACHE", str(folder / "cache"))
        recexp.run(*SMALL, *table, f"data.features.users={folder}/users.jsonl", *model, "hydra.run.dir=run")
    return folder / "run"


@pytest.fixture
def reading(towers: Path) -> Run:
    """The run as `run/`, loaded."""
    shutil.copytree(towers, "run")
    run = recexp.load_run("run")
    assert run.model is run.model
    return run


def updated(*asked: str) -> Run:
    """What `task=update run=run` makes of it."""
    return recexp.run("task=update", "run=run", "k=5", *SMALL, *asked)


def union(run: Run) -> Dataset:
    """All that a version knows."""
    return run.experiment.data.dataset


def write(rows: list[tuple[object, object]]) -> str:
    """A file of new events, in order of time."""
    lines = [f"{user},{item},{2_000_000_000 + place}" for place, (user, item) in enumerate(rows)]
    Path("new.csv").write_text("\n".join(["user,item,time", *lines]))
    return "new=new.csv"


def cold(run: Run) -> int:
    """An item that training never saw."""
    events = run.experiment.data
    return int(np.setdiff1d(events.dataset.interactions.item, events.split.train.item)[0])


def scores(run: Run, users: list[int]) -> torch.Tensor:
    return run.model.score(Query.from_histories([[1, 2]] * len(users), users))


def described(run: Run, names: list[object], like: int) -> str:
    """A file of items, each with the features of a known one."""
    known = union(run).items.row(like, named=True)
    pl.DataFrame([{**known, "item": name} for name in names]).write_ndjson("items.jsonl")
    return "features.items=items.jsonl"


def test_an_item_of_no_file_is_scored_from_its_features_as_one_that_training_never_saw(reading: Run) -> None:
    same = cold(reading)
    version = updated(described(reading, [77, 78], same))
    assert version.items.to_list() == [*reading.items, 77, 78]
    after = scores(version, [0, 1])
    assert torch.equal(after[:, :20], scores(reading, [0, 1])), "nothing was learned"
    torch.testing.assert_close(after[:, [20, 21]], after[:, [same, same]])
    assert not torch.allclose(after[:, 20], after[:, cold_other(reading, same)])
    lists = version.recommend([0], k=15)
    assert {77, 78} <= set(lists["item"]), "all that user 0 has not met"
    assert version.facts["status"] == "finished"


def cold_other(run: Run, one: int) -> int:
    """Another item that training never saw, of another title."""
    titles = run.experiment.data.dataset.items["title"]
    split = run.experiment.data.split
    unseen = np.setdiff1d(np.arange(20), split.train.item)
    return int(next(item for item in unseen if titles[int(item)] != titles[one]))


def test_those_who_come_keep_their_ids_in_every_later_version(reading: Run) -> None:
    first = updated(write([(3, 500), (900, 5)]))
    assert first.items.to_list() == [*range(20), 500]
    second = updated(described(reading, [77], cold(reading)))
    assert second.items.to_list() == [*range(20), 500, 77]
    third = updated(write([(3, 600), (901, 77)]))
    assert third.items.to_list() == [*range(20), 500, 77, 600]
    assert third.users.to_list() == [*range(30), 900, 901]
    assert union(recexp.load_run("run")).sha256 == third.facts["data"], "as it is read again"
    items = union(third).items
    assert items.row(21, named=True) == {**items.row(cold(reading), named=True), "item": 77}
    assert items.row(20)[1:] == items.row(22)[1:] == (None, None)
    assert torch.equal(scores(third, [0])[:, 21], scores(second, [0])[:, 21])


def test_a_user_of_no_file_is_known_by_features_and_by_what_their_neighbours_met(reading: Run) -> None:
    users = union(reading).users
    pl.DataFrame([{**users.row(7, named=True), "user": "ann"}, {"user": "bob"}]).write_ndjson("users.jsonl")
    version = updated("features.users=users.jsonl")
    assert version.users.to_list() == [*map(str, range(30)), "ann", "bob"]
    assert version.trained.tolist() == [*reading.trained, False, False]
    features = version.features
    assert features is not None
    neighbours = features.users["neighbours"]
    assert isinstance(neighbours, Bags)
    begin, end = neighbours.offsets[30:32].tolist()
    met = union(reading).interactions
    assert set(neighbours.tokens[begin:end].tolist()) == set(met.item[met.user == 8].tolist())
    both = version.recommend(["ann", "bob"], k=20)
    assert not both.filter(user="ann")["score"].equals(both.filter(user="bob")["score"])


def test_a_refit_learns_the_features_of_all(reading: Run) -> None:
    new = write([(3, 77), (4, 77), (900, 5)])
    version = updated(new, described(reading, [77, 78], 3), "mode=refit")
    features, before = version.features, reading.features
    assert features is not None
    assert before is not None
    assert features.items.keys() == before.items.keys()
    assert (features.num_users, features.num_items) == (31, 22)
    known = features.items["id"]
    assert isinstance(known, Bags)
    assert known.offsets.diff()[[20, 21]].tolist() == [1, 0], "77 has events, 78 has none"
    assert version.model.state_dict().keys() == reading.model.state_dict().keys()
    again = updated(described(reading, [79], 3))
    assert torch.equal(scores(again, [0])[:, :22], scores(version, [0]))


def test_features_that_cannot_be_are_refused(reading: Run) -> None:
    pl.DataFrame({"item": [77], "titel": ["red"]}).write_csv("typo.csv")
    with pytest.raises(RecexpError, match=r"features\.items: column 'titel' is none .* it has: title, year"):
        updated("features.items=typo.csv")
    pl.DataFrame({"item": [77], "year": ["old"]}).write_csv("text.csv")
    with pytest.raises(RecexpError, match=r"'year' holds String; expected Int64, as the data has\. .*old"):
        updated("features.items=text.csv")
    with pytest.raises(RecexpError, match=r"knows all these users and items already\. Give others, or type new=FILE"):
        updated(described(reading, [5], 3))
    given = described(reading, [77], 3)
    with pytest.raises(RecexpError, match=r"mode=refresh: TwoTower .* Type mode=fold_in or mode=refit"):
        updated(given, "mode=refresh")
    assert not Path("run/versions").exists()
    (reading.path / "vocabulary.parquet").unlink()
    with pytest.raises(RecexpError, match=r"no vocabulary\.parquet.* Type mode=refit"):
        updated(given)


def test_a_fraction_among_whole_numbers_stays_one(reading: Run) -> None:
    pl.DataFrame({"item": [77, 78], "year": [1999.5, 2001.0]}).write_csv("items.csv")
    version = updated("features.items=items.csv")
    assert union(version).items["year"].to_list()[-2:] == [1999.5, 2001]


def test_a_model_that_looks_at_no_features_refuses_them(towers: Path) -> None:
    given = [f"{key}={value}" for key, value in recexp.load_run(towers).config.data.items() if isinstance(value, str)]
    recexp.run(*SMALL, "data=table", *(f"data.{one}" for one in given if not one.startswith("_")), "model=wals",
               "model.embedding_dim=2", "eval.k=[5]", "hydra.run.dir=run")  # fmt: skip
    Path("items.csv").write_text("item,year\n500,1990\n")
    with pytest.raises(RecexpError, match=r"features\.items: WALS looks at no features\. Drop it"):
        updated("features.items=items.csv")


def test_neither_events_nor_features_are_refused_before_anything_is_read(reading: Run) -> None:
    with pytest.raises(RecexpError, match=r"new is needed and was not given\. Type new=FILE, or features\.items=FILE"):
        updated()
