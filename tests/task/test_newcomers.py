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
    first = updated(described(reading, [77], 3))
    assert len(first.items) == 21
    version = updated("features.users=users.jsonl", write([(8, 77)]))
    assert version.users.to_list() == [*map(str, range(30)), "ann", "bob"]
    assert version.trained.tolist() == [*reading.trained, False, False]
    features = version.features
    assert features is not None
    neighbours = features.users["neighbours"]
    assert isinstance(neighbours, Bags)
    begin, end = neighbours.offsets[30:32].tolist()
    met = union(reading).interactions
    assert neighbours.tokens.max() < 20, "the column knows the items of the fit"
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
    with pytest.raises(RecexpError, match=r"knows all these users and items\. Give others, or type new=FILE"):
        updated(described(reading, [5], 3))
    given = described(reading, [77], 3)
    with pytest.raises(RecexpError, match=r"mode=refresh: TwoTower .* Type mode=fold_in or mode=refit"):
        updated(given, "mode=refresh")
    assert not Path("run/versions").exists()
    (reading.path / "vocabulary.parquet").unlink()
    with pytest.raises(RecexpError, match=r"mode=refresh: TwoTower"):
        updated(given, "mode=refresh")
    with pytest.raises(RecexpError, match=r"no vocabulary\.parquet.* Type mode=refit"):
        updated(given)
    assert updated(given, "mode=refit").items[-1] == 77


def test_labels_of_earlier_events_stay_when_none_come(towers: Path) -> None:
    pl.read_csv(towers.parent / "events.csv").with_columns(stars=pl.col("item") % 5 + 1).write_csv("events.csv")
    table = ["data=table", "data.path=events.csv", "data.time=time", "data.label=stars"]
    features = [f"data.features.items={towers.parent}/items.jsonl", "model=two_tower", "eval.k=[5]"]
    recexp.run(*SMALL, *table, *features, "trainer.max_epochs=1", "hydra.run.dir=run")
    Path("new.csv").write_text("user,item,time,stars\n3,500,2000000000,4\n")
    first = updated("new=new.csv")
    version = updated(described(first, [77], 3))
    label = union(recexp.load_run("run")).interactions.label
    assert sorted(label) == sorted(union(first).interactions.label)
    assert union(recexp.load_run("run")).sha256 == version.facts["data"]


def test_what_events_brought_is_described_later(reading: Run) -> None:
    """Events come first as a rule, and the catalogue after them."""
    first = updated(write([(3, 500), (900, 5)]))
    second = updated(described(reading, [500, 77, 4], cold(reading)))
    assert second.items.to_list() == [*range(20), 500, 77]
    after = scores(second, [0])
    torch.testing.assert_close(after[:, [20, 21]], after[:, [cold(reading)] * 2])
    assert not torch.allclose(after[:, 20], scores(first, [0])[:, 20])
    assert torch.equal(after[:, :20], scores(first, [0])[:, :20])
    third = updated(described(reading, [77, 78], 3))
    assert third.items.to_list() == [*range(20), 500, 77, 78]
    assert torch.equal(scores(third, [0])[:, :22], after), "77 stays as it is"
    assert union(third).sha256 == third.facts["data"]


def test_events_among_those_who_come_with_features_are_no_strangers(reading: Run) -> None:
    Path("users.csv").write_text("user,city\n900,c1\n")
    given = [described(reading, [700], 3), "features.users=users.csv"]
    version = updated(write([(900, 700)]), *given)
    assert (version.users[-1], version.items[-1]) == (900, 700)
    with pytest.raises(RecexpError, match="knows none of its users"):
        updated(write([(901, 701)]))


