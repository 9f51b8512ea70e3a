"""What is written on trials, beside what Optuna keeps itself; and the budget, a pure function of the trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

WORKER = "worker"
"""The worker that runs the trial."""
NOBODY = "nobody"
"""In place of a worker that let go of its trial."""
IDENTITY = "identity"
"""Of a finished trial: the hashes of data, split and protocol that it was measured with."""
BEAT = "beat"
"""When the worker last showed a sign of life [seconds since 1970]; 0: it has left."""
BEGAN = "began"
"""When the worker took the trial up [seconds since 1970]."""
DEATHS = "deaths"
"""How often the process of the trial died while its supervisor lived."""
DEATH = "death"
"""What the last of them looked like."""
STALE = "stale"
"""It was running when its machine died, and was queued again under another number."""
AGAIN_OF = "again_of"
"""The number of the stale trial that this one repeats."""
WITHDRAWN = "withdrawn"
"""Never run: it was one too many, or the same as an earlier one."""
REASON = "reason"
"""Why it failed or was pruned."""
SECONDS = "seconds"
"""What it took."""


def holds(trial: FrozenTrial) -> bool:
    """Whether a trial takes one of the places of the budget."""
    return STALE not in trial.user_attrs and WITHDRAWN not in trial.user_attrs


def counts(trial: FrozenTrial) -> bool:
    """Whether it has used its place: finished, pruned, or failed by its own fault."""
    return trial.state.is_finished() and holds(trial)


def failed(trial: FrozenTrial) -> bool:
    """Whether it failed by its own fault."""
    return trial.state == TrialState.FAIL and holds(trial)


def is_surplus(trial: FrozenTrial, trials: Sequence[FrozenTrial], n_trials: int) -> bool:
    """Whether the places were taken before it came: workers that share nothing but the storage all see it alike."""
    return sum(holds(other) for other in _before(trial, trials)) >= n_trials


def is_repeated(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether an earlier one has the same parameters."""
    return any(holds(other) and other.params == trial.params for other in _before(trial, trials))


def _before(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    again_of = trial.user_attrs.get(AGAIN_OF)
    return [other for other in trials if other.number < trial.number and other.number != again_of]


@dataclass(frozen=True)
class Tally:
    """How far a study is.

    Args:
        counted, failed, taken: trials that have used their place; those of them that failed; with those under way.
    """

    counted: int
    failed: int
    taken: int
    waiting: int
    n_trials: int
    max_failures: int

    @staticmethod
    def of(trials: Sequence[FrozenTrial], n_trials: int, max_failures: int) -> Tally:
        """Count."""
        return Tally(
            sum(map(counts, trials)),
            sum(map(failed, trials)),
            sum(map(holds, trials)),
            sum(trial.state == TrialState.WAITING for trial in trials),
            n_trials,
            max_failures,
        )

    @property
    def broken(self) -> bool:
        """Whether too many trials failed."""
        return self.failed > self.max_failures

    @property
    def over(self) -> bool:
        """Whether nothing is left to do for anybody."""
        return self.broken or self.counted >= self.n_trials

    @property
    def free(self) -> bool:
        """Whether there is a trial to be had."""
        return self.waiting > 0 or self.taken < self.n_trials
