"""A grid ends with a table of its jobs."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

import recexp

TINY = ["data.num_users=60", "data.num_items=40", "data.num_events=12", "eval.k=[5]", "trainer.max_epochs=1"]
QUIET = ["trainer=cpu", "logger=none", "trainer.enable_progress_bar=false"]


def table(printed: str) -> list[list[str]]:
    """The words of the last table."""
    lines = [line.split() for line in printed.splitlines()]
    return lines[max(place for place, line in enumerate(lines) if "test/ndcg@5" in line) :]


def test_a_row_for_each_combination_with_the_mean_over_the_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    recexp.run("-m", *TINY, *QUIET, "model=mf,popularity", "seed=1,2", "hydra.sweep.dir=grid")
    header, *rows = table(capsys.readouterr().out)
    assert header == ["model", "val/ndcg@5", "test/ndcg@5"]
    assert [row[0] for row in rows] == ["mf", "popularity"]
    for row, jobs in zip(rows, ([0, 1], [2, 3]), strict=True):
        runs = [recexp.load_run(next(Path("grid").glob(f"{job}_*"))) for job in jobs]
        values = [run.metrics["test/ndcg@5"] for run in runs]
        assert row[3:] == [f"{statistics.mean(values):.4f}", f"±{statistics.stdev(values):.4f}"]


def test_other_protocols_are_not_compared_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    recexp.run("-m", *TINY, *QUIET, "model=popularity", "eval.ties=expected,against", "hydra.sweep.dir=grid")
    header, first, second, note = table(capsys.readouterr().out)
    assert (header[0], first[0], second[0]) == ("eval.ties", "expected", "against")
    assert note[:2] == ["the", "protocols"]


def test_one_job_needs_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    recexp.run("-m", *TINY, *QUIET, "model=popularity", "hydra.sweep.dir=grid")
    assert "test/ndcg@5" not in capsys.readouterr().out
