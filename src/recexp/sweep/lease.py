"""Which workers are alive: a lock that the kernel lets go of when its process dies, and a heartbeat for elsewhere."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from recexp.sweep import marks

BEAT_SECONDS = 15.0
ROLE = "RECEXP_WORKER"
"""The environment variable that makes the same command a worker; its value is the worker's token."""
JOB_LOCK = ".at_work"
"""In a trial's folder: the file that its job holds while it runs."""
UNSIGNED_SECONDS = 15.0
"""Between a trial's being made and its bearing a worker's name."""


class Lease:
    """This process as a worker.

    Args:
        folder: of the study.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / ".workers"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{os.environ.get(ROLE) or uuid.uuid4().hex[:6]}"
        self._file = (self.folder / self.worker).open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        """Leave: whatever this worker still holds is anybody's."""
        (self.folder / self.worker).unlink(missing_ok=True)
        self._file.close()

    def is_alive(self, trial: FrozenTrial, grace: float) -> bool:
        """Whether somebody is at a running trial.

        Args:
            grace: seconds without a heartbeat after which a worker on another machine is dead.
        """
        worker = trial.user_attrs.get(marks.WORKER)
        if worker is None:
            started = trial.datetime_start
            return started is not None and abs((datetime.now() - started).total_seconds()) < UNSIGNED_SECONDS
        if worker == self.worker:
            return True
        file = self.folder / str(worker)
        if is_locked(file):
            return True
        if file.exists() and str(worker).rsplit("-", 2)[0] == socket.gethostname():
            return False  # of another machine the lock alone says too little: not all file systems share them
        signs = [float(trial.user_attrs[mark]) for mark in (marks.BEAT, marks.BEGAN) if mark in trial.user_attrs]
        left = trial.user_attrs.get(marks.BEAT) == 0
        return not left and bool(signs) and time.time() - max(signs) < grace

    @contextmanager
    def beating(self, storage: BaseStorage, trial_id: int) -> Iterator[None]:
        """Show signs of life while a trial runs; none is left behind when it was not finished."""
        over = threading.Event()
        thread = threading.Thread(target=self._beat, args=(storage, trial_id, over), daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            with suppress(Exception):
                storage.set_trial_user_attr(trial_id, marks.BEAT, 0)
            raise
        finally:
            over.set()
            thread.join(1.0)

    def _beat(self, storage: BaseStorage, trial_id: int, over: threading.Event) -> None:
        while not over.wait(BEAT_SECONDS):
            with suppress(Exception):  # the storage may be away for a while, or the trial be over
                storage.set_trial_user_attr(trial_id, marks.BEAT, time.time())


def is_locked(file: Path) -> bool:
    """Whether some process holds the lock of a file; opened for writing, for NFS locks nothing else."""
    with suppress(FileNotFoundError), file.open("r+") as probe:
        try:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """One process of this folder at a time; the kernel opens the lock of one that dies."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
