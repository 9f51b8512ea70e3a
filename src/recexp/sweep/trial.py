"""What a job knows of the study that it is a trial of: found by its folder, never by an override."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from hydra.core.hydra_config import HydraConfig
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError

from recexp.sweep import studies
from recexp.sweep.lease import JOB_LOCK
from recexp.sweep.settings import storage_url

TRIES = 4
WAIT = 2.0
"""Between two tries, the longer the more there were [s]."""

log = logging.getLogger("recexp")


class Trial:
    """The job's side of a trial.

    Args:
        folder: of the trial.

    Attributes:
        metric: reported after each validation; None where there are several objectives, which are not pruned on.
    """

    def __init__(self, study: optuna.Study, folder: Path) -> None:
        self.study, self.folder, self.number = study, folder, int(folder.name)
        self.storage = study._storage
        self._id = self.storage.get_trial_id_from_study_id_trial_number(study._study_id, self.number)
        objectives: list[str] = study.user_attrs[studies.OBJECTIVES]
        self.metric = objectives[0].lstrip("-") if len(objectives) == 1 else None
        self.pruner = studies.pruner(study)

    def report(self, step: int, value: float) -> bool:
        """Tell the study the metric after an epoch; whether the trial is to be pruned.

        A storage that is away for longer than a few tries costs the run nothing but this chance to be pruned.

        Raises:
            RuntimeError: the trial is somebody else's by now.
        """
        for attempt in range(TRIES):
            try:
                return self._reported(step, value)
            except (StorageInternalError, OSError) as error:
                log.warning("epoch %d could not be told to the study: %s", step, error)
                time.sleep(WAIT * attempt)
        return False

    def _reported(self, step: int, value: float) -> bool:
        try:
            self.storage.set_trial_intermediate_value(self._id, step, value)
        except UpdateFinishedTrialError as error:
            raise RuntimeError(
                f"trial {self.number} was taken for dead and queued again; a machine that sleeps longer than "
                "hydra.sweeper.grace looks like that."
            ) from error
        return self.pruner.prune(self.study, self.storage.get_trial(self._id))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold the lock of the trial's folder, which a cluster's job may outlive its worker with.

        Raises:
            RuntimeError: another job is at this trial.
        """
        with (self.folder / JOB_LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RuntimeError(f"another job is at work in {self.folder}") from error
            try:
                yield
            finally:
                (self.folder / JOB_LOCK).unlink(missing_ok=True)


def current() -> Trial:
    """The trial that the job of this process is."""
    hydra = HydraConfig.get()
    url = storage_url(hydra.sweeper.storage, Path(hydra.sweep.dir).absolute())
    return Trial(studies.load(url, str(hydra.sweeper.name)), Path(hydra.runtime.output_dir))
