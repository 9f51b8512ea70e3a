"""`+hydra.sweeper.finalize={refit_best_with_seeds:5}`: the best trial on all of train, and how much of it was luck."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from recexp.store import Folder
from recexp.sweep.leave import BEST
from recexp.sweep.settings import FINALES, Settings

FOLDER = "best_with_seeds"


def finalize(settings: Settings, fixed: Sequence[str], console: Console) -> None:
    """Run the best trial again, once with each seed from 1; what is there already stays."""
    count = int(settings.finalize.get(FINALES[0], 0))
    if not count or not (settings.folder / BEST).exists():
        return
    runs = [Folder(settings.folder / FOLDER / str(seed)) for seed in range(1, count + 1)]
    for seed, run in enumerate(runs, start=1):
        with console.status(f"the best trial with seed {seed} of {count} …"):
            _run(settings, run, seed, [override for override in fixed if override.startswith("allow=")])
    _show(runs, console)


def _run(settings: Settings, run: Folder, seed: int, allow: Sequence[str]) -> None:
    status = run.run().get("status")
    if status == "finished":
        return
    where = settings.folder / BEST.parts[0]
    anew = [
        "experiment=best",
        "refit=true",
        f"seed={seed}",
        f"hydra.run.dir='{run.path}'",
        f"hydra.searchpath=[file://{where}]",
    ]
    asked = [f"resume='{run.path}'"] if status else anew
    with (settings.folder / "trials.log").open("ab") as log:
        command = [sys.executable, "-m", "recexp", *_own_folder(sys.argv[1:]), *asked, *allow]
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)


def _own_folder(typed: Sequence[str]) -> list[str]:
    """The user's own `--config-dir`, if there is one."""
    return [word for at, word in enumerate(typed) if "--config-dir" in (word, typed[at - 1] if at else "")]


def _show(runs: Sequence[Folder], console: Console) -> None:
    found = [run.metrics() for run in runs if run.run().get("status") == "finished"]
    console.print(
        f"\nthe best trial with {len(found)} seeds, of {len(runs)} · {Path(runs[0].path).parent}", soft_wrap=True
    )
    if len(found) < 2:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("metric")
    table.add_column("mean", justify="right")
    table.add_column("standard deviation", justify="right")
    for name in [name for name in found[0] if name.startswith(("val/", "test/")) and ":" not in name]:
        values = [metrics[name] for metrics in found if name in metrics]
        table.add_row(name, f"{statistics.mean(values):.4f}", f"{statistics.stdev(values):.4f}")
    console.print(table)
