"""What a person sees of a run: one line before, a table after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from rich.console import Console
from rich.table import Table

from recexp.fit.base import Evaluated
from recexp.task.assemble import Experiment

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


def results(metrics: Mapping[str, float], alarms: Sequence[str]) -> None:
    """One row for each metric, one column for each of validation, test and popularity on test."""
    columns = [part for part in ("val", "test", "popularity") if any(key.startswith(f"{part}/") for key in metrics)]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("metric")
    for part in columns:
        table.add_column({"popularity": "popularity (test)"}.get(part, part), justify="right")
    for name in dict.fromkeys(key.split("/", 1)[1] for key in metrics if key.startswith(tuple(columns))):
        values = (metrics.get(f"{part}/{name}") for part in columns)
        table.add_row(name, *("" if value is None else f"{value:.4f}" for value in values))
    console.print(table)
    for alarm in alarms:
        console.print(f"[bold red]alarm:[/] {alarm}")
