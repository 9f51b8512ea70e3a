"""The other processes of a trainer with several devices: each runs this very job, for this very folder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from pytorch_lightning import Trainer

from recexp.task import show
from recexp.task.job import Job

GRACE = 20.0
"""Seconds in which this process should itself notice that another one has failed."""


@contextmanager
def ranks(trainer: Trainer, job: Job) -> Iterator[None]:
    """Start the other processes, unless there are none, or torchrun or SLURM has started them; end with them.

    Lightning would start them by the command line of this process, which may be a grid, a notebook or a test.
    """
    show.console.quiet = not job.leads
    cluster = getattr(trainer.strategy, "cluster_environment", None)
    try:
        if cluster is None or cluster.creates_processes_externally:
            yield
        else:
            with _environment(trainer, cluster), _started(trainer.num_devices, job):
                yield
    finally:
        show.console.quiet = False


@contextmanager
def _environment(trainer: Trainer, cluster: Any) -> Iterator[None]:
    """What tells Lightning that somebody else starts the processes, and how they meet."""
    place = {"MASTER_ADDR": cluster.main_address, "MASTER_PORT": cluster.main_port, "NODE_RANK": cluster.node_rank()}
    place |= {"LOCAL_RANK": 0, "WORLD_SIZE": trainer.num_devices * trainer.num_nodes}
    before = {name: os.environ.get(name) for name in place}
    os.environ.update({name: str(value) for name, value in place.items()})
    try:
        yield
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _started(num_devices: int, job: Job) -> Iterator[None]:
    command, over = _command(job), threading.Event()
    others = [
        subprocess.Popen(command, env={**os.environ, "LOCAL_RANK": str(rank)}, stdout=subprocess.DEVNULL)
        for rank in range(1, num_devices)
    ]
    threading.Thread(target=_watch, args=(others, job, over), daemon=True).start()
    try:
        yield
        for process in others:
            with suppress(subprocess.TimeoutExpired):  # the results are there: it is ended below
                process.wait(GRACE)
    finally:
        over.set()
        for process in others:
            process.kill()  # does nothing to those that have ended
            process.wait()


def _command(job: Job) -> list[str]:
    """This job alone, even if it is one of a grid; the folder is the one that is there already."""
    hydra = HydraConfig.get()
    own = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    flags = ["--config-name", str(hydra.job.config_name), *(word for path in own for word in ("--config-dir", path))]
    where = str(job.folder.path.absolute()).replace("\\", r"\\").replace("'", r"\'")
    given = [*hydra.overrides.task, f"hydra.run.dir='{where}'", "hydra.output_subdir=null"]
    return [sys.executable, "-m", "recexp", *flags, *given]


def _watch(others: Sequence[subprocess.Popen[bytes]], job: Job, over: threading.Event) -> None:
    """A process whose peer is gone may wait for it in native code for half an hour."""
    while not over.wait(1.0):
        if any(process.poll() for process in others) and not over.wait(GRACE):
            job.fail(RuntimeError("a process of another device failed; its error is above"))
            job.close(exit_code=1)
            os._exit(1)
