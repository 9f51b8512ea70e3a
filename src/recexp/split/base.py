"""What all splits share: who stands where in a user's history, and the checks on what comes out."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

import numpy as np

from recexp.errors import RecexpError, nearest
from recexp.types import Holdout, Interactions, Split

log = logging.getLogger("recexp")

NONE, NEXT_TO_LAST = "none", "next_to_last"


def age(interactions: Interactions) -> np.ndarray:
    """How many events of the same user are newer: 0 for the last one, [N]."""
    begin, size = _blocks(interactions)
    return np.repeat(begin + size, size) - np.arange(len(interactions)) - 1


def count(interactions: Interactions) -> np.ndarray:
    """How many events the event's user has, [N]."""
    size = _blocks(interactions)[1]
    return np.repeat(size, size)


def _blocks(interactions: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Where each user's rows begin, and how many they are."""
    begin = np.flatnonzero(np.diff(interactions.user, prepend=-1))
    return begin, np.diff(begin, append=len(interactions))


def in_three(events: Interactions, validation: np.ndarray, test: np.ndarray) -> Split:
    """Train on the rest; each holdout's history is all that is in no later part."""
    train = events[~validation & ~test]
    chosen_by = Holdout(train, events[validation]) if validation.any() else None
    return Split(train, chosen_by, Holdout(events[~test], events[test]))


def checked(split: Split, advice: str) -> Split:
    """The split itself.

    Raises:
        RecexpError: nothing to learn from, or nothing to test on.
    """
    for part, events in (("train", split.train), ("test", split.test.target)):
        if not len(events):
            raise RecexpError(f"the split leaves no {part} items; {advice}.")
    return split


def check_choice(key: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises RecexpError unless the value is one of those allowed."""
    if value not in allowed:
        raise RecexpError(f"split.{key}={value}; allowed: {', '.join(nearest(str(value), allowed))}.")


@dataclass(frozen=True)
class Shares:
    """A split by shares, of what its kind says.

    Raises:
        RecexpError: they are no shares that leave something to train on.
    """

    validation: float
    test: float

    def __post_init__(self) -> None:
        if not (0 <= self.validation < 1 and 0 < self.test < 1 and self.validation + self.test < 1):
            raise RecexpError(
                f"split.validation={self.validation} and split.test={self.test}; expected shares of 1: validation 0 or "
                "more, test above 0, together below 1."
            )


def digest(split: Split) -> str:
    """SHA-256 of who is asked what after what: users and items of every part, and the negatives."""
    validation = [split.validation.history, split.validation.target] if split.validation else []
    parts = [split.train, *validation, split.test.history, split.test.target]
    arrays = [array for part in parts for array in (part.user, part.item)]
    sha256 = hashlib.sha256()
    for array in arrays if split.negatives is None else [*arrays, split.negatives]:
        sha256.update(f"{array.shape}\n".encode() + np.ascontiguousarray(array, np.int32).tobytes())
    return sha256.hexdigest()
