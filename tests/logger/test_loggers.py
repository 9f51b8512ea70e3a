"""What loggers leave: exactly one run per job, whole, silent, and closed whatever happens."""

from __future__ import annotations

import csv
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.proto import wandb_internal_pb2

import recexp
from recexp.logger.csv import CSV
from recexp.store import Folder
from recexp.task.run import Run

TINY = ["data.num_users=60", "data.num_items=40", "data.num_events=12", "eval.k=[5]", "model.embedding_dim=4"]
QUICK = [*TINY, "trainer=cpu", "trainer.enable_progress_bar=false", "trainer.max_epochs=2"]
BLOCK, HEADER = 32_768, 7


def records(folder: Path) -> dict[str, list[Any]]:
    """What the one W&B file of a run folder holds, by the kind of record."""
    (path,) = folder.glob("wandb/*run-*/*.wandb")
    found: dict[str, list[Any]] = {}
    for content in _chunks(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(content)
        kind = record.WhichOneof("record_type")
        found.setdefault(kind, []).append(getattr(record, kind))
    return found


def _chunks(content: bytes) -> Iterator[bytes]:
    """A log in the format of LevelDB: blocks of fragments, each with its checksum, length and place in the record."""
    at, whole = HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        length, place = struct.unpack("<HB", content[at + 4 : at + HEADER])
        whole += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if place in (1, 4):  # the only fragment, or the last
            yield whole
            whole = b""


def items(messages: list[Any]) -> dict[str, Any]:
    """Keys and values of config, history or summary updates, the last ones winning."""
    updates = [item for message in messages for item in (getattr(message, "update", None) or message.item)]
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in updates}


def config(found: dict[str, list[Any]]) -> dict[str, Any]:
    return items([run.config for run in found["run"]]) | items(found["config"])


def test_one_offline_run_holds_config_curves_results_and_how_it_ended() -> None:
    done = recexp.run(*QUICK, "logger.wandb.tags=[one,two]")
    found = records(done.path)
    (run,) = found["run"]
    assert (run.run_id, run.project, run.job_type, list(run.tags)) == (
        done.facts["id"],
        "recexp",
        "fit",
        ["one", "two"],
    )
    saved = config(found)
    assert saved["model"]["embedding_dim"] == 4
    assert saved["run"]["eval"]["hash"] == done.facts["eval"]["hash"]
    rows = [items([row]) for row in found["history"]]
    curve = [(row["trainer/global_step"], row["val/ndcg@5"]) for row in rows if "val/ndcg@5" in row]
    assert [step for step, _ in curve] == [1, 3]
    assert max(value for _, value in curve) == pytest.approx(done.metrics["val/ndcg@5"], rel=1e-6)
    assert any("train/loss" in row for row in rows)
    summary = items(found["summary"])
    assert {name: summary[name] for name in done.metrics} == pytest.approx(done.metrics)
    assert [exit.exit_code for exit in found["exit"]] == [0]
    (table,) = done.path.glob("wandb/offline-run-*/files/media/table/*.json")
    assert ["test/ndcg@5", done.metrics["test/ndcg@5"]] in json.loads(table.read_text())["data"]


