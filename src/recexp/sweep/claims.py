"""Who runs which trial: exactly as many as were asked for, none twice, none lost."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler, PartialFixedSampler
from optuna.trial import FrozenTrial, TrialState

from recexp.sweep import marks
from recexp.sweep.lease import JOB_LOCK, Lease, alone, is_locked
from recexp.sweep.marks import Tally
from recexp.sweep.outcome import Outcomes
from recexp.sweep.settings import Settings
from recexp.sweep.space import Space
from recexp.sweep.studies import Sampling, quietly

OWN_TRIES = 4
"""Draws of the sampler that were all tried before, until chance draws instead."""
TRIES = 40
COUNTABLE = 10_000
"""Points of a space that are gone through one by one for those that are left."""
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
        elif self._is_at_work(trial) or self.outcomes.conclude(trial):
            return None
        elif int(trial.user_attrs.get(marks.DEATHS, 0)) >= LIVES:
            self.outcomes.fail(trial, str(trial.user_attrs.get(marks.DEATH, "its process died")))
        elif (self.outcomes.of(trial).checkpoints / "last.ckpt").exists():
            return self._adopted(trial)
        else:
            self._queue_again(trial)
        return None

    def _is_at_work(self, trial: FrozenTrial) -> bool:
        """Whether its worker lives, or its job runs on without, as a cluster's does."""
        job = self.outcomes.of(trial).path / JOB_LOCK
        return self.lease.is_alive(trial, self.settings.grace) or is_locked(job)

    def give_up(self, trial: FrozenTrial, how: str) -> None:
        """Let go of a trial that was ended from outside; one that never comes to a checkpoint dies of it."""
        if not (self.outcomes.of(trial).checkpoints / "last.ckpt").exists():
            self.count_death(trial, how)
        for mark, value in ((marks.BEAT, 0), (marks.WORKER, marks.NOBODY)):
            self.study._storage.set_trial_user_attr(trial._trial_id, mark, value)

    def count_death(self, trial: FrozenTrial, how: str) -> None:
        """On it, or on its repetition, if somebody has queued it again meanwhile."""
        again = [other for other in self._trials() if other.user_attrs.get(marks.AGAIN_OF) == trial.number]
        deaths = int(trial.user_attrs.get(marks.DEATHS, 0)) + 1
        for one in [*again, trial]:
            with suppress(UpdateFinishedTrialError):
                for mark, value in ((marks.DEATHS, deaths), (marks.DEATH, f"its process died {deaths} times ({how})")):
                    self.study._storage.set_trial_user_attr(one._trial_id, mark, value)
                return

    def _adopted(self, trial: FrozenTrial) -> Claim:
        now = time.time()
        for mark, value in ((marks.BEGAN, now), (marks.BEAT, now), (marks.WORKER, self.lease.worker)):
            self.study._storage.set_trial_user_attr(trial._trial_id, mark, value)
        return Claim(trial, self.space.overrides(trial.params))

    def _queue_again(self, trial: FrozenTrial) -> None:
        """Under another number, with the parameters that it drew, or was to have."""
        self._repeat(trial)
        self.outcomes.mark(trial, marks.STALE, "its process died; queued again")
        self.outcomes.close(trial, "its process died; queued again")

    def _repeat(self, trial: FrozenTrial) -> None:
        copies = [other for other in self._trials() if other.user_attrs.get(marks.AGAIN_OF) == trial.number]
        params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        if params and not copies:
            kept = {mark: trial.user_attrs[mark] for mark in (marks.DEATHS, marks.DEATH) if mark in trial.user_attrs}
            self.study.enqueue_trial(params, user_attrs={marks.AGAIN_OF: trial.number, **kept})

    def _new(self) -> Claim | None:
        for attempt in range(TRIES):
            with quietly():
                self.study.sampler = self._sampler(attempt)
                drawn = self.study.ask()
                values = self.space.draw(drawn)
            trial = self.study._storage.get_trial(drawn._trial_id)
            if marks.is_surplus(trial, self._trials(), self.n_trials):
                self.outcomes.mark(trial, marks.WITHDRAWN, "one too many")
                return None
            if self.outcomes.of(trial).run():
                if marks.AGAIN_OF in trial.user_attrs:
                    self._repeat(trial)
                self.outcomes.mark(trial, marks.WITHDRAWN, f"folder {trial.number} holds a run that is not its own")
            elif not marks.is_repeated(trial, self._trials()) or attempt + 1 == TRIES:
                return Claim(trial, self.space.overrides(values))
            else:
                self.outcomes.mark(trial, marks.WITHDRAWN, "the same as an earlier one")
        return None

    def _sampler(self, attempt: int) -> BaseSampler:
        """The study's own; where it only repeats itself, chance, and in a small space what is left."""
        node = self.settings.sampler if attempt < OWN_TRIES else CHANCE
        sampler = Sampling(node, self.settings.seed, self.space, self.lease.worker)
        left = self._untried() if attempt >= OWN_TRIES and self.space.size() <= COUNTABLE else []
        if not left:
            return sampler
        chance = random.Random(f"{self.settings.seed}/{len(self._trials())}")
        return PartialFixedSampler(chance.choice(left), sampler)

    def _untried(self) -> list[dict[str, Any]]:
        tried = {_rounded(trial.params) for trial in self._trials() if marks.holds(trial)}
        return [point for point in self.space.points() if _rounded(point) not in tried]


def _rounded(values: Mapping[str, Any]) -> str:
    """Steps of a range are sums of floats."""
    return repr(sorted((name, f"{v:.9g}" if isinstance(v, float) else repr(v)) for name, v in values.items()))
