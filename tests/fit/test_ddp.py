"""Two processes train and measure one model: one folder, every user once, the same numbers as one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import recexp
from recexp.store import Folder
from recexp.task import ranks
from recexp.task.run import Run

TINY = [
    "data.num_users=61",
    "data.num_items=40",
    "data.num_events=12",
    "eval.k=[5]",
]
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
MODEL = ["model=mf", "model.embedding_dim=4", "fit.batch_size=32", "refit=true", "trainer.max_epochs=3"]
NAMES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def of_test(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.split("/")[0] == "test"}


def test_the_command_ends_with_one_whole_run_that_one_process_measures_alike() -> None:
    command = [sys.executable, "-m", "recexp", *TINY, *TWO, *MODEL]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = Path("outputs").glob("*/*")
    assert done.stdout.count("epoch ") == 2, "one process talks"
    assert done.stdout.splitlines()[-1] == str(folder.absolute())
    run = Run(folder)
    assert (run.facts["status"], len(list(folder.glob("wandb/offline-run-*")))) == ("finished", 1)
    assert run.facts["alarms"] == []
    per_user = pl.read_parquet(folder / "per_user.parquet")
    assert per_user["user"].to_list() == list(range(61)), "each user once"
    alone = recexp.run("task=evaluate", f"run={folder}", "trainer=cpu", "logger=none")
    assert of_test(alone.metrics) == of_test(run.metrics)


def test_a_solved_model_counts_the_same_on_two_and_from_python(run: Callable[..., Run]) -> None:
    before = {name: os.environ.get(name) for name in NAMES}
    asked = [*TINY, "model=popularity", "eval.metrics=[hr,coverage]"]
    one = run(*asked)
    two = recexp.run("-m", *asked, *TWO, "logger=none", "seed=1", "hydra.sweep.dir='my, grid'")
    assert torch.equal(one.folder.weights()["counts"], two.folder.weights()["counts"])
    assert of_test(one.metrics) == of_test(two.metrics)
    assert two.path.parent.name == "my, grid"
    assert {name: os.environ.get(name) for name in NAMES} == before
    assert not torch.distributed.is_initialized()


def test_a_run_that_fails_takes_the_others_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def started(command: Any, **settings: Any) -> subprocess.Popen[bytes]:
        process = start(command, **settings)
        others.extend([process] if "recexp" in command else [])
        return process

    monkeypatch.setattr("recexp.task.ranks.subprocess.Popen", started)
    monkeypatch.setattr("recexp.task.fit.train", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recexp.run(*TINY, *TWO, *MODEL, "logger=none", "hydra.run.dir=run")
    assert Folder("run").run()["status"] == "failed"
    (other,) = others
    assert other.returncode == -signal.SIGKILL


class Slow:
    """A process that takes its time to end."""

    returncode = None

    def __init__(self, *_: Any, **__: Any) -> None:
        self.killed = False

    def poll(self) -> None:
        return None

    def wait(self, timeout: float | None = None) -> None:
        if not self.killed:
            raise subprocess.TimeoutExpired("recexp", timeout or 0)

    def kill(self) -> None:
        self.killed = True


def test_a_process_that_does_not_end_by_itself_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[Slow] = []
    monkeypatch.setattr(ranks, "_command", lambda _: [])
    monkeypatch.setattr(ranks.subprocess, "Popen", lambda *_, **__: others.append(Slow()) or others[-1])
    with ranks._started(3, job=None):  # type: ignore[arg-type]
        pass
    assert [other.killed for other in others] == [True, True]