def test_silent_where_no_home_can_be_written_and_no_key_is_there(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    environment = {name: value for name, value in environment.items() if not name.startswith("WANDB_")}
    command = [sys.executable, "-m", "recexp", *QUICK, "hydra.run.dir=run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
    assert "wandb" not in done.stdout.lower()
    assert len(done.stdout.splitlines()) < 30, "no terminal, no bars"
    assert records(Path("run"))["exit"][0].exit_code == 0


def test_a_failed_run_is_closed_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recexp.model.mf.MF.encode_items", lambda self, items: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recexp.run(*QUICK, "hydra.run.dir=run")
    assert [exit.exit_code for exit in records(Path("run"))["exit"]] == [1]
    assert wandb.run is None


def test_jobs_of_a_grid_have_a_run_each_and_a_group_together() -> None:
    recexp.run("-m", *QUICK, "refit=false,true", "hydra.sweep.dir=grid")
    folders = sorted(Path("grid").glob("*_mf_synthetic"))
    runs = [records(folder)["run"][0] for folder in folders]
    assert [run.run_group for run in runs] == ["grid", "grid"]
    assert [run.run_id for run in runs] == [Folder(folder).run()["id"] for folder in folders]
    assert runs[0].run_id != runs[1].run_id


def test_an_evaluation_is_a_run_of_its_own_that_names_its_parent() -> None:
    fitted = recexp.run(*QUICK)
    before = (next(fitted.path.glob("wandb/*/*.wandb"))).read_bytes()
    measured = recexp.run("task=evaluate", f"run={fitted.path}", "eval.seen=include")
    found = records(measured.path)
    assert (found["run"][0].job_type, found["run"][0].run_id) == ("evaluate", measured.facts["id"])
    assert config(found)["parent"] == fitted.facts["id"] != measured.facts["id"]
    assert next(fitted.path.glob("wandb/*/*.wandb")).read_bytes() == before


def test_out_of_reach_means_offline(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("wandb.login", lambda **_: False)
    done = recexp.run(*QUICK, "logger.wandb.mode=online")
    assert "wandb login" in caplog.text
    assert items(records(done.path)["summary"])["test/ndcg@5"] == done.metrics["test/ndcg@5"]


def validations(folder: Path) -> list[str]:
    rows = csv.DictReader((folder / "csv" / "metrics.csv").read_text().splitlines())
    return [row["val/ndcg@5"] for row in rows if row["val/ndcg@5"]]


def test_csv_is_kept_when_a_run_goes_on() -> None:
    done = recexp.run(*QUICK, "logger=csv", "fit.patience=null")
    before = validations(done.path)
    assert len(before) == 2
    recexp.run(f"resume={done.path}", "trainer.max_epochs=4")
    after = validations(done.path)
    assert after[:2] == before
    assert len(after) == 4


def test_a_row_that_a_kill_has_torn_is_dropped() -> None:
    done = recexp.run(*QUICK, "logger=csv", "fit.patience=null")
    file, before = done.path / "csv" / "metrics.csv", validations(done.path)
    text = file.read_text()
    rows = text.splitlines(keepends=True)
    torn = rows[-1].rstrip()
    assert torn.endswith(tuple("0123456789,"))
    file.write_text("".join(rows[:-1]) + torn[: len(torn) // 2])
    again = CSV(str(done.path))
    again.open({})
    kept = csv.DictReader(file.read_text().splitlines())
    assert len(list(kept)) == len(rows) - 2
    file.write_text("epo")
    CSV(str(done.path)).open({})
    assert len(before) == 2


@pytest.mark.parametrize("message", ["", "no room\nat all"])
def test_wandb_that_does_not_begin_or_end_fails_nothing(
    message: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begin = wandb.init

    def out_of_reach(**settings: Any) -> Any:
        if settings["mode"] == "online":
            raise TimeoutError(message)
        run = begin(**settings)
        end = run.finish

        def failing(exit_code: int) -> None:
            end(exit_code=exit_code)
            raise OSError(message)

        run.finish = failing
        return run

    monkeypatch.setattr("wandb.login", lambda **_: True)
    monkeypatch.setattr("wandb.init", out_of_reach)
    done = recexp.run(*QUICK, "logger.wandb.mode=online")
    assert done.facts["status"] == "finished"
    assert f"out of reach ({'no room' if message else 'TimeoutError'})" in caplog.text
    assert f"Wandb did not take the end of the run (OSError: {'no room' if message else ''})" in caplog.text
    assert "WANDB_SILENT" not in os.environ


def test_several_loggers_at_once_and_again_in_an_evaluation() -> None:
    done = recexp.run(*QUICK, "logger=[wandb,csv,tensorboard]")
    for run in (done, recexp.run("task=evaluate", f"run={done.path}")):
        assert records(run.path)
        assert (run.path / "csv" / "metrics.csv").exists()
        assert any(b"test/ndcg@5" in events.read_bytes() for events in (run.path / "tensorboard").glob("events.*"))


def test_no_logger_leaves_nothing() -> None:
    done = recexp.run(*QUICK, "logger=none")
    assert not {"wandb", "csv", "tensorboard", "mlruns", "lightning_logs"} & {path.name for path in done.path.iterdir()}


def test_mlflow_writes_into_the_folder_and_goes_on_with_its_run() -> None:
    pytest.importorskip("mlflow")
    done = recexp.run(*QUICK, "logger=mlflow", "fit.patience=null")
    recexp.run(f"resume={done.path}", "trainer.max_epochs=3")
    (metric,) = (done.path / "mlruns").glob("*/*/metrics/test/ndcg_at_5")
    assert float(metric.read_text().splitlines()[-1].split()[1]) == pytest.approx(Run(done.path).metrics["test/ndcg@5"])
    assert not Path("mlruns").exists()


def test_mlflow_that_is_not_there_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytorch_lightning.loggers.mlflow._MLFLOW_AVAILABLE", False)
    with pytest.raises(recexp.RecexpError, match=r"pip install 'recexp\[mlflow\]'"):
        recexp.run(*QUICK, "logger=mlflow")
    assert not list(Path("outputs").glob("*/*"))
