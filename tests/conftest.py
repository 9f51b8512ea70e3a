"""Data with a known answer, and one way to run the program inside a test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import settings

import recexp
from recexp.store import Folder
from recexp.task.run import Run

torch.set_num_threads(1)
settings.register_profile("recexp", deadline=None)  # a busy machine is no failure
settings.load_profile("recexp")
os.environ["OMP_NUM_THREADS"] = "1"  # of the programs that tests start; workers share the cores

SMALL = ["trainer=cpu", "trainer.enable_progress_bar=false", "logger=none"]


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a folder of its own and never touches the user's cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECEXP_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture
def run() -> Callable[..., Run]:
    """`run("model=mf", …)`: one small run in this process."""
    return lambda *overrides: recexp.run(*SMALL, *overrides)


@pytest.fixture(scope="session")
def checkerboard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Even users take all even items, odd users all odd ones, in an order of their own.

    With the last two held out, the one item that a user has not met and everybody like them has is the answer.
    """
    rng = np.random.default_rng(0)
    rows = [
        {"user": f"u{user:02}", "item": f"i{item:02}", "time": 1000 * user + place}
        for user in range(40)
        for place, item in enumerate(rng.permutation(np.arange(user % 2, 24, 2)))
    ]
    path = tmp_path_factory.mktemp("checkerboard") / "checkerboard.csv"
    pl.DataFrame(rows).write_csv(path)
    return path


@pytest.fixture
def on_checkerboard(checkerboard: Path) -> list[str]:
    """The overrides that put an experiment on the checkerboard."""
    return ["data=table", f"data.path={checkerboard}", "data.user=user", "data.item=item", "data.time=time"]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real files."""
    folder = os.environ.get("RECEXP_DATA")
    if not folder:
        pytest.skip("RECEXP_DATA does not point at the real data")
    return Path(folder)


@pytest.fixture
def kill_after_a_checkpoint() -> Callable[[list[str], float], None]:
    """Start a run in `killed/`, and kill it some seconds after its first checkpoint."""

    def kill(asked: list[str], seconds: float) -> None:
        command = [sys.executable, "-m", "recexp", "trainer=cpu", "logger=none", *asked, "hydra.run.dir=killed"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        last = Path("killed/checkpoints/last.ckpt")
        deadline = time.monotonic() + 120
        while not last.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(seconds)
        process.kill()
        process.wait()
        assert Folder("killed").run()["status"] == "running"

    return kill
