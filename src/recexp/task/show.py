"""What a person sees of a run: a line before, tables after."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from rich.console import Console
from rich.table import Table

from recexp.fit.base import Evaluated
from recexp.task.assemble import Experiment

PARTS = {"val": "validation", "test": "test", "popularity": "popularity on test"}

console = Console(highlight=False)


def waiting(what: str) -> AbstractContextManager[object]:
    """A spinner while something takes its time."""
    return console.status(f"{what} …")


def opening(experiment: Experiment, module: Evaluated) -> None:
    """What is about to be trained on what."""
    data = experiment.data.dataset
    console.print(
        f"[bold]{type(module.model).__name__}[/] with {module.num_parameters:,} parameters on [bold]{data.name}[/]: "
        f"{data.num_users:,} users, {data.num_items:,} items, {len(experiment.data.split.train):,} training events"
    )


def results(metrics: Mapping[str, float], main: str, alarms: Sequence[str]) -> None:
    """A row for each metric and cut-off; a second table with the main metric of each segment.

    Args:
        metrics: as in metrics.json. main: the metric that chose the model. alarms: printed last.
    """
    names = [key.split("/", 1)[1] for key in metrics if key.split("/", 1)[0] in PARTS]
    whole = [name for name in dict.fromkeys(names) if ":" not in name]
    segments = [name for name in dict.fromkeys(names) if name.startswith(f"{main}:")]
    _print("metric", whole, metrics)
    if segments:
        console.print()
        _print(f"{main} of", segments, metrics)
    for alarm in alarms:
        console.print(f"[bold red]alarm:[/] {alarm}")


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
