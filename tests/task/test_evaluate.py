"""Measuring a finished run again: the same is the same, another protocol is added, other data is asked honestly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recexp
from recexp.data.aligned import Aligned
from recexp.store import Folder
from recexp.task.run import Run
from recexp.types import PAD, Dataset, Interactions

TINY = ["data.num_users=60", "data.num_items=40", "data.num_events=12", "eval.k=[5]"]
SAMPLED = ["eval=sampled", "eval.sampling=uniform", "eval.num_negatives=9", "eval.k=[5]"]


def of_test(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.split("/")[0] in ("test", "popularity")}


@pytest.mark.parametrize(
    "asked",
    [
        ["model=mf", "split=ratio", "eval.metrics=[hr,map]", "seed=3"],
        ["model=two_tower", "split=user_holdout"],
        ["model=mf", "refit=true"],
        ["model=popularity", "split=temporal"],
        ["model=mf", *SAMPLED[:3]],
    ],
)
def test_the_same_again_is_the_same_to_the_last_digit(asked: list[str], run: Callable[..., Run]) -> None:
    done = run(*TINY, "trainer.max_epochs=2", *asked)
    again = recexp.run("task=evaluate", f"run={done.path}")
    assert again.path != done.path
    assert of_test(again.metrics) == of_test(done.metrics)
    assert {part: again.facts[part] for part in ("data", "split", "eval")} == {
        part: done.facts[part] for part in ("data", "split", "eval")
    }
    assert pl.read_parquet(again.path / "per_user.parquet").equals(pl.read_parquet(done.path / "per_user.parquet"))


def test_a_further_protocol_is_added_to_the_run(run: Callable[..., Run]) -> None:
    done = run(*TINY, "trainer.max_epochs=1")
    before = done.metrics
    found = recexp.run("task=evaluate", f"run={done.path}", *SAMPLED)
    own = {name: value for name, value in found.metrics.items() if name.startswith("test/") and ":" not in name}
    assert done.metrics == before | {f"test/sampled/{name.removeprefix('test/')}": own[name] for name in own}
    assert done.facts["further"] == {"sampled": found.facts["eval"]["hash"]}
    assert found.facts["parent"] == done.facts["id"]


def test_another_split_is_no_result_of_the_run(run: Callable[..., Run]) -> None:
    done = run(*TINY, "trainer.max_epochs=1")
    before = done.metrics
    recexp.run("task=evaluate", f"run={done.path}", *SAMPLED, "split=ratio")
    assert done.metrics == before


def newer(checkerboard: Path, path: str) -> list[str]:
    """The checkerboard, with a first event with an unknown item for one user, and with ten users nobody knows."""
    events = pl.read_csv(checkerboard)
    strange = pl.DataFrame({"user": ["u00"], "item": ["a book"], "time": [0]})
    likes_even = [
        {"user": f"a{user}", "item": f"i{item:02}", "time": 10**6 + place}
        for user in range(10)
        for place, item in enumerate(np.random.default_rng(user).permutation(np.arange(0, 24, 2)))
    ]
    pl.concat([strange, events[::-1], pl.DataFrame(likes_even)]).write_csv(path)
    return ["data=table", f"data.path={path}", "data.time=time"]


@pytest.fixture
def fitted(run: Callable[..., Run], on_checkerboard: list[str]) -> Run:
    model = ["model=two_tower", "model.embedding_dim=16", "model.dropout=0.0", "fit.batch_size=64"]
    return run(*on_checkerboard, *model, "trainer.max_epochs=20", "eval.k=[1,5]")


def test_other_data_is_asked_under_the_runs_ids(
    fitted: Run, checkerboard: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = recexp.run("task=evaluate", f"run={fitted.path}", *newer(checkerboard, "newer.csv"))
    notes = found.facts["notes"]
    assert notes[0].startswith("1 of 601 events are with 1 items that the model does not know")
    assert notes[1].startswith("10 of 50 users are unknown to the model")
    assert notes[0] in capsys.readouterr().out
    per_user = pl.read_parquet(found.path / "per_user.parquet")
    own = pl.read_parquet(fitted.path / "per_user.parquet")
    assert per_user.filter(pl.col("user").is_in(own["user"].implode())).equals(own), "known users are the same"
    strangers = per_user.filter(~pl.col("user").is_in(own["user"].implode()))
    assert strangers.height == 10
    assert strangers["hr@1"].mean() == 1.0, "their history says it all"
    assert found.facts["data"] != fitted.facts["data"]


def test_a_model_without_history_ranks_strangers_too(
    run: Callable[..., Run], checkerboard: Path, on_checkerboard: list[str]
) -> None:
    done = run(*on_checkerboard, "model=mf", "trainer.max_epochs=1", "eval.k=[5]")
    found = recexp.run("task=evaluate", f"run={done.path}", *newer(checkerboard, "newer.csv"))
    assert pl.read_parquet(found.path / "per_user.parquet").height == 50


def test_data_with_nothing_in_common_is_refused(run: Callable[..., Run], on_checkerboard: list[str]) -> None:
    fitted = run(*on_checkerboard, "model=popularity", "eval.k=[5]")
    rows = [{"user": f"u{user}", "item": item, "time": item} for user in range(5) for item in range(5)]
    pl.DataFrame(rows).write_csv("strange.csv")
    folders = sorted(Path("outputs").glob("*/*"))
    with pytest.raises(recexp.RecexpError, match=r"none of its 5 items.*look like 0, 1, 2.*look like i00, i01, i02"):
        recexp.run("task=evaluate", f"run={fitted.path}", "data=table", "data.path=strange.csv")
    assert sorted(Path("outputs").glob("*/*")) == folders


def test_an_evaluation_is_no_run_to_evaluate(run: Callable[..., Run]) -> None:
    done = run(*TINY, "trainer.max_epochs=1")
    found = recexp.run("task=evaluate", f"run={done.path}")
    with pytest.raises(recexp.RecexpError, match=f"no model. Type run={done.path}"):
        recexp.run("task=evaluate", f"run={found.path}")
    assert Folder(found.path).run()["status"] == "finished"


class Fixed:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def load(self) -> Dataset:
        return self.dataset


def dataset() -> Dataset:
    """Users 5, 7, new and items a, b, c; `b` is unknown."""
    columns = {"user": [0, 0, 1, 2, 2], "item": [1, 2, 0, 2, 0], "time": [1, 2, 3, 5, 4]}
    events = Interactions(
        user=np.array(columns["user"], np.int32),
        item=np.array(columns["item"], np.int32),
        time=np.array(columns["time"], np.int64),
        weight=np.arange(5, dtype=np.float32),
        label=np.ones(5, np.float32),
    )
    users = pl.DataFrame({"user": ["5", "7", "new"], "age": [50, 70, 10]})
    items = pl.DataFrame({"item": ["a", "b", "c"], "title": ["A", "B", "C"]})
    negatives = np.array([[0, 1], [2, PAD], [1, 2]], np.int32)
    return Dataset("d", events, users, items, np.array([0, 1, 2, 0, 1], np.int8), negatives, "sha")


def test_alignment_by_hand() -> None:
    source = Aligned(Fixed(dataset()), pl.Series("user", [9, 7, 5]), pl.Series("item", ["c", "x", "a"]), "other")
    found = source.load()
    assert found.interactions.user.tolist() == [1, 2, 3, 3]
    assert found.interactions.item.tolist() == [2, 0, 2, 0]
    assert found.interactions.time.tolist() == [3, 2, 4, 5]
    assert found.interactions.weight.tolist() == [2, 1, 4, 3]
    assert found.part is not None
    assert found.part.tolist() == [2, 1, 1, 0]
    assert found.negatives is not None
    assert found.negatives.tolist() == [[PAD, PAD], [0, PAD], [2, PAD], [PAD, 0]]
    assert found.users.rows() == [("9", None), ("7", 70), ("5", 50), ("new", 10)]
    assert found.items.rows() == [("c", "C"), ("x", None), ("a", "A")]
    assert found.interactions.user.dtype == found.interactions.item.dtype == np.int32


def test_the_data_of_the_run_stays_as_it_is() -> None:
    own = dataset()
    assert Aligned(Fixed(own), own.users["user"], own.items["item"], own.sha256).load() is own
