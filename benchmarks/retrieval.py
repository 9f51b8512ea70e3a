"""Costs of retrieval: one user's top 20 of 100,000 items, an epoch with hard negatives, a DSSM over 100,000 words.

python benchmarks/retrieval.py index|hard|dssm
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from record import save

import recexp
from recexp import facts
from recexp.model.dssm import DSSM
from recexp.types import Bags, Features, Query

MANY = 100_000
QUIET = ["trainer=cpu", "logger=none", "trainer.enable_progress_bar=false"]


def index() -> dict[str, float]:
    """Train on a table of 100,000 items, export, ask for single new users with histories."""
    folder = Path(tempfile.mkdtemp())
    rng = np.random.default_rng(0)
    item = np.concatenate([np.arange(MANY), (MANY * rng.random(60_000) ** 2).astype(int)])
    pl.DataFrame({"user": rng.integers(1000, size=len(item)), "item": item}).write_parquet(folder / "e.parquet")
    where = [f"data.path={folder / 'e.parquet'}", f"hydra.run.dir={folder / 'run'}"]
    done = recexp.run("data=table", *where, "model=two_tower", "eval.k=[20]", "trainer.max_epochs=1", *QUIET)
    out = recexp.run("task=export", f"run={folder / 'run'}", f"hydra.run.dir={folder / 'out'}")
    from recexp.task.exported import answers

    run = recexp.load_run(done.path)
    found: dict[str, float] = {**out.metrics}
    for engine in ("model", "index", "onnx"):
        run.answers = answers(run, engine, str(out.path))
        history = [[run.items[int(i)] for i in rng.integers(MANY, size=30)] for _ in range(100)]
        seconds = [timed(lambda h=h: run.recommend_for([h], k=20)) for h in history]  # type: ignore[misc]
        found[f"new_user_ms/{engine}"] = 1000 * float(np.median(seconds[10:]))
    return found


def timed(work: Callable[[], object]) -> float:
    """Seconds of some work."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def hard() -> dict[str, float]:
    """Seconds of a mined epoch on MovieLens 1M against one of uniform negatives: three epochs less the first."""
    found: dict[str, float] = {}
    for name, own in (("uniform", []), ("hard", ["negatives.num_hard=4"])):
        first, three = (fit_s(epochs, f"negatives={name}", "negatives.num_negatives=16", *own) for epochs in (1, 3))
        found[f"epoch_s/{name}"] = (three - first) / 2
    return {**found, "hard/uniform": found["epoch_s/hard"] / found["epoch_s/uniform"]}


def fit_s(epochs: int, *given: str) -> float:
    """Seconds of so many epochs, validations included."""
    model = ["experiment=movielens_1m_two_tower_ce", f"trainer.max_epochs={epochs}", "fit.patience=null", *QUIET]
    return recexp.run(*model, *given, f"hydra.run.dir={tempfile.mkdtemp()}/run").metrics["time/fit_s"]


def dssm() -> dict[str, float]:
    """Peak memory and seconds of full-size training steps: 100,000 words, 100,000 items of 50 words, towers to 300."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(MANY, (50 * MANY,), generator=generator)
    text = Bags(torch.arange(0, 50 * MANY + 1, 50), words, torch.full((50 * MANY,), 50**-0.5), MANY)
    features = Features({"id": Bags.single(np.arange(MANY), MANY)}, {"text": text}, MANY, MANY)
    model = DSSM(300, [300], 50, 0.1, features)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    seconds = []
    for _ in range(5):
        histories = torch.randint(MANY, (512, 20), generator=generator).tolist()
        query, items = Query.from_histories(histories, list(range(512))), torch.randint(MANY, (512, 9))
        seconds.append(timed(lambda: step(model, optimizer, query, items)))  # noqa: B023
    began = time.perf_counter()
    with torch.no_grad():
        model.encode_items(torch.arange(MANY))
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"step_s": min(seconds), "all_items_s": time.perf_counter() - began, "peak_memory_gb": peak_gb}


def step(model: DSSM, optimizer: torch.optim.Optimizer, query: Query, items: torch.Tensor) -> None:
    """One step of softmax over the first column against the others."""
    optimizer.zero_grad()
    loss = -(20 * model(query, items)).log_softmax(1)[:, 0].mean()
    loss.backward()
    optimizer.step()


if __name__ == "__main__":
    what = sys.argv[1]
    torch.set_num_threads(1)
    result = {"index": index, "hard": hard, "dssm": dssm}[what]()
    for name, value in result.items():
        print(f"{name:32} {value:.5g}")
    save(f"retrieval_{what}", **facts.provenance([*sys.argv]), metrics=result)
