"""Keep the result of a finished run: python benchmarks/record.py NAME RUN_FOLDER -> benchmarks/results/NAME.json."""

from __future__ import annotations

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
        "peak_memory_mb": facts["peak_memory_mb"],
        "machine": facts["hardware"],
        "versions": facts["versions"],
        "metrics": run.metrics,
    }


if __name__ == "__main__":
    name, folder = sys.argv[1:]
    print(save(name, **of_run(folder)))
