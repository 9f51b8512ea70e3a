"""How WALS and SLIM grow: 200,000 users, 100,000 items, and ten times the interactions, each by a whole command.

    python benchmarks/scale.py [--events 5 15 50] [--models wals slim] [--users 200000] [--items 100000]

`--events` are interactions per user of `data=synthetic`, on average. Each run is a process of its own: seconds of the
fit and of the whole command with reading, splitting, validation on 2,000 users and the test among 100 drawn negatives;
memory is the most that the process held at any time.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from record import save

from recexp import facts

COMMON = ["trainer=cpu", "logger=none", "fit.validation_users=2000", "trainer.enable_progress_bar=false"]
COMMON += ["eval=sampled", "eval.sampling=uniform", "eval.num_negatives=100"]
OWN = {"slim": ["model.alpha=0.0024", "model.l1_ratio=1.2e-5"], "wals": []}
"""SLIM's lambda and beta are those published for MovieLens 1M."""


def measured(model: str, events: int, users: int, items: int) -> dict[str, Any]:
    """One whole command."""
    data = [f"data.num_users={users}", f"data.num_items={items}", f"data.num_events={events}"]
    with tempfile.TemporaryDirectory() as folder:
        words = [f"model={model}", *OWN[model], *data, *COMMON, f"hydra.run.dir={folder}/run"]
        subprocess.run([sys.executable, "-m", "recexp", *words], check=True)
        said = json.loads((Path(folder) / "run" / "run.json").read_text())
        metrics = json.loads((Path(folder) / "run" / "metrics.json").read_text())
    print(f"{model} {events}: {said['seconds']:.0f} s, {said['peak_memory_mb'] / 1024:.2f} GiB")
    kept = {name: value for name, value in metrics.items() if name.startswith("time/") or name.endswith("ndcg@10")}
    whole = {"seconds": said["seconds"], "peak_memory_mb": said["peak_memory_mb"]}
    return {"model": model, "num_events": users * events, **whole, "metrics": kept}


def main() -> None:
    """Measure from small to large, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[5, 15, 50])
    parser.add_argument("--models", nargs="+", choices=list(OWN), default=list(OWN))
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=100_000)
    asked = parser.parse_args()
    about = {"command": shlex.join(["python", "benchmarks/scale.py", *sys.argv[1:]]), "commit": facts.commit()}
    about |= {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": facts.hardware()}
    about |= {"versions": facts.versions(), "threads": torch.get_num_threads(), "seed": 1}
    found = [measured(model, n, asked.users, asked.items) for model in asked.models for n in asked.events]
    print(save("scale", **about, settings={**OWN, "all": COMMON}, results=found))


if __name__ == "__main__":
    main()
