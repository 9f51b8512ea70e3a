"""An update beside a full refit: the newest tenth of MovieLens's events, folded in, refreshed, refitted.

    python benchmarks/update.py [--data movielens_1m] [--last-user N] [--dim 64] [--share 0.1]

WALS is fitted on all events but the newest share (by time over all users), validation included; then each mode takes
these in, from the same run, by the command that a person would type. Metrics are those of the drift report: each
touched user's last new event, asked of the version before and of the model updated without those events, among all
items; recovered is how much of the refit's gain over the version before a mode has. One process, all its threads.
`--last-user 2999` leaves out the users of a rebuilt MovieLens 1M whose times are not genuine.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import torch
from hydra import compose, initialize_config_dir
from record import save

import recexp
from recexp import config, facts
from recexp.checks import MODES
from recexp.task.assemble import Experiment

QUIET = ["logger=none", "trainer.enable_progress_bar=false"]


def tables(data: str, last_user: int | None, share: float, folder: Path) -> tuple[int, int]:
    """Write old.parquet and new.parquet; how many events each has."""
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        dataset = Experiment(compose("config", overrides=[f"data={data}"])).data.dataset
    events = dataset.interactions
    raw = {side: getattr(dataset, f"{side}s")[side][getattr(events, side)] for side in ("user", "item")}
    table = pl.DataFrame({**raw, "time": events.time}).sort("time", "user", maintain_order=True)
    table = table if last_user is None else table.filter(pl.col("user") <= last_user)
    cut = round(table.height * (1 - share))
    table[:cut].write_parquet(folder / "old.parquet")
    table[cut:].write_parquet(folder / "new.parquet")
    return cut, table.height - cut


def updated(mode: str, base: Path, folder: Path) -> dict[str, Any]:
    """One mode, from a copy of the base run."""
    run = folder / mode
    shutil.copytree(base, run)
    given = [f"new={folder / 'new.parquet'}", f"mode={mode}", "compare_refit=true", "trainer.enable_progress_bar=false"]
    version = recexp.run("task=update", f"run={run}", *given)
    drift = json.loads((version.path / "drift.json").read_text())
    return {"seconds": version.metrics["time/update_s"], "whole_command_s": version.facts["seconds"], **drift}


def main() -> None:
    """Fit, update three times, print, keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="movielens_1m")
    parser.add_argument("--last-user", type=int)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--share", type=float, default=0.1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        counts = tables(asked.data, asked.last_user, asked.share, folder)
        overrides = ["data=table", f"data.path={folder / 'old.parquet'}", "data.time=time", "model=wals"]
        overrides += [f"model.embedding_dim={asked.dim}", "split=leave_one_out", f"hydra.run.dir={folder / 'base'}"]
        base = recexp.run(*overrides, *QUIET)
        found = {mode: updated(mode, base.path, folder) for mode in MODES}
    gain = {mode: row["newest"]["after"]["ndcg@10"] - row["newest"]["before"]["ndcg@10"] for mode, row in found.items()}
    for mode, row in found.items():
        row["recovered"] = gain[mode] / gain["refit"]
        after, before = row["newest"]["after"], row["newest"]["before"]
        print(
            f"{mode:8} {row['seconds']:7.2f} s  hr@10 {before['hr@10']:.4f} -> {after['hr@10']:.4f}  ndcg@10 "
            f"{before['ndcg@10']:.4f} -> {after['ndcg@10']:.4f}  recovered {row['recovered']:.0%}  "
            f"of {row['newest']['users']} users  top-10 as a refit's {row['overlap']['touched'].get('refit', 1):.1%}"
        )
    about = {"command": shlex.join(["python", "benchmarks/update.py", *sys.argv[1:]]), "commit": facts.commit()}
    about |= {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": facts.hardware(), "events": counts}
    about |= {"versions": facts.versions(), "threads": torch.get_num_threads(), "seed": 1}
    whose = f"_to_user_{asked.last_user}" if asked.last_user else ""
    print(save(f"update_{asked.data}{whose}_d{asked.dim}", **about, metrics=found))


if __name__ == "__main__":
    main()
