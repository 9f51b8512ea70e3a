"""One moment for everybody: before it is train, after it is test."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recexp.errors import RecexpError
from recexp.split.base import Shares, check_choice, checked, in_three, log
from recexp.types import Dataset, Holdout, Interactions, Split

KEEP, DROP = "keep", "drop"


@dataclass(frozen=True)
class Temporal(Shares):
    """Cut all events at two moments, so that nothing is learned from the future of anybody.

    Meng et al., "Exploring Data Splitting Strategies", RecSys 2020 (temporal global).

    Args:
        validation, test: shares of the events, the newest ones the test; events of one second are never parted,
            so a share may come out larger [of 1].
        new_users: `keep` or `drop` the targets of users without an event in train.
        new_items: `keep` or `drop` the targets that are not in train: kept, a model that learns ids must miss them.
    Raises:
        RecexpError: the data has no times, or a share leaves no test or no train.
    """

    new_users: str
    new_items: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("new_users", self.new_users, (KEEP, DROP))
        check_choice("new_items", self.new_items, (KEEP, DROP))

    def __call__(self, dataset: Dataset, seed: int) -> Split:
        """The split; nothing in it is random."""
        if not dataset.timed:
            raise RecexpError(
                f"split=temporal: data={dataset.name} has no times; name their column (data.time=...) "
                "or take split=leave_one_out."
            )
        events = dataset.interactions
        ordered, size = np.sort(events.time), len(events)
        begin_test = ordered[min(size - 1, round(size * (1 - self.test)))]
        begin_validation = ordered[min(size - 1, round(size * (1 - self.test - self.validation)))]
        test = events.time >= begin_test
        split = in_three(events, (events.time >= begin_validation) & ~test, test)
        return checked(self._without_new(split), "the times are too few for the shares; change split.test")

    def _without_new(self, split: Split) -> Split:
        validation = split.validation and self._known("validation", split.validation, split.train)
        validation = validation if validation and len(validation.target) else None
        return replace(split, validation=validation, test=self._known("test", split.test, split.train))

    def _known(self, part: str, holdout: Holdout, train: Interactions) -> Holdout:
        target, kept = holdout.target, np.ones(len(holdout.target), bool)
        for side, wish in (("user", self.new_users), ("item", self.new_items)):
            known = np.isin(getattr(target, side), getattr(train, side))
            message = "split=temporal: %d of %d %s events are of %ss that train has not (split.new_%ss=%s)."
            log.info(message, (~known).sum(), len(target), part, side, side, wish)
            kept &= known | (wish == KEEP)
        return Holdout(holdout.history, target[kept])
