"""Recommendations: unseen, best first, complete, under the raw ids, from any model."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from rich.console import Console

import recexp
from recexp.data.table import Table
from recexp.task import show
from recexp.task.run import Run
from recexp.types import Dataset, Query

TINY = ["data.num_users=60", "data.num_items=40", "data.num_events=12", "eval.k=[5]"]
K = 7


@pytest.fixture
def table(tmp_path: Path) -> list[str]:
    """Whole-number ids with gaps; user 100 has met 18 of 20 items."""
    rng = np.random.default_rng(0)
    rows = [
        {"user": 100 + 7 * user, "item": 3 * int(item), "time": time}
        for user in range(30)
        for time, item in enumerate(rng.permutation(20)[: 18 if user == 0 else 6])
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "events.csv")
    return ["data=table", "data.path=events.csv", "data.time=time", "eval.k=[5]"]


@pytest.mark.parametrize("model", ["popularity", "mf", "two_tower"])
def test_the_file_holds_the_best_unseen_items_of_everybody(
    model: str, run: Callable[..., Run], table: list[str]
) -> None:
    done = run(*table, f"model={model}", "trainer.max_epochs=2")
    found = recexp.run("task=recommend", f"run={done.path}", f"k={K}")
    lists = pl.read_parquet(found.path / "recommendations.parquet")
    events = pl.read_csv("events.csv")
    assert lists.schema.names() == ["user", "item", "rank", "score"]
    assert (lists["user"].dtype, lists["item"].dtype) == (pl.Int64, pl.Int64)
    assert lists.join(events, on=["user", "item"]).height == 0, "nothing that was met"
    lengths = dict(lists.group_by("user").len().iter_rows())
    assert lengths == {100 + 7 * user: 2 if user == 0 else K for user in range(30)}
    for (user,), own in lists.group_by("user"):
        assert own["rank"].to_list() == list(range(1, own.height + 1))
        assert own["score"].is_sorted(descending=True)
        seen = events.filter(pl.col("user") == user)["item"]
        scores = everything(done, user, seen)
        assert own["score"].to_list() == pytest.approx(sorted(scores.values(), reverse=True)[: own.height], abs=1e-6)
        assert [scores[item] for item in own["item"]] == pytest.approx(own["score"].to_list(), abs=1e-6)


def everything(run: Run, user: object, seen: pl.Series) -> dict[int, float]:
    """The model's score of every unseen item, asked without any of the code under test."""
    history = [run.items.to_list().index(item) for item in seen]
    query = Query.from_histories([history], [run.users.to_list().index(user)])
    with torch.no_grad():
        scores = run.model.score(query)[0].tolist()
    return {raw: score for raw, score in zip(run.items, scores, strict=True) if raw not in set(seen)}


def test_given_users_in_their_order_and_from_python_the_same(run: Callable[..., Run], table: list[str]) -> None:
    done = run(*table, "model=mf", "trainer.max_epochs=1")
    found = recexp.run("task=recommend", f"run={done.path}", "users=[121,107]", "k=3")
    lists = pl.read_parquet(found.path / "recommendations.parquet")
    assert lists["user"].to_list() == [121] * 3 + [107] * 3
    loaded = recexp.load_run(done.path)
    assert loaded.recommend([121, 107], k=3).equals(lists)
    everybody = loaded.recommend(k=3)
    assert_frame_equal(everybody.filter(pl.col("user") == 107), lists.filter(pl.col("user") == 107))
    assert loaded.recommend([], k=3).is_empty()


def test_text_ids_stay_texts(run: Callable[..., Run], on_checkerboard: list[str]) -> None:
    done = run(*on_checkerboard, "model=popularity", "eval.k=[5]")
    lists = done.recommend(["u07", "u00"], k=2)
    assert lists.schema["item"] == pl.String
    assert lists["user"].to_list() == ["u07", "u07", "u00", "u00"]
    assert done.items.dtype == done.users.dtype == pl.String


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (["users=[106]"], r"user '106' is not in this run's data; known ids look like 100|107"),
        (["k=21"], "k=21: there are 20 items"),
        (["k=0"], "k=0"),
    ],
)
def test_impossible_wishes_leave_no_folder(
    asked: list[str], complaint: str, run: Callable[..., Run], table: list[str]
) -> None:
    done = run(*table, "model=popularity", "hydra.run.dir=run")
    with pytest.raises(recexp.RecexpError, match=complaint):
        recexp.run("task=recommend", f"run={done.path}", *asked)
    assert not Path("outputs").exists()


