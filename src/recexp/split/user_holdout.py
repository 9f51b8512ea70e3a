"""Strong generalization: some users are never seen in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recexp.errors import RecexpError
from recexp.split.base import Shares, age, checked, count
from recexp.types import Dataset, Holdout, Interactions, Split


@dataclass(frozen=True)
class UserHoldout(Shares):
    """Hold whole users out; show a model the older part of their events, and ask for the newer.

    Marlin, "Collaborative Filtering: A Machine Learning Perspective", 2004; Liang et al., "Mult-VAE", WWW 2018.
    Differs from the papers: the part shown is the oldest, not a random one.

    Args:
        validation, test: shares of the users who have two events or more [of 1].
        history: share of a held-out user's events that is shown, rounded; at least one, never all [of 1].
    Raises:
        RecexpError: too few users.
    """

    history: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.history < 1:
            raise RecexpError(f"split.history={self.history}; expected a share above 0 and below 1.")

    def __call__(self, dataset: Dataset, seed: int) -> Split:
        """The split, the same for the same seed."""
        events = dataset.interactions
        able = np.random.default_rng(seed).permutation(np.unique(events.user[count(events) >= 2]))
        num_test, num_validation = (round(len(able) * share) for share in (self.test, self.validation))
        testers, choosers = able[:num_test], able[num_test : num_test + num_validation]
        train = events[~np.isin(events.user, able[: num_test + num_validation])]
        validation = self._holdout(events, choosers) if num_validation else None
        split = Split(train, validation, self._holdout(events, testers))
        return checked(split, f"{len(able)} users have two events; change split.test, or give more data")

    def _holdout(self, events: Interactions, users: np.ndarray) -> Holdout:
        mine = events[np.isin(events.user, users)]
        total = count(mine)
        shown = np.clip(np.floor(total * self.history + 0.5), 1, total - 1)
        target = age(mine) < total - shown
        return Holdout(mine[~target], mine[target])
