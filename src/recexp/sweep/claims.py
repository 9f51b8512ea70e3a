"""Who runs which trial: exactly as many as were asked for, none twice, none lost."""

from __future__ import annotations

import time
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from recexp.sweep import marks
from recexp.sweep.lease import Lease, alone
from recexp.sweep.marks import Tally
from recexp.sweep.outcome import Outcomes
from recexp.sweep.settings import Settings
from recexp.sweep.space import Space
from recexp.sweep.studies import Sampling, quietly

OWN_TRIES = 4
"""Draws of the sampler that were all tried before, until chance draws instead."""
TRIES = 40
LIVES = 2
"""Deaths of a trial's process until it counts as the trial's own fault."""
CHANCE = {"_target_": "optuna.samplers.RandomSampler"}


@dataclass(frozen=True)
class Claim:
    """A trial to be run by this worker, in a folder of its own, anew or from its last checkpoint."""

    trial: FrozenTrial
    overrides: list[str]


class Claims:
    """Hands out trials to this worker.

    Workers that share the study's folder wait for each other; for those that share nothing but the storage the
    order of the trials' numbers decides which one is surplus, and all of them see that alike.

    Args:
        space: what is drawn from.
    """

    def __init__(self, study: optuna.Study, settings: Settings, space: Space, lease: Lease) -> None:
        self.study, self.settings, self.space, self.lease = study, settings, space, lease
        self.outcomes = Outcomes(study, settings.folder, settings.metrics)
        self.n_trials = int(min(settings.n_trials, space.size()))

    def tally(self) -> Tally:
        """How far the study is."""
        return Tally.of(self._trials(), self.n_trials, self.settings.max_failures)

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def next(self) -> Claim | None:
        """A trial to run; None while there is none to be had."""
        with alone(self.settings.folder / ".claims"):
            for trial in self._trials():
                claim = self._settle(trial) if trial.state == TrialState.RUNNING else None
                if claim is not None:
                    return claim
            tally = self.tally()
            return self._new() if tally.free and not tally.over else None

    def _settle(self, trial: FrozenTrial) -> Claim | None:
        """See to a trial that nobody runs any more: it had ended, or goes on here, or is queued again."""
        if marks.WITHDRAWN in trial.user_attrs:
            self.outcomes.mark(trial, marks.WITHDRAWN, "withdrawn")
        elif self.lease.is_alive(trial, self.settings.grace) or self.outcomes.conclude(trial):
            return None
        elif int(trial.user_attrs.get(marks.DEATHS, 0)) >= LIVES:
            self.outcomes.fail(trial, str(trial.user_attrs.get(marks.DEATH, "its process died")))
        elif (self.outcomes.of(trial).checkpoints / "last.ckpt").exists():
            return self._adopted(trial)
        else:
            self._queue_again(trial)
        return None

    def _adopted(self, trial: FrozenTrial) -> Claim:
        for mark, value in ((marks.BEGAN, time.time()), (marks.WORKER, self.lease.worker)):
            self.study._storage.set_trial_user_attr(trial._trial_id, mark, value)
        return Claim(trial, self.space.overrides(trial.params))

    def _queue_again(self, trial: FrozenTrial) -> None:
        copies = [other for other in self._trials() if other.user_attrs.get(marks.AGAIN_OF) == trial.number]
        if trial.params and not copies:
            kept = {mark: trial.user_attrs[mark] for mark in (marks.DEATHS, marks.DEATH) if mark in trial.user_attrs}
            self.study.enqueue_trial(trial.params, user_attrs={marks.AGAIN_OF: trial.number, **kept})
        self.outcomes.mark(trial, marks.STALE, "its process died; queued again")

    def _new(self) -> Claim | None:
        for attempt in range(TRIES):
            node = self.settings.sampler if attempt < OWN_TRIES else CHANCE
            self.study.sampler = Sampling(node, self.settings.seed, self.space, self.lease.worker)
            with quietly():
                drawn = self.study.ask()
                values = self.space.draw(drawn)
            trial = self.study._storage.get_trial(drawn._trial_id)
            if marks.is_surplus(trial, self._trials(), self.n_trials):
                self.outcomes.mark(trial, marks.WITHDRAWN, "one too many")
                return None
            if not marks.is_repeated(trial, self._trials()) or attempt + 1 == TRIES:
                return Claim(trial, self.space.overrides(values))
            self.outcomes.mark(trial, marks.WITHDRAWN, "the same as an earlier one")
        return None
