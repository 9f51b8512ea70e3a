"""Splits by hand, and what must hold of every split of any data."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recexp.errors import RecexpError
from recexp.split.base import digest
from recexp.split.given import Given
from recexp.split.leave_one_out import LeaveOneOut
from recexp.split.ratio import Ratio
from recexp.split.temporal import Temporal
from recexp.split.user_holdout import UserHoldout
from recexp.types import Dataset, Interactions, Split

LOO = LeaveOneOut("next_to_last")
KEEP = Temporal(0.2, 0.2, "keep", "keep")
HOLDOUT = UserHoldout(0.3, 0.3, 0.5)
SPLITS = [
    LOO,
    LeaveOneOut("none"),
    KEEP,
    Ratio(0.2, 0.4),
    Ratio(0.0, 0.5),
    HOLDOUT,
    Given("none"),
    Given("next_to_last"),
]


def make(events: list[tuple[int, int]], parts: list[int] | None = None) -> Dataset:
    """Events of (user, time), in order; the event's number is its item, so that each is unique."""
    order = sorted(range(len(events)), key=lambda n: events[n])
    user, time = (np.array([events[n][side] for n in order]) for side in (0, 1))
    ones = np.ones(len(events), np.float32)
    log = Interactions(user.astype(np.int32), np.arange(len(events), dtype=np.int32), time.astype(np.int64), ones, ones)
    part = None if parts is None else np.array(parts, np.int8)
    sides = (pl.DataFrame({side: range(n)}) for side, n in (("user", max(user) + 1), ("item", len(events))))
    return Dataset("toy", log, *sides, part=part)


HAND = make([(0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 6), (2, 0), (2, 1), (2, 9)], [0, 0, 0, 2, 0, 0, 0, 0, 2])


def items(split: Split) -> dict[str, list[int]]:
    found = {"train": split.train, "test history": split.test.history, "test": split.test.target}
    if split.validation:
        found |= {"validation history": split.validation.history, "validation": split.validation.target}
    return {name: part.item.tolist() for name, part in found.items()}


def test_leave_one_out_by_hand() -> None:
    assert items(LOO(HAND, 0)) == {
        "train": [0, 1, 4, 5, 6],
        "validation history": [0, 1, 4, 5, 6],
        "validation": [2, 7],
        "test history": [0, 1, 2, 4, 5, 6, 7],
        "test": [3, 8],
    }
    assert items(LeaveOneOut("none")(HAND, 0)) == {
        "train": [0, 1, 2, 4, 6, 7],
        "test history": [0, 1, 2, 4, 6, 7],
        "test": [3, 5, 8],
    }


def test_given_by_hand() -> None:
    negatives = np.array([[1], [2], [3]], np.int32)
    split = Given("next_to_last")(replace(HAND, negatives=negatives), 0)
    assert split.negatives is negatives
    assert items(split) == {
        "train": [0, 1, 4, 6],
        "validation history": [0, 1, 4, 6],
        "validation": [2, 5, 7],
        "test history": [0, 1, 2, 4, 5, 6, 7],
        "test": [3, 8],
    }
    own = replace(HAND, part=np.array([0, 0, 1, 2, 0, 0, 0, 0, 2], np.int8))
    assert items(Given("none")(own, 0))["validation"] == [2]
    with pytest.raises(RecexpError, match=r"toy has its own; type split\.validation=none"):
        Given("next_to_last")(own, 0)


def test_given_leaves_the_dataset_alone() -> None:
    before = HAND.part.tolist()
    Given("next_to_last")(HAND, 0)
    assert HAND.part.tolist() == before


def test_temporal_by_hand() -> None:
    assert items(KEEP(HAND, 0)) == {
        "train": [0, 1, 2, 6, 7],
        "validation history": [0, 1, 2, 6, 7],
        "validation": [3, 4],
        "test history": [0, 1, 2, 3, 4, 6, 7],
        "test": [5, 8],
    }


def test_temporal_needs_times() -> None:
    with pytest.raises(RecexpError, match=r"^split=temporal: data=toy has no times; .* take split=leave_one_out\.$"):
        KEEP(replace(HAND, timed=False), 0)


def test_temporal_drops_the_new() -> None:
    log = replace(HAND.interactions, item=np.array([0, 1, 2, 3, 0, 1, 2, 3, 4], np.int32))
    data = replace(HAND, interactions=log)
    assert items(replace(KEEP, new_users="drop")(data, 0))["test"] == [4]
    assert items(replace(KEEP, new_items="drop")(data, 0))["test"] == [1]
    with pytest.raises(RecexpError, match="no test items"):
        replace(KEEP, new_users="drop", new_items="drop")(data, 0)


def test_user_holdout_by_hand() -> None:
    split = UserHoldout(0.0, 0.34, 0.5)(HAND, 0)
    (tester,) = split.test.users
    mine = HAND.interactions.item[HAND.interactions.user == tester].tolist()
    half = {4: 2, 2: 1, 3: 2}[len(mine)]
    assert items(split) == {
        "train": [i for i in range(9) if i not in mine],
        "test history": mine[:half],
        "test": mine[half:],
    }


@pytest.mark.parametrize("split", [Ratio(0.2, 0.4), HOLDOUT])
def test_seed_decides(split: Ratio | UserHoldout) -> None:
    data = make([(u, t) for u in range(12) for t in range(10)])
    assert digest(split(data, 1)) == digest(split(data, 1))
    assert digest(split(data, 1)) != digest(split(data, 2))


