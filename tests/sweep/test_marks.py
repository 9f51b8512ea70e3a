"""The budget, as a function of what the trials say."""

from __future__ import annotations

from typing import Any

import optuna
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState

from recexp.sweep import marks
from recexp.sweep.marks import Tally


def trial(number: int, state: TrialState, **attrs: Any) -> FrozenTrial:
    values = {"value": 1.0} if state == TrialState.COMPLETE else {}
    made = optuna.trial.create_trial(state=state, user_attrs=attrs, **values)  # type: ignore[arg-type]
    made.number = number
    return made


KINDS = [
    (TrialState.COMPLETE, {}), (TrialState.PRUNED, {}), (TrialState.FAIL, {}), (TrialState.RUNNING, {}),
    (TrialState.FAIL, {marks.STALE: True}), (TrialState.FAIL, {marks.WITHDRAWN: True}), (TrialState.WAITING, {}),
]  # fmt: skip


@given(st.lists(st.sampled_from(KINDS), max_size=30), st.integers(1, 12))
def test_never_more_fit_than_there_are_places(kinds: list[Any], n_trials: int) -> None:
    trials = [trial(number, state, **attrs) for number, (state, attrs) in enumerate(kinds)]
    fit = [t for t in trials if marks.holds(t) and not marks.is_surplus(t, trials, n_trials)]
    assert len(fit) == min(n_trials, sum(map(marks.holds, trials)))


def test_stale_and_withdrawn_ones_do_not_count() -> None:
    trials = [trial(number, state, **attrs) for number, (state, attrs) in enumerate(KINDS)]
    tally = Tally.of(trials, n_trials=5, max_failures=1)
    assert (tally.counted, tally.failed, tally.taken, tally.waiting) == (3, 1, 5, 1)
    assert not tally.over and not tally.broken
    assert Tally.of(trials, 3, 1).over
    assert Tally.of(trials, 5, 0).broken


def test_a_repetition_does_not_give_way_to_what_it_repeats() -> None:
    running, again = trial(0, TrialState.RUNNING), trial(1, TrialState.RUNNING, **{marks.AGAIN_OF: 0})
    assert not marks.is_surplus(again, [running, again], n_trials=1)
    assert not marks.is_repeated(again, [running, again])
    assert marks.is_repeated(trial(2, TrialState.RUNNING), [running, again])
