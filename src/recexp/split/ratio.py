"""A random share of each user's events is the test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recexp.split.base import Shares, age, checked, count, in_three
from recexp.types import Dataset, Split


@dataclass(frozen=True)
class Ratio(Shares):
    """Draw each user's validation and test events at random, whatever their times.

    Args:
        validation, test: shares of each user's events, rounded; at least one event stays in train [of 1].
    Raises:
        RecexpError: no user has events enough for a test.
    """

    def __call__(self, dataset: Dataset, seed: int) -> Split:
        """The split, the same for the same seed."""
        events = dataset.interactions
        shuffled = np.lexsort((np.random.default_rng(seed).random(len(events)), events.user))
        place = np.empty(len(events), np.int64)
        place[shuffled] = age(events)  # the users' blocks stay where they are, so the places are theirs
        total = count(events)
        num_test = np.minimum(np.floor(total * self.test + 0.5), total - 1)
        num_held = np.minimum(num_test + np.floor(total * self.validation + 0.5), total - 1)
        split = in_three(events, (place >= num_test) & (place < num_held), place < num_test)
        return checked(split, "raise split.test, or lower data.filters")
