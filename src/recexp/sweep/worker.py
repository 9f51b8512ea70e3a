"""One process that runs trials, one after the other."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from optuna.trial import FrozenTrial, TrialState

from recexp.config import Refusal
from recexp.sweep.claims import Claim, Claims

POLL_SECONDS = 0.5
START_AFRESH = 75
"""Exit status of a worker whose trial failed: what errors leave behind (memory, a broken CUDA context) goes too."""


class Worker:
    """Runs trials until there is nothing left to do for anybody.

    Args:
        fixed: overrides that all trials share.
        after: called with each trial that this worker ended.
        afresh: whether a failed trial ends the process.
        log: the file of what the jobs print; None: they print where this process does.
    """

    def __init__(
        self,
        claims: Claims,
        launcher: Launcher,
        fixed: list[str],
        after: Callable[[FrozenTrial], object],
        afresh: bool,
        log: Path | None,
    ) -> None:
        self.claims, self.launcher, self.fixed, self.after, self.afresh = claims, launcher, fixed, after, afresh
        self.log = log

    def work(self) -> None:
        """Run trials, waiting where the rest of the budget is in other hands."""
        while not self.claims.tally().over:
            claim = self.claims.next()
            if claim is None:
                time.sleep(POLL_SECONDS)
                continue
            ended = self.run(claim)
            self.after(ended)
            if self.afresh and ended.state == TrialState.FAIL:
                sys.exit(START_AFRESH)

    def run(self, claim: Claim) -> FrozenTrial:
        """Run one trial and tell the study how it ended."""
        storage, trial_id = self.claims.study._storage, claim.trial._trial_id
        with self.claims.lease.beating(storage, trial_id), _printing_to(self.log):
            error = self._launch(claim)
            ended = self.claims.outcomes.conclude(claim.trial, error or "it left no result")
        if not ended:
            self.claims.give_up(claim.trial, error or "terminated")
        _make_room()
        return storage.get_trial(trial_id)

    def _launch(self, claim: Claim) -> str | None:
        """What went wrong, if anything."""
        try:
            (job,) = self.launcher.launch([[*self.fixed, *claim.overrides]], initial_job_idx=claim.trial.number)
        except Refusal as refusal:
            return str(refusal.error)
        except Exception as error:  # of the launcher: its own process, queue or cluster
            return f"{type(error).__name__}: {error}"
        return None if job.status == JobStatus.COMPLETED else _said(job._return_value)


def _make_room() -> None:
    """Models are cycles of objects: those on an accelerator must go before the next one comes."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


@contextmanager
def _printing_to(log: Path | None) -> Iterator[None]:
    if log is None:
        yield
    else:
        with log.open("a") as file, redirect_stdout(file), redirect_stderr(file):
            yield


def _said(error: Any) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """End as with Ctrl-C when a supervisor or a cluster says so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
