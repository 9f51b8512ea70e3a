"""How a trial ended, as its folder says, told to the study."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from recexp.store import Folder
from recexp.sweep import marks
from recexp.sweep.studies import BEGUN_WITH

UNFINISHED = ("interrupted", "terminated")
"""Reasons in run.json that are nobody's fault."""
OUTAGES = ("StorageInternalError", "OperationalError")
"""Errors of a study's storage that is away for a while."""
VARYING = ("data", "split", "eval", "seed", "experiment")
"""What gives trials other data on purpose, where it is in the space."""


class Outcomes:
    """Tells the study.

    Args:
        folder: of the study; each trial's is its number.
        metrics: the objectives.
    """

    def __init__(self, study: optuna.Study, folder: Path, metrics: list[str]) -> None:
        self.study, self.folder, self.metrics = study, folder, metrics

    def of(self, trial: FrozenTrial) -> Folder:
        """The folder of a trial."""
        return Folder(self.folder / str(trial.number))

    def conclude(self, trial: FrozenTrial, error: str | None = None) -> bool:
        """End a trial as its folder says, or else for the error; whether it has ended."""
        folder = self.of(trial)
        run = folder.run()
        status = run.get("status")
        reason = str(run.get("reason") or (error if status != "finished" else None) or "")
        facts = {marks.SECONDS: run.get("seconds"), marks.REASON: reason or None}
        if status == "finished":
            self._finish(trial, folder, {**facts, marks.IDENTITY: _identity(run) or None})
        elif status == "pruned":
            self._tell(trial, facts, state=TrialState.PRUNED)
        elif (status == "failed" or error is not None) and not _is_unfinished(reason):
            self._tell(trial, facts, state=TrialState.FAIL)
        else:
            return False
        return True

    def _finish(self, trial: FrozenTrial, folder: Folder, facts: dict[str, Any]) -> None:
        metrics = folder.metrics()
        values = [metrics.get(name) for name in self.metrics]
        faults = [_fault(name, value, metrics) for name, value in zip(self.metrics, values, strict=True)]
        fault = next(filter(None, [self._unlike(facts[marks.IDENTITY] or {}), *faults]), None)
        if fault:
            return self._tell(trial, {**facts, marks.IDENTITY: None, marks.REASON: fault}, state=TrialState.FAIL)
        return self._tell(trial, facts, values=values)

    def _unlike(self, now: dict[str, Any]) -> str | None:
        """What it was measured on, if this is not what the study's first finished trial was."""
        space = self.study.user_attrs.get(BEGUN_WITH, {}).get("space", {})
        if any(re.split(r"\W", name)[0] in VARYING for name in space):
            return None
        trials = self.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        first = next((trial for trial in trials if marks.IDENTITY in trial.user_attrs), None)
        before = first.user_attrs[marks.IDENTITY] if first else {}
        changed = [name for name in before if before[name] != now.get(name)]
        if first is None or not changed:
            return None
        was, found = before[changed[0]], now.get(changed[0])
        return (
            f"it is not comparable: the {changed[0]} of trial {first.number} had the hash {was}, and this one's has "
            f"{found}. Have the same files as then, or type hydra.sweeper.name=ANOTHER for a new study"
        )

    def fail(self, trial: FrozenTrial, reason: str) -> None:
        """End a trial by its own fault, in its folder too; one that had just ended ends as it did."""
        if not self.conclude(trial):
            self.close(trial, reason)
            self._tell(trial, {marks.REASON: reason}, state=TrialState.FAIL)

    def close(self, trial: FrozenTrial, reason: str) -> None:
        """Say in the trial's folder that it ends here, if it had begun there."""
        folder = self.of(trial)
        if folder.run():
            folder.update_run(status="failed", reason=reason)

    def mark(self, trial: FrozenTrial, mark: str, reason: str) -> None:
        """End a trial without its using a place of the budget."""
        self._tell(trial, {mark: True, marks.REASON: reason}, state=TrialState.FAIL)

    def _tell(self, trial: FrozenTrial, facts: dict[str, Any], **end: Any) -> None:
        storage = self.study._storage
        try:
            for name, value in facts.items():
                if value is not None:
                    storage.set_trial_user_attr(trial._trial_id, name, value)
            self.study.tell(trial.number, **end)
        except (UpdateFinishedTrialError, ValueError):
            if not storage.get_trial(trial._trial_id).state.is_finished():  # by somebody else: nothing to add
                raise


def _fault(name: str, value: float | None, metrics: Mapping[str, float]) -> str | None:
    """What is wrong with an objective."""
    if value is None:
        return f"it measured no {name}, but {', '.join(sorted(metrics)[:8])}"
    return None if math.isfinite(value) else f"{name} is {value}"


def _identity(run: Mapping[str, Any]) -> dict[str, Any]:
    """Data, split and protocol, as run.json has them."""
    return {name: run[name] for name in ("data", "split", "eval") if name in run}


def _is_unfinished(reason: str) -> bool:
    return reason in UNFINISHED or reason.partition(":")[0].rpartition(".")[2] in OUTAGES
