"""The loss x history table of the two-tower network, on one protocol.

python benchmarks/two_tower.py run movielens_100k|movielens_1m FOLDER   # what is missing; resumes
python benchmarks/two_tower.py show movielens_100k|movielens_1m FOLDER  # the table as Markdown, its runs as JSON
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from record import of_run, save

import recexp

HISTORIES = ["mean", "gru", "transformer"]
LOSSES = ["in_batch_softmax", "ce", "pairwise", "triplet"]
LONGER = {"movielens_1m": [], "movielens_100k": ["trainer.max_epochs=30"]}
"""A sixth of the users are a sixth of the steps in an epoch."""
METRICS = ["test/recall@20", "test/ndcg@20"]
T_2 = 4.303
"""Student's t for a 95 % interval of three seeds."""


def seeds(data: str, loss: str, history: str) -> list[int]:
    """Three where the table asks for it, else one."""
    many = data == "movielens_100k" or loss == "in_batch_softmax" or history == "mean"
    return [1, 2, 3] if many else [1]


def cells(data: str) -> Iterator[tuple[str, str, int]]:
    """Every run of the table; the first seed of all comes first."""
    every = [(h, loss, seed) for h in HISTORIES for loss in LOSSES for seed in seeds(data, loss, h)]
    return iter(sorted(every, key=lambda cell: cell[2]))


def run(data: str, folder: Path) -> None:
    """Make what is missing, go on with what was stopped."""
    for history, loss, seed in cells(data):
        path = folder / f"{data}_{history}_{loss}_{seed}"
        if (path / "per_user.parquet").exists():
            continue
        if (path / "checkpoints" / "last.ckpt").exists():
            recexp.run(f"resume={path}")
        else:
            own = [f"experiment=movielens_1m_two_tower_{loss}", f"data={data}", f"model/history={history}"]
            recexp.run(*own, *LONGER[data], "trainer=cpu", "logger=csv", f"seed={seed}", f"hydra.run.dir={path}")


def show(data: str, folder: Path) -> None:
    """The table, and what made it."""
    print(f"| {data} | {' | '.join(LOSSES)} |\n|---|{'---|' * len(LOSSES)}")
    for history in HISTORIES:
        print(f"| {history} | {' | '.join(cell(data, history, loss, folder) for loss in LOSSES)} |")
    save(f"two_tower_{data}", runs=[facts(path) for path in found(data, folder)])


def found(data: str, folder: Path) -> list[Path]:
    """The finished runs of the table."""
    paths = [folder / f"{data}_{history}_{loss}_{seed}" for history, loss, seed in cells(data)]
    return [path for path in paths if (path / "per_user.parquet").exists()]


def facts(path: Path) -> dict[str, Any]:
    """What a row of the table needs to be believed."""
    run = of_run(str(path))
    metrics = {name: run["metrics"][name] for name in ["val/ndcg@10", "test/recall@10", "test/ndcg@10", *METRICS]}
    kept = ("command", "commit", "date", "data", "split", "eval", "seed", "seconds", "peak_memory_mb", "versions")
    return {name: run[name] for name in kept} | {"epochs": max(run["curve"]), "metrics": metrics}


def cell(data: str, history: str, loss: str, folder: Path) -> str:
    """R@20 / NDCG@20, with a 95 % interval over three seeds."""
    mine = [path for path in found(data, folder) if path.name.startswith(f"{data}_{history}_{loss}_")]
    runs = [recexp.load_run(path).metrics for path in mine]
    return " / ".join(interval([metrics[name] for metrics in runs]) for name in METRICS) if runs else ""


def interval(values: list[float]) -> str:
    """`.3012 ±.0021`."""
    mean = f"{statistics.mean(values):.4f}".lstrip("0")
    if len(values) < 3:
        return mean
    return f"{mean} ±{f'{T_2 * statistics.stdev(values) / len(values) ** 0.5:.4f}'.lstrip('0')}"


if __name__ == "__main__":
    {"run": run, "show": show}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
