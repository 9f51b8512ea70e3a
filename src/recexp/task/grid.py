"""What the jobs of a grid found, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.table import Table
from rich.text import Text

from recexp.store import Folder
from recexp.task import show
from recexp.task.assemble import Experiment

SEED = "seed"
PARTS = ("val", "test")

Row = tuple[str, ...]


def compare(paths: Sequence[Path], swept: Sequence[str]) -> None:
    """Print a row for each combination of the swept keys, with the mean over the seeds, plus or minus their deviation.

    Args:
        paths: folders of the jobs. swept: keys and groups that took several values.
    """
    folders = [Folder(path) for path in paths if Folder(path).metrics()]
    names = _shown(folders)
    if not names:
        return
    keys = [key for key in swept if key != SEED] or [SEED]
    found: dict[Row, list[Mapping[str, float]]] = {}
    for folder in folders:
        found.setdefault(tuple(_value(folder, key) for key in keys), []).append(folder.metrics())
    show.console.print()
    show.console.print(_table(keys, found, names))
    if len({folder.run().get("eval", {}).get("hash") for folder in folders}) > 1:
        show.notes(["the protocols differ: these rows are not to be compared"])


def _value(folder: Folder, key: str) -> str:
    choices: Mapping[str, Any] = folder.run()["choices"]
    return str(choices[key] if key in choices else OmegaConf.select(folder.config(), key))


def _shown(folders: Sequence[Folder]) -> list[str]:
    """What chose the models, on validation and on test, where there is such a figure."""
    monitors = dict.fromkeys(Experiment(folder.config()).protocol.monitor.lstrip("-") for folder in folders)
    names = [f"{part}/{name}" for name in monitors for part in PARTS]
    return [name for name in names if any(name in folder.metrics() for folder in folders)]


def _table(keys: Sequence[str], found: Mapping[Row, Sequence[Mapping[str, float]]], names: Sequence[str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for key in keys:
        table.add_column(Text(key), overflow="fold")
    for name in names:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for row, metrics in found.items():
        table.add_row(*map(Text, row), *(_mean([one[name] for one in metrics if name in one]) for name in names))
    return table


def _mean(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ±{statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"
