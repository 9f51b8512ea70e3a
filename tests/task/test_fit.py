"""A run from command to folder: what it leaves, and that a kill costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch

import recexp
from recexp.store import Folder
from recexp.task.run import Run

TINY = ["data.num_users=60", "data.num_items=40", "data.num_events=12", "eval.k=[5]", "model.embedding_dim=4"]
PLAIN = (int, float, str, bool, type(None))


def timeless(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


def test_the_folder_holds_what_the_design_promises(run: Callable[..., Run]) -> None:
    done = run(*TINY, "trainer.max_epochs=2")
    names = {path.name for path in done.path.iterdir()}
    assert {
        ".hydra", "config.yaml", "metrics.json", "run.json", "per_user.parquet", "checkpoints", "weights.safetensors",
        "ids.parquet",
    } <= names  # fmt: skip
    assert {path.name for path in (done.path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    facts = done.facts
    assert facts["status"] == "finished"
    assert {
        "id", "seed", "git", "versions", "hardware", "data", "split", "eval", "num_parameters", "seconds",
        "peak_memory_mb", "command",
    } <= set(facts)  # fmt: skip
    assert {"val/ndcg@5", "test/ndcg@5", "test/hr@5", "popularity/ndcg@5", "time/fit_s"} <= set(done.metrics)
    per_user = pl.read_parquet(done.path / "per_user.parquet")
    assert per_user["ndcg@5"].mean() == pytest.approx(done.metrics["test/ndcg@5"])


def test_checkpoints_hold_plain_types_only(run: Callable[..., Run]) -> None:
    done = run(*TINY, "trainer.max_epochs=1")
    for checkpoint in (done.path / "checkpoints").iterdir():
        torch.load(checkpoint, weights_only=True)


def test_the_seed_decides_every_digit(run: Callable[..., Run]) -> None:
    one, same, other = (run(*TINY, "model=two_tower", "trainer.max_epochs=2", f"seed={seed}") for seed in (1, 1, 2))
    assert timeless(one.metrics) == timeless(same.metrics)
    assert timeless(one.metrics) != timeless(other.metrics)


def test_an_exception_is_told_in_the_folder(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recexp.model.mf.MF.encode_items", lambda self, items: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(*TINY)
    (folder,) = Path("outputs").glob("*/*")
    facts = Folder(folder).run()
    assert facts["status"] == "failed"
    assert "ZeroDivisionError" in facts["reason"]


def test_refit_trains_on_validation_too(run: Callable[..., Run]) -> None:
    done = run(*TINY, "refit=true", "trainer.max_epochs=3", "fit.batch_size=518")
    selected = torch.load(done.folder.checkpoints / "selection" / "best.ckpt", weights_only=True)
    final = torch.load(done.folder.checkpoints / "last.ckpt", weights_only=True)
    assert final["epoch"] == selected["epoch"]
    assert final["global_step"] == selected["global_step"] + selected["epoch"] + 1  # 60 more events: a batch more


def test_a_finished_run_that_is_resumed_stays_as_it_is(run: Callable[..., Run]) -> None:
    done = run(*TINY, "fit.patience=1", "trainer.max_epochs=30")
    before = timeless(done.metrics)
    again = recexp.run(f"resume={done.path}")
    assert again.path == done.path
    assert timeless(again.metrics) == before


@pytest.mark.parametrize("model", ["two_tower", "bert4rec", "popularity"])
def test_killed_in_an_epoch_and_resumed_equals_uninterrupted(
    model: str, run: Callable[..., Run], kill_after_a_checkpoint: Callable[[list[str], float], None]
) -> None:
    asked = ["data.num_users=150", "eval.k=[5]", f"model={model}", "trainer.max_epochs=6"]
    asked += ["fit.batch_size=32", "fit.patience=null"] if model != "popularity" else []
    whole = run(*asked, "hydra.run.dir=whole")
    kill_after_a_checkpoint(asked, 0.1)  # in the next epoch
    last = torch.load("killed/checkpoints/last.ckpt", weights_only=True)
    assert 0 < last["spent"] < 1000
    torch.save({**last, "spent": 1000.0}, "killed/checkpoints/last.ckpt")
    resumed = recexp.run("resume=killed")
    assert timeless(resumed.metrics) == timeless(whole.metrics)
    assert resumed.facts["status"] == "finished"
    first, second = (sitting["command"] for sitting in resumed.facts["sittings"])
    assert second == "python -m recexp resume=killed"
    assert resumed.facts["command"] == first != second
    assert 1000 < resumed.metrics["time/fit_s"] < resumed.facts["seconds"]


@pytest.mark.parametrize(("time", "said"), [(["data.time=time"], False), ([], True)])
def test_events_without_times_are_said_to_be_in_order(
    time: list[str], said: bool, run: Callable[..., Run], on_checkerboard: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(*on_checkerboard[:-1], *time, "model=popularity", "eval.k=[5]")
    assert ("events without times: the order in which they stand is taken" in capsys.readouterr().out) == said