def test_people_without_a_name_are_served_from_their_history(
    run: Callable[..., Run], on_checkerboard: list[str]
) -> None:
    model = ["model=two_tower", "model.embedding_dim=16", "model.dropout=0.0", "fit.batch_size=64"]
    done = run(*on_checkerboard, *model, "trainer.max_epochs=20", "eval.k=[5]")
    even, odd = ["i02", "i04", "i10", "i16"], ["i03", "i11", "i21", "i05"]
    lists = done.recommend_for([even, [], odd], k=4)
    assert lists["user"].to_list() == [0] * 4 + [1] * 4 + [2] * 4
    found = [lists.filter(pl.col("user") == user)["item"].to_list() for user in range(3)]
    assert {int(item[1:]) % 2 for item in found[0]} == {0}
    assert {int(item[1:]) % 2 for item in found[2]} == {1}
    assert not set(found[0]) & set(even)
    with pytest.raises(recexp.RecexpError, match="item i99 is not in this run's data; known ids look like i"):
        done.recommend_for([["i02", "i99"]])


@pytest.mark.parametrize(("seen", "alone"), [("[id]", True), ("null", False)])
def test_users_that_training_never_saw_are_asked_by_history_and_features(
    seen: str, alone: bool, run: Callable[..., Run]
) -> None:
    done = run(*TINY, "split=user_holdout", "model=two_tower", "trainer.max_epochs=2", f"model.features.users={seen}")
    data = done.experiment.data
    held = int(data.split.test.target.user[0])
    assert held not in data.split.train.user
    history = done.items[data.dataset.interactions.item[data.dataset.interactions.user == held]].to_list()
    own, nameless = done.recommend([done.users[held]], k=5), done.recommend_for([history], k=5)
    assert own.drop("user").equals(nameless.drop("user")) == alone


def test_users_of_newer_data_are_served_too(run: Callable[..., Run], table: list[str]) -> None:
    done = run(*table, "model=two_tower", "trainer.max_epochs=1")
    newcomer = pl.DataFrame({"user": ["ann"] * 4, "item": ["3", "6", "new", "9"], "time": [1, 2, 3, 4]})
    pl.concat([pl.read_csv("events.csv").cast({"user": pl.String, "item": pl.String}), newcomer]).write_csv("newer.csv")
    found = recexp.run("task=recommend", f"run={done.path}", "data.path=newer.csv", "users=[ann]", "k=4")
    lists = pl.read_parquet(found.path / "recommendations.parquet")
    assert lists["user"].to_list() == ["ann"] * 4
    assert not set(lists["item"]) & {3, 6, 9}
    assert lists.drop("user").equals(done.recommend_for([[3, 6, 9]], k=4).drop("user"))
    assert "1 of 217 events" not in found.facts["notes"]
    assert [note.split(" ")[0] for note in found.facts["notes"]] == ["1", "1"]


def test_the_data_is_read_once(run: Callable[..., Run], table: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(*table, "model=popularity", "eval.batch_size=4")
    loads = []
    load = Table.load

    def counted(self: Table) -> Dataset:
        loads.append(self)
        return load(self)

    monkeypatch.setattr(Table, "load", counted)
    recexp.run("task=recommend", f"run={done.path}", "k=3")
    assert len(loads) == 1
    loaded = recexp.load_run(done.path)
    loaded.recommend(k=3)
    loaded.recommend([100], k=3)
    assert len(loads) == 2
    loaded.recommend_for([[3]], k=3)
    recexp.run("task=evaluate", f"run={done.path}")
    assert len(loads) == 3


@pytest.mark.parametrize(("patience", "shown"), [(0.0, True), (60.0, False)])
def test_a_bar_only_for_those_who_wait(patience: float, shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(show, "console", terminal)
    monkeypatch.setattr(show, "PATIENCE", patience)
    assert list(show.tracked([1, 2, 3], "counting")) == [1, 2, 3]
    assert ("counting" in terminal.file.getvalue()) == shown  # type: ignore[attr-defined]


@pytest.mark.parametrize("wrong", [[3, 17], {"new": [3]}, 3, ["3"]])
def test_a_history_that_is_no_list_is_explained(wrong: object, table: list[str], run: Callable[..., Run]) -> None:
    done = run(*table, "model=popularity")
    with pytest.raises(recexp.RecexpError, match=r"should be a list, such as \[\[10, 20\], \[\]\]"):
        done.recommend_for(wrong, k=2)  # type: ignore[arg-type]
    with pytest.raises(recexp.RecexpError, match=r"users should be a list, such as \[1, 2\]; found 107"):
        done.recommend(107, k=2)  # type: ignore[arg-type]
