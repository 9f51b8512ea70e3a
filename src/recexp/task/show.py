"""What a person sees of a run: a line before, tables after."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from recexp.eval.protocol import Result

if TYPE_CHECKING:
    from recexp.fit.base import Evaluated
    from recexp.task.assemble import Experiment

PARTS = {"val": "validation", "test": "test", "popularity": "popularity on test"}
PATIENCE = 2.0
"""Seconds that nobody minds to wait without seeing a bar."""

T = TypeVar("T")

console = Console(highlight=False)


def waiting(what: str) -> AbstractContextManager[object]:
    """A spinner while something takes its time."""
    return console.status(f"{what} …")


def tracked(chunks: Sequence[T], what: str) -> Iterator[T]:
    """The chunks, with a bar once they take longer than anybody waits."""
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    task, began = bar.add_task(what, total=len(chunks)), time.monotonic()
    try:
        for chunk in chunks:
            yield chunk
            bar.advance(task)
            if time.monotonic() - began > PATIENCE:
                bar.start()
    finally:
        bar.stop()


def opening(experiment: Experiment, module: Evaluated) -> None:
    """What is about to be trained on what."""
    data = experiment.data.dataset
    console.print(
        f"[bold]{type(module.model).__name__}[/], {module.num_parameters:,} parameters · [bold]{data.name}[/], "
        f"{data.num_users:,} users, {data.num_items:,} items, {len(experiment.data.split.train):,} events in train",
        soft_wrap=True,
    )
    if not data.timed:
        notes(["events without times: the order in which they stand is taken"])


def notes(lines: Sequence[str]) -> None:
    """What a result left out or drew."""
    for line in lines:
        console.print(line, style="dim", soft_wrap=True)


def results(metrics: Mapping[str, float], main: str, result: Result) -> None:
    """A row for each metric and cut-off; a second table with the main metric of each segment; notes and alarms.

    Args:
        metrics: as in metrics.json. main: the metric that chose the model. result: of the test.
    """
    names = [key.split("/", 1)[1] for key in metrics if key.split("/", 1)[0] in PARTS]
    whole = [name for name in dict.fromkeys(names) if ":" not in name]
    segments = [name for name in dict.fromkeys(names) if name.startswith(f"{main}:")]
    _print("metric", whole, metrics)
    if segments:
        console.print()
        _print(f"{main} of", segments, metrics)
    notes(result.notes)
    alarms(result.alarms)


def alarms(lines: Sequence[str]) -> None:
    """What makes a result doubtful."""
    for alarm in lines:
        console.print(f"[bold red]alarm:[/] {alarm}", soft_wrap=True)


def _print(title: str, names: Sequence[str], metrics: Mapping[str, float]) -> None:
    parts = [part for part in PARTS if any(f"{part}/{name}" in metrics for name in names)]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(title)
    for part in parts:
        table.add_column(PARTS[part], justify="right")
    for name in names:
        values = (metrics.get(f"{part}/{name}") for part in parts)
        table.add_row(re.sub(".*:", "", name), *("" if value is None else f"{value:.4f}" for value in values))
    console.print(table)
