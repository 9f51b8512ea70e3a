"""How a trial ended, as its folder says, told to the study."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from recexp.store import Folder
from recexp.sweep import marks

UNFINISHED = ("interrupted", "terminated")
"""Reasons in run.json that are nobody's fault."""


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
            self._finish(trial, folder.metrics(), facts)
        elif status == "pruned":
            self._tell(trial, facts, state=TrialState.PRUNED)
        elif (status == "failed" and reason not in UNFINISHED) or error is not None:
            self._tell(trial, facts, state=TrialState.FAIL)
        else:
            return False
        return True

    def _finish(self, trial: FrozenTrial, metrics: dict[str, float], facts: dict[str, Any]) -> None:
        values = [metrics.get(name) for name in self.metrics]
        for name, value in zip(self.metrics, values, strict=True):
            if value is None:
                there = ", ".join(sorted(metrics)[:8])
                return self._tell(
                    trial, {**facts, marks.REASON: f"it measured no {name}, but {there}"}, state=TrialState.FAIL
                )
            if not math.isfinite(value):
                return self._tell(trial, {**facts, marks.REASON: f"{name} is {value}"}, state=TrialState.FAIL)
        return self._tell(trial, facts, values=values)

    def fail(self, trial: FrozenTrial, reason: str) -> None:
        """End a trial by its own fault, in its folder too."""
        folder = self.of(trial)
        if folder.run():
            folder.update_run(status="failed", reason=reason)
        self._tell(trial, {marks.REASON: reason}, state=TrialState.FAIL)

    def mark(self, trial: FrozenTrial, mark: str, reason: str) -> None:
        """End a trial without its using a place of the budget."""
        folder = self.of(trial)
        if folder.run():
            folder.update_run(status="failed", reason=reason)
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
