"""A grid ends with a table of its jobs."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

import recexp
from recexp.task import grid, show

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


def test_a_grid_of_evaluations_shows_what_it_has_and_one_of_lists_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    recexp.run(*TINY, *QUIET, "model=mf", "hydra.run.dir=run")
    capsys.readouterr()
    recexp.run("-m", "task=evaluate", "run=run", "eval.ties=expected,against", "hydra.sweep.dir=grid")
    assert table(capsys.readouterr().out)[0] == ["eval.ties", "test/ndcg@5"]
    recexp.run("-m", "task=recommend", "run=run", "k=3,4", "hydra.sweep.dir=lists")
    assert "ndcg" not in capsys.readouterr().out


def test_names_that_begin_alike_stay_apart(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a_rather_long_name_for_a_column_that_begins_alike_"
    found = {(f"{long}{end}", "[/a]", "[bold]"): [{"test/ndcg@5": 0.5}] for end in ("x", "y")}
    show.console.print(grid._table(["model.features.items", "b", "c"], found, ["test/ndcg@5"]))
    printed = "".join(line.split("  ")[0] for line in capsys.readouterr().out.splitlines())
    assert f"{long}x" in printed
    assert f"{long}y" in printed


def test_one_job_needs_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    recexp.run("-m", *TINY, *QUIET, "model=popularity", "hydra.sweep.dir=grid")
    assert "test/ndcg@5" not in capsys.readouterr().out
