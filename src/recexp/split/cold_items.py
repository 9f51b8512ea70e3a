"""Some items are never seen in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recexp.split.base import Shares, checked
from recexp.types import Dataset, Holdout, Interactions, Split


@dataclass(frozen=True)
class ColdItems(Shares):
    """Take some items out of train with all their events; ask each user for those of them that they met.

    Schein, Popescul, Ungar, Pennock, "Methods and Metrics for Cold-Start Recommendations", SIGIR 2002.
    Differs from the paper: the history shown holds only events with items that train has; the candidates are the
    cold items of the part asked (validation or test), so a rank says how well cold items are told from one another.

    Args:
        validation, test: shares of the items, drawn at random [of 1].
    Raises:
        RecexpError: too few items, or nothing left to train on or to ask.
    """

    def __call__(self, dataset: Dataset, seed: int) -> Split:
        """The split, the same for the same seed."""
        events = dataset.interactions
        order = np.random.default_rng(seed).permutation(np.unique(events.item))
        num_test, num_validation = (round(len(order) * share) for share in (self.test, self.validation))
        testers, choosers = order[:num_test], order[num_test : num_test + num_validation]
        train = events[~np.isin(events.item, order[: num_test + num_validation])]
        validation = self._holdout(train, events, choosers) if num_validation else None
        test = self._holdout(train, events, testers)
        return checked(Split(train, validation, test), f"there are {len(order)} items; raise split.test")

    def _holdout(self, train: Interactions, events: Interactions, items: np.ndarray) -> Holdout:
        return Holdout(train, events[np.isin(events.item, items)], np.sort(items))
