"""The worker processes of one command: started, watched over, replaced, stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from optuna.trial import FrozenTrial, TrialState

from recexp.errors import RecexpError
from recexp.sweep import marks
from recexp.sweep.claims import Claims
from recexp.sweep.lease import ROLE
from recexp.sweep.worker import START_AFRESH

GRACE = 15.0
"""Seconds in which a process that is told to stop should have done so."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "NUMBA_NUM_THREADS")


class Member:
    """One worker process, in a session of its own, which dies with this one: its standard input ends then.

    Args:
        log: the file of what it prints.
        cores: that it may use.
    """

    def __init__(self, log: Path, cores: int) -> None:
        self.log = log
        self.token = uuid.uuid4().hex[:12]
        threads = {name: os.environ.get(name, str(cores)) for name in THREADS}
        command = [sys.executable, "-m", "recexp", *sys.argv[1:]]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **threads, ROLE: self.token, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )

    def owns(self, trial: FrozenTrial) -> bool:
        """Whether it took this trial up."""
        return str(trial.user_attrs.get(marks.WORKER)).endswith(f"-{self.token}")

    def memory_mb(self) -> float:
        """Of the process and its children [MiB]."""
        total = 0
        with suppress(psutil.Error):
            root = psutil.Process(self.process.pid)
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.Error):
                    total += process.memory_info().rss
        return total / 2**20

    def ask_to_stop(self) -> None:
        """As Ctrl-C does, which nothing hears that a shell started in the background."""
        with suppress(ProcessLookupError):
            self.process.terminate()

    def kill(self) -> None:
        """It and its children, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def last_words(self) -> str:
        """The end of what it printed."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return "\n".join(lines[-5:])


class Crew:
    """All of them.

    Args:
        size: how many.
    """

    def __init__(self, claims: Claims, size: int) -> None:
        self.claims, self.size = claims, size
        self.folder = claims.settings.folder / "workers"
        self.folder.mkdir(exist_ok=True)
        self.members: list[Member] = []
        self.unfit = 0
        """Workers in a row that ended without a trial."""

    def man(self) -> None:
        """Start what is missing."""
        cores = max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        while len(self.members) < self.size:
            log = self.folder / f"{socket.gethostname()}-{os.getpid()}-{len(self.members)}.log"
            self.members.append(Member(log, max(1, cores // self.size)))

    def watch(self, trials: Sequence[FrozenTrial]) -> None:
        """See to those that hang, have grown too big or are gone.

        Raises:
            RecexpError: workers end without having done anything.
        """
        for member in list(self.members):
            mine = [trial for trial in trials if trial.state == TrialState.RUNNING and member.owns(trial)]
            if member.process.poll() is not None:
                self._bury(member)
            elif mine and (reason := self._excess(member, mine[0])):
                member.kill()
                self.members.remove(member)
                self.claims.outcomes.fail(mine[0], reason)

    def _excess(self, member: Member, trial: FrozenTrial) -> str | None:
        settings = self.claims.settings
        seconds = time.time() - float(trial.user_attrs[marks.BEGAN])
        if settings.trial_timeout is not None and seconds > settings.trial_timeout:
            return f"longer than hydra.sweeper.trial_timeout={settings.trial_timeout:g} s"
        if settings.trial_memory_mb is not None and (found := member.memory_mb()) > settings.trial_memory_mb:
            return f"{found:.0f} MiB, more than hydra.sweeper.trial_memory_mb={settings.trial_memory_mb:g}"
        return None

    def _bury(self, member: Member) -> None:
        """Its trial is queued again; one that kills its process a second time has failed."""
        member.kill()
        self.members.remove(member)
        code = member.process.returncode
        took = [trial for trial in self.claims.study.get_trials(deepcopy=False) if member.owns(trial)]
        for trial in took:
            if trial.state == TrialState.RUNNING or marks.STALE in trial.user_attrs:
                self.claims.count_death(trial, _how(code))
        self.unfit = 0 if took or code == START_AFRESH else self.unfit + 1
        if self.unfit > self.size and not self.claims.tally().over:
            raise RecexpError(f"the workers end before they have done anything ({_how(code)}): {member.last_words()}")

    def stop(self) -> None:
        """End all of them: gently, then not."""
        for member in self.members:
            member.ask_to_stop()
        deadline = time.monotonic() + GRACE
        for member in self.members:
            with suppress(subprocess.TimeoutExpired):
                member.process.wait(max(0.0, deadline - time.monotonic()))
            member.kill()
        self.members = []


def _how(code: int) -> str:
    if code == -signal.SIGKILL:
        return "killed, as a machine without memory does"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def die_with_supervisor() -> None:
    """In a worker: end it, and all that it started, when the standard input that its supervisor holds ends."""
    while os.read(0, 1024):  # unbuffered: a buffer's lock would be held when Python ends
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)
