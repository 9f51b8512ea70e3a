"""Many workers, and workers that die: exactly the budget, no trial twice, none lost, no folder written over."""

from __future__ import annotations

import getpass
import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest

from recexp.sweep import marks, studies

PRETEND = Path(__file__).with_name("pretend.py")
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def start(folder: Path, storage: str, n_trials: int, seconds: float, grace: float = 60) -> subprocess.Popen[bytes]:
    arguments = [str(folder), storage, str(n_trials), str(seconds), str(grace)]
    return subprocess.Popen([sys.executable, str(PRETEND), *arguments])


def check(study: optuna.Study, n_trials: int, folders: list[Path]) -> None:
    """Exactly the budget, nothing twice, nothing lost, a folder for each."""
    trials = study.get_trials()
    counted = [trial for trial in trials if marks.counts(trial)]
    assert len(counted) == n_trials
    assert max(Counter(json.dumps(trial.params) for trial in counted).values()) == 1
    assert {trial.state.name for trial in counted} == {"COMPLETE"}
    assert all(trial.state.is_finished() for trial in trials)
    stale = {trial.number for trial in trials if marks.STALE in trial.user_attrs and _had(trial)}
    again = [trial.user_attrs[marks.AGAIN_OF] for trial in trials if marks.AGAIN_OF in trial.user_attrs]
    assert sorted(again) == sorted(stale)
    assert {_had(t)["a"] for t in trials if t.number in stale} <= {t.params["a"] for t in counted}
    for trial in counted:
        (found,) = [folder / str(trial.number) for folder in folders if (folder / str(trial.number)).exists()]
        assert json.loads((found / "run.json").read_text())["status"] == "finished"


def _had(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """The parameters that it drew, or was to have."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A server of our own, on loopback; as root it runs as another user, for PostgreSQL refuses root."""
    if not POSTGRES:
        pytest.skip("no PostgreSQL server is installed (apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="no PostgreSQL driver is installed (pip install 'recexp[cluster]')")
    user = ["runuser", "-u", "postgres", "--"] if getpass.getuser() == "root" else []
    made = subprocess.run(
        [*user, "mktemp", "-d", "-t", "recexp-postgres-XXXXXX"], check=True, capture_output=True, text=True
    )
    folder = Path(made.stdout.strip())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    control = [*user, POSTGRES[-1] / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log"]
    run = partial(subprocess.run, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    try:
        run([*user, POSTGRES[-1] / "initdb", "-D", folder / "data", "-A", "trust", "-U", "recexp"])
        run([*control, "-o", f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off", "start"])
        yield f"postgresql+psycopg://recexp@127.0.0.1:{port}/postgres"
    finally:
        run([*control, "-m", "immediate", "stop"])
        run([*user, "rm", "-r", folder])


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_three_processes_share_a_file(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    storage = f"sqlite:///{folder}/study.db" if kind == "sqlite" else f"journal:///{folder}/study.journal"
    workers = [start(folder, storage, 16, 0.05) for _ in range(3)]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    check(studies.load(storage, "pretended"), 16, [folder])


def test_three_processes_share_a_server_and_nothing_else(tmp_path: Path, postgres: str) -> None:
    folders = [tmp_path / name for name in "abc"]
    workers = [start(folder, postgres, 16, 0.05) for folder in folders]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    check(studies.load(postgres, "pretended"), 16, folders)


@pytest.mark.parametrize("kills", [6])
def test_killed_at_any_moment_and_started_again(kills: int, tmp_path: Path) -> None:
    folder, rng = tmp_path / "study", random.Random(0)
    storage = f"sqlite:///{folder}/study.db"
    for _ in range(kills):
        workers = [start(folder, storage, 25, 0.15) for _ in range(2)]
        time.sleep(1.0 + 1.5 * rng.random())
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
    assert start(folder, storage, 25, 0.0).wait(120) == 0
    check(studies.load(storage, "pretended"), 25, [folder])
