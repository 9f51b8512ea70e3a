"""Keep the result of a finished run: python benchmarks/record.py NAME RUN_FOLDER -> benchmarks/results/NAME.json."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import recexp

RESULTS = Path(__file__).parent / "results"


def save(name: str, **facts: Any) -> Path:
    """Write one result as one JSON."""
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"experiment": name, **facts}, indent=2) + "\n")
    return path


def of_run(path: str) -> dict[str, Any]:
    """What a result needs to be believed: command, commit, protocol, seed, machine, versions, metrics."""
    run = recexp.load_run(path)
    facts = run.facts
    return {
        "command": " ".join(word for word in shlex.split(facts["command"]) if not word.startswith("hydra.run.dir=")),
        "commit": facts["git"],
        "date": facts["finished"],
        "data": facts["data"],
        "split": facts["split"],
        "eval": facts["eval"],
        "seed": facts["seed"],
        "seconds": facts["seconds"],
        "sittings": facts.get("sittings"),
        "peak_memory_mb": facts["peak_memory_mb"],
        "machine": facts["hardware"],
        "versions": facts["versions"],
        "metrics": run.metrics,
        "curve": curve(run.path / "csv" / "metrics.csv", "val/ndcg@10"),
    }


def curve(path: Path, metric: str) -> dict[int, float]:
    """The metric after each epoch that was validated, of a run with logger=csv."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {int(float(row["epoch"])) + 1: float(row[metric]) for row in csv.DictReader(file) if row.get(metric)}


if __name__ == "__main__":
    name, folder = sys.argv[1:]
    print(save(name, **of_run(folder)))
