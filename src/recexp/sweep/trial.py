"""What a job knows of the study that it is a trial of: found by its folder, never by an override."""

from __future__ import annotations

from pathlib import Path

import optuna
from hydra.core.hydra_config import HydraConfig
from optuna.exceptions import UpdateFinishedTrialError

from recexp.sweep import studies
from recexp.sweep.settings import storage_url


class Trial:
    """The job's side of a trial.

    Args:
        metric: reported after each validation; None where there are several objectives, which are not pruned on.
    """

    def __init__(self, study: optuna.Study, number: int) -> None:
        self.study, self.number = study, number
        self.storage = study._storage
        self._id = self.storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        objectives: list[str] = study.user_attrs[studies.OBJECTIVES]
        self.metric = objectives[0].lstrip("-") if len(objectives) == 1 else None
        self.pruner = studies.pruner(study)

    def report(self, step: int, value: float) -> bool:
        """Tell the study the metric after an epoch; whether the trial is to be pruned.

        Raises:
            RuntimeError: the trial is somebody else's by now.
        """
        try:
            self.storage.set_trial_intermediate_value(self._id, step, value)
        except UpdateFinishedTrialError as error:
            raise RuntimeError(
                f"trial {self.number} was taken for dead and queued again; a machine that sleeps longer than "
                "hydra.sweeper.grace looks like that."
            ) from error
        return self.pruner.prune(self.study, self.storage.get_trial(self._id))


def current() -> Trial:
    """The trial that the job of this process is."""
    hydra = HydraConfig.get()
    url = storage_url(hydra.sweeper.storage, Path(hydra.sweep.dir).absolute())
    return Trial(studies.load(url, str(hydra.sweeper.name)), int(Path(hydra.runtime.output_dir).name))
