"""Exact full ranking of a finished run against a dense torch.topk of the same scores: seconds and memory.

    python benchmarks/full_ranking.py RUN_FOLDER [REPEATS]

Ours ranks every target among all items in chunks, seen items excluded, ties by expectation, and reports every ranking
metric at four cut-offs. The peer is what evaluation scripts usually do: one users x items matrix, seen items masked,
torch.topk, HR and NDCG at the same cut-offs; wrong on ties, and its memory grows with users x items.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from record import of_run, save

import recexp
from recexp.eval.evaluation import Evaluation
from recexp.task.assemble import Experiment
from recexp.task.run import Run

CUTOFFS = [1, 5, 10, 20]


def peak_mb() -> float:
    """Peak resident memory since the last reset, in MiB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measured(work: Callable[[], Any], repeats: int) -> dict[str, Any]:
    """Median seconds of several goes, and the memory above what was held before the first."""
    Path("/proc/self/clear_refs").write_text("5")
    before, seconds = peak_mb(), []
    for _ in range(repeats):
        started = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - started)
    return {"seconds": statistics.median(seconds), "all_seconds": seconds, "peak_mb": peak_mb() - before, "is": result}


def ours(run: Run, evaluation: Evaluation) -> dict[str, float]:
    """Every ranking metric, exactly."""
    evaluation.reset()
    with torch.no_grad():
        for rows in torch.arange(len(evaluation.users)).split(run.experiment.protocol.batch_size):
            evaluation.update(run.model.score, rows, "cpu")
    return evaluation.result().metrics


def dense(run: Run, evaluation: Evaluation) -> dict[str, float]:
    """HR and NDCG from one matrix."""
    questions = evaluation.questions
    query = evaluation.query(torch.arange(len(evaluation.users)), "cpu")
    with torch.no_grad():
        scores_BI = run.model.score(query)
    rows = np.repeat(np.arange(len(questions.users)), questions.stop - questions.start)
    places = np.concatenate([np.arange(a, b) for a, b in zip(questions.start, questions.stop, strict=True)])
    scores_BI[rows, questions.history.item[places].astype(np.int64)] = -torch.inf
    top_BK = scores_BI.topk(max(CUTOFFS)).indices.numpy()
    hit_BK = top_BK == questions.item[:, None]
    gain_K = 1 / np.log2(np.arange(2, max(CUTOFFS) + 2))
    return {f"hr@{k}": float(hit_BK[:, :k].any(1).mean()) for k in CUTOFFS} | {
        f"ndcg@{k}": float((hit_BK[:, :k] * gain_K[:k]).sum(1).mean()) for k in CUTOFFS
    }


def main(folder: str, repeats: int) -> None:
    """Measure both on the same run, in turn."""
    run = recexp.load_run(folder)
    config = OmegaConf.merge(run.config, {"eval": {"k": CUTOFFS, "metrics": ["hr", "ndcg", "recall", "mrr"]}})
    experiment = run.__dict__["experiment"] = Experiment(config)
    evaluation = experiment.evaluations["test"]
    ours(run, evaluation)
    results = {"recexp": measured(lambda: ours(run, evaluation), repeats)}
    results["dense torch.topk"] = measured(lambda: dense(run, evaluation), repeats)
    ratio = results["dense torch.topk"]["seconds"] / results["recexp"]["seconds"]
    facts = {
        **of_run(folder),
        "users": len(evaluation.users),
        "items": len(run.items),
        "threads": torch.get_num_threads(),
    }
    facts.pop("metrics")
    path = save("full_ranking", **facts, results=results, ratio=ratio)
    print(json.dumps({name: {k: v for k, v in r.items() if k != "is"} for name, r in results.items()}, indent=2))
    print(f"recexp is {ratio:.2f}x as fast as dense torch.topk; {os.path.relpath(path)}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5)
