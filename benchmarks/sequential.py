"""BERT4Rec beside RecTools and RecBole: sequences per second in training, seconds of a full ranking, memory.

    python benchmarks/sequential.py FILE --length 50 --peers FOLDER/seq.py --venvs FOLDER [--precision bf16-mixed]

Everybody trains a few batches at one shape (hidden 64, 2 layers, 2 heads, batch 256, dropout .2, full softmax) on the
same file of `user item` lines, one after another, then ranks all items for all users. The peers are driven by a script
that prints one JSON line per run, in virtual environments of their own (FOLDER/rectools, FOLDER/recbole). RecTools has
one row per user, as we do; RecBole has one per prefix. Seconds are the median of the epochs after the first.
What differs on purpose: our attention dropout drops whole keys, theirs single weights; we ask the kernel for large
pages, as `python -m recexp` does. Peers run in 32 bits, so ratios are kept for --precision 32-true alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from record import save

from recexp import config, facts
from recexp.fit.heap import take_large_pages
from recexp.task.assemble import Experiment

PEERS = ("rectools", "recbole")
SHAPE = [
    *["model.embedding_dim=64", "model.layers.num_layers=2", "model.layers.num_heads=2", "model.layers.hidden_dim=256"],
    *["model.layers.dropout=0.2", "fit.batch_size=256", "fit.patience=null", "optimizer.lr=0.001"],
]
PROTOCOL = ["eval.k=[10]", "eval.metrics=[hr,ndcg]", "split.validation=none", "logger=none", "trainer=cpu"]


class Stopwatch(pl.Callback):
    """Seconds of each training epoch and of the test."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.rows = 0

    def on_train_epoch_start(self, *_: Any) -> None:
        self.started, self.rows = time.perf_counter(), 0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: torch.Tensor, number: int) -> None:
        self.rows += len(batch)

    def on_train_epoch_end(self, *_: Any) -> None:
        self.epochs.append(time.perf_counter() - self.started)

    def on_test_start(self, *_: Any) -> None:
        self.started = time.perf_counter()

    def on_test_end(self, *_: Any) -> None:
        self.test = time.perf_counter() - self.started


def peak_mb() -> float:
    """Peak resident memory of this process since the last reset, in MiB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def ours(asked: argparse.Namespace) -> None:
    """Print one JSON line, as the peers do."""
    take_large_pages()
    torch.set_num_threads(asked.threads)
    overrides = [f"model={asked.model}", f"model.max_length={asked.length}", f"trainer.precision={asked.precision}"]
    overrides += ["data=sequence_file", f"data.path={asked.file}", "eval.batch_size=256", *SHAPE, *PROTOCOL]
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        experiment = Experiment(compose("config", overrides=overrides))
    module, watch = experiment.module(experiment.model(), Path()), Stopwatch()
    limits = {"max_epochs": asked.epochs, "limit_train_batches": asked.batches, "enable_checkpointing": False}
    module.configure_callbacks = list  # type: ignore[method-assign]
    trainer = experiment.trainer(callbacks=[watch], **limits)
    trainer.fit(module, datamodule=experiment.data)
    training_mb = peak_mb()
    Path("/proc/self/clear_refs").write_text("5")
    trainer.test(module, datamodule=experiment.data, verbose=False)
    print(
        json.dumps(
            {
                "rows": watch.rows,
                "all_seconds": watch.epochs,
                "eval_s": watch.test,
                "rss_mb": training_mb,
                "eval_rss_mb": peak_mb(),
                "quality_full_lolo": module.metrics("test"),
                "versions": facts.provenance([])["versions"],
            }
        )
    )


def line_of(command: list[str], threads: int) -> dict[str, Any]:
    """The JSON line that a command prints last."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PEER_CORES": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    line: dict[str, Any] = json.loads(lines[-1])
    return {**line, "seq_per_s": line["rows"] / statistics.median(line["all_seconds"][1:])}


def peer(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """One peer in its own environment; `seq.py` writes what it measured as one line."""
    model = {"bert4rec": "BERT4Rec", "sasrec": "SASRec"}[asked.model]
    settings = {
        "lib": name,
        "model": model,
        "maxlen": asked.length,
        "max-batches": asked.peer_batches,
        "epochs": asked.epochs,
        "data": asked.file,
    }
    words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    return line_of([f"{asked.venvs}/{name}/bin/python", asked.peers, *words], asked.threads)


def ratios(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    """How many times the better peer we are."""
    us, them = results["recexp"], [results[name] for name in PEERS]
    return {
        "training": us["seq_per_s"] / max(one["seq_per_s"] for one in them),
        "evaluation": min(one["eval_s"] for one in them) / us["eval_s"],
    }


def main() -> None:
    """Measure all in turn, and keep the result."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("file")
    arguments.add_argument("--length", type=int, default=50)
    arguments.add_argument("--model", choices=["bert4rec", "sasrec"], default="bert4rec")
    arguments.add_argument("--precision", default="32-true")
    arguments.add_argument("--batches", type=int, default=12)
    arguments.add_argument("--peer-batches", type=int, default=4)
    arguments.add_argument("--epochs", type=int, default=4)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--peers")
    arguments.add_argument("--venvs")
    arguments.add_argument("--alone", action="store_true", help="only print our own line")
    asked = arguments.parse_args()
    if asked.alone:
        ours(asked)
        return
    results = {name: peer(name, asked) for name in PEERS}
    results["recexp"] = line_of([sys.executable, *sys.argv, "--alone"], asked.threads)
    places = {name: Path(getattr(asked, name)).name for name in ("file", "peers", "venvs")}  # not where they lie here
    settings = {**vars(asked), **places}
    del settings["alone"]
    words = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items() if name != "file"]
    found = {"ratios": ratios(results)} if asked.precision == "32-true" else {}
    path = save(
        f"sequential_{asked.model}_{asked.length}_{asked.precision}",
        **{**facts.provenance([]), "command": shlex.join(["python", sys.argv[0], settings["file"], *words])},
        settings=settings,
        results=results,
        **found,
    )
    for name, result in results.items():
        print(f"{name:9} {result['seq_per_s']:7.0f} sequences/s, full ranking {result['eval_s']:.1f} s")
    print(f"{found}; {os.path.relpath(path)}")


if __name__ == "__main__":
    main()
