"""`+hydra.sweeper.finalize={refit_best_with_seeds:5}`: the best trial on all of train, and how much of it was luck."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from recexp.store import Folder
from recexp.sweep.lease import alone
from recexp.sweep.leave import BEST
from recexp.sweep.settings import FINALES, Settings

FOLDER = "best_with_seeds"


def finalize(settings: Settings, trial: int, fixed: Sequence[str], console: Console) -> None:
    """Run the best trial again, once with each seed from 1; what is there already stays.

    Args:
        trial: the one that best.yaml reruns: its runs are its own, and another best one later gets others.
    """
    count = int(settings.finalize.get(FINALES[0], 0))
    if not count:
        return
    runs = [Folder(settings.folder / FOLDER / str(trial) / str(seed)) for seed in range(1, count + 1)]
    allow = [override for override in fixed if override.startswith("allow=")]
    with alone(settings.folder / ".finalize"):  # commands that end together: the second finds what the first left
        for seed, run in enumerate(runs, start=1):
            with console.status(f"trial {trial}, the best one, with seed {seed} of {count} …"):
                failure = _run(settings, run, seed, allow)
            if failure:
                log = settings.folder / "trials.log"
                console.print(f"seed {seed}: {failure} ({log} says more)", style="red", soft_wrap=True, markup=False)
    _show(trial, runs, console)


def _run(settings: Settings, run: Folder, seed: int, allow: Sequence[str]) -> str | None:
    """Run it, or go on with it, unless it is finished; why it failed."""
    status = run.run().get("status")
    if status == "finished":
        return None
    where = settings.folder / BEST.parts[0]
    anew = [
        "experiment=best",
        "refit=true",
        f"seed={seed}",
        f"hydra.run.dir={_quoted(run.path)}",
        f"hydra.searchpath=[{_quoted(f'file://{where}')}]",
    ]
    asked = [f"resume={_quoted(run.path)}"] if status else anew
    command = [sys.executable, "-m", "recexp", *_own_folder(sys.argv[1:]), *asked, *allow]
    with (settings.folder / "trials.log").open("ab+") as log:
        began = log.seek(0, os.SEEK_END)
        ended = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)
        log.seek(began)
        said = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    if ended.returncode == 0:
        return None
    return str(run.run().get("reason") or (said[-1] if said else f"exit status {ended.returncode}"))


def _quoted(value: object) -> str:
    """As a value of an override."""
    return "'" + str(value).replace("'", "\\'") + "'"


def _own_folder(typed: Sequence[str]) -> list[str]:
    """The user's own `--config-dir`, if there is one."""
    flags = ("--config-dir", "-cd")
    return [
        word
        for at, word in enumerate(typed)
        if word.startswith(("--config-dir=", "-cd=")) or word in flags or (at and typed[at - 1] in flags)
    ]


def _show(trial: int, runs: Sequence[Folder], console: Console) -> None:
    found = [run.metrics() for run in runs if run.run().get("status") == "finished"]
    console.print(
        f"\ntrial {trial}, the best one, with {len(found)} seeds, of {len(runs)} · {runs[0].path.parent}",
        soft_wrap=True,
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