def test_ratio_takes_its_share_of_everybody() -> None:
    split = Ratio(0.2, 0.4)(make([(u, t) for u in range(12) for t in range(10)]), 0)
    assert split.validation is not None
    assert set(np.bincount(split.test.target.user)) == {4}
    assert set(np.bincount(split.validation.target.user)) == {2}


def test_ratio_leaves_everybody_in_train() -> None:
    split = Ratio(0.1, 0.8)(make([(u, t) for u in range(4) for t in range(u + 1)]), 0)
    assert np.bincount(split.train.user).tolist() == [1, 1, 1, 1]


logs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), min_size=3, max_size=60)


@given(logs, st.sampled_from(SPLITS), st.randoms(use_true_random=False))
def test_every_split(events: list[tuple[int, int]], split, random) -> None:
    data = make(events, [random.choice([0, 0, 0, 2]) for _ in events])
    try:
        result = split(data, 7)
    except RecexpError as error:
        assert "leaves no" in str(error)
        return
    check_order(result)
    check_partition(result, data, isinstance(split, UserHoldout))
    check_leakage(result, isinstance(split, UserHoldout))


def parts(split: Split) -> list[Interactions]:
    chosen = [split.validation.history, split.validation.target] if split.validation else []
    return [split.train, *chosen, split.test.history, split.test.target]


def check_order(split: Split) -> None:
    for part in parts(split):
        assert (np.lexsort((part.time, part.user)) == np.arange(len(part))).all()


def check_partition(split: Split, data: Dataset, by_user: bool) -> None:
    whole = [split.train, split.test.target] + ([split.validation.target] if split.validation else [])
    if by_user:
        whole += [split.test.history] + ([split.validation.history] if split.validation else [])
    found = np.concatenate([part.item for part in whole])
    assert sorted(found) == list(range(len(data.interactions)))


def check_leakage(split: Split, by_user: bool) -> None:
    test = set(split.test.target.item)
    assert not test & set(split.test.history.item)
    assert not test & set(split.train.item)
    if split.validation:
        asked = set(split.validation.target.item)
        assert not (asked | test) & set(split.validation.history.item)
        assert not asked & set(split.train.item)
    if by_user:
        assert not set(split.train.user) & set(split.test.users)
        assert set(split.test.history.user) == set(split.test.users)


@given(logs)
def test_leave_one_out_leaves_everybody_in_train(events: list[tuple[int, int]]) -> None:
    data = make([*events, (6, 0), (6, 1), (6, 2)])
    split = LOO(data, 0)
    assert split.validation is not None
    assert set(split.train.user) == set(data.interactions.user)
    assert split.test.users.tolist() == split.validation.users.tolist()
    many = np.bincount(data.interactions.user)
    assert split.test.users.tolist() == np.flatnonzero(many >= 3).tolist()
    for holdout in (split.validation, split.test):
        newest = {u: holdout.history.time[holdout.history.user == u].max() for u in holdout.users}
        assert all(newest[u] <= t for u, t in zip(holdout.target.user, holdout.target.time, strict=True))


@given(logs, st.floats(0, 0.4), st.floats(0.05, 0.5))
def test_temporal_never_looks_ahead(events: list[tuple[int, int]], validation: float, test: float) -> None:
    try:
        split = Temporal(validation, test, "keep", "keep")(make(events), 0)
    except RecexpError:
        return
    times = [p.time for p in (split.train, split.validation and split.validation.target, split.test.target) if p]
    assert all(earlier.max() < later.min() for earlier, later in pairwise(times))
    assert split.test.history.time.max() < split.test.target.time.min()


def test_empty_tests_are_refused() -> None:
    two = make([(0, 1), (0, 2), (1, 1), (1, 2)], [0, 0, 0, 0])
    together = make([(0, 1), (0, 1), (1, 1)])
    for split, data, advice in (
        (LOO, two, "users need 3 events"),
        (Given("none"), two, "look at the files' parts"),
        (Ratio(0.1, 0.1), two, "raise split.test"),
        (KEEP, together, "change split.test"),
        (UserHoldout(0.0, 0.1, 0.5), two, "2 users have two events"),
    ):
        with pytest.raises(RecexpError, match=f"the split leaves no .* items; .*{advice}"):
            split(data, 0)
    with pytest.raises(RecexpError, match=r"toy does not say .* take split=leave_one_out"):
        Given("none")(replace(two, part=None), 0)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(RecexpError, match=r"split\.validation=next_to_first; allowed: next_to_last, none"):
        LeaveOneOut("next_to_first")
    with pytest.raises(RecexpError, match=r"split\.new_users=no; allowed"):
        Temporal(0.1, 0.1, "no", "keep")
    for validation, test in ((0.5, 0.5), (-0.1, 0.1), (0.1, 0.0)):
        with pytest.raises(RecexpError, match="expected shares of 1"):
            Ratio(validation, test)
    with pytest.raises(RecexpError, match=r"split\.history=1"):
        UserHoldout(0.1, 0.1, 1)


def test_digest_sees_every_part() -> None:
    split = LOO(HAND, 0)
    moved = [
        replace(split, train=split.train[1:]),
        replace(split, validation=None),
        replace(split, test=replace(split.test, target=split.test.target[1:])),
        replace(split, test=replace(split.test, history=split.test.history[1:])),
        replace(split, negatives=np.zeros((3, 1), np.int32)),
        replace(split, negatives=np.ones((3, 1), np.int32)),
    ]
    assert len({digest(s) for s in (split, *moved)}) == 7