def test_ids_and_categories_of_a_csv_keep_their_zeros(towers: Path) -> None:
    events = pl.read_csv(towers.parent / "events.csv")
    named = events.with_columns(item=pl.format("0{}x", "item"))
    pl.concat([named, named[:1].with_columns(item=pl.lit("0101"))]).write_csv("events.csv")
    rows = [f"0{item}x,{'02139' if item % 2 else 'W1'}" for item in range(20)]
    Path("items.csv").write_text("\n".join(["item,zip", *rows, "0101,W1"]))
    table = ["data=table", "data.path=events.csv", "data.features.items=items.csv", "model=two_tower", "eval.k=[5]"]
    recexp.run(*SMALL, *table, "model.features.min_count=1", "trainer.max_epochs=1", "hydra.run.dir=run")
    Path("new.csv").write_text("item,zip\n0777,02139\n0101,02139\n")
    version = updated("features.items=new.csv")
    assert version.items.to_list()[-1] == "0777"
    assert union(version).items["zip"].to_list()[-1] == "02139"
    assert "0101" in version.items
    assert "101" not in version.items


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('{"item": 77, "vec": [1, 2, 3]}', r"the vector of item 77 has length 3; expected 2"),
        ('{"item": 77, "vec": [1, null]}', r"the vector of item 77 has a number that is missing"),
        ('{"item": 77, "vec": [1, 1e300]}', r"too large for float32"),
    ],
)
def test_malformed_vectors_are_refused_before_a_version_is_begun(lines: str, said: str, towers: Path) -> None:
    items = pl.read_ndjson(towers.parent / "items.jsonl").with_columns(vec=pl.lit([0.5, 1.5]))
    items.write_ndjson("items.jsonl")
    table = ["data=table", f"data.path={towers.parent}/events.csv", "data.features.items=items.jsonl", "eval.k=[5]"]
    recexp.run(*SMALL, *table, "model=two_tower", "trainer.max_epochs=1", "hydra.run.dir=run")
    Path("new.jsonl").write_text(lines)
    with pytest.raises(RecexpError, match=said):
        updated("features.items=new.jsonl")
    assert not Path("run/versions").exists()


def test_a_model_that_reads_ids_alone_refuses_features(towers: Path) -> None:
    data = recexp.load_run(towers).config.data
    table = ["data=table", f"data.path={data.path}", f"data.features.items={data.features['items']}", "eval.k=[5]"]
    recexp.run(
        *SMALL, *table, "model=two_tower", "model.features.items=[id]", "trainer.max_epochs=1", "hydra.run.dir=run"
    )
    Path("items.csv").write_text("item,year\n500,1990\n")
    with pytest.raises(RecexpError, match=r"TwoTower of run looks at nothing of items but id\. Drop it"):
        updated("features.items=items.csv")


def test_the_vocabulary_is_that_of_train(towers: Path) -> None:
    run = recexp.load_run(towers)
    learned = run.folder.vocabulary()
    assert learned is not None
    trained = np.unique(run.experiment.data.split.train.item)
    assert len(trained) < 20
    mean = learned.filter(column="year", token="mean")["value"].item()
    assert mean == pytest.approx(union(run).items["year"].to_numpy()[trained].mean())
    assert mean != pytest.approx(union(run).items["year"].mean())


def test_new_items_without_features_are_counted(reading: Run, capsys: pytest.CaptureFixture[str]) -> None:
    updated(write([(3, 500), (4, 501)]), described(reading, [77], 3))
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 of 3 new items have no features" in shown
    updated(described(reading, [78, 77], 3))
    shown = " ".join(capsys.readouterr().out.split())
    assert "features.items: 1 of 2 are known already, and stay as they are" in shown
    assert "last new event" not in shown, "there is none to ask for"
    assert "change of" not in shown
    Path("users.csv").write_text("user,city\n950,c1\n")
    updated("features.users=users.csv")
    assert "features.users: without neighbours, which stay unknown of them" in " ".join(capsys.readouterr().out.split())


def test_a_fraction_among_whole_numbers_stays_one(reading: Run) -> None:
    pl.DataFrame({"item": [77, 78], "year": [1999.5, 2001.0]}).write_csv("items.csv")
    version = updated("features.items=items.csv")
    assert union(version).items["year"].to_list()[-2:] == [1999.5, 2001]


def test_a_model_that_looks_at_no_features_refuses_them(towers: Path) -> None:
    given = [f"{key}={value}" for key, value in recexp.load_run(towers).config.data.items() if isinstance(value, str)]
    recexp.run(*SMALL, "data=table", *(f"data.{one}" for one in given if not one.startswith("_")), "model=wals",
               "model.embedding_dim=2", "eval.k=[5]", "hydra.run.dir=run")  # fmt: skip
    Path("items.csv").write_text("item,year\n500,1990\n")
    with pytest.raises(RecexpError, match=r"features\.items: WALS of run looks at no features\. Drop it"):
        updated("features.items=items.csv")


def test_neither_events_nor_features_are_refused_before_anything_is_read(reading: Run) -> None:
    with pytest.raises(RecexpError, match=r"new is needed and was not given\. Type new=FILE, features\.items=FILE or"):
        updated()
