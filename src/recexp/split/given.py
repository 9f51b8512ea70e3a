"""The split that the files came with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recexp.errors import RecexpError
from recexp.split.base import NEXT_TO_LAST, NONE, age, check_choice, checked, count, in_three
from recexp.types import Dataset, Split

VALIDATION, TEST = 1, 2


@dataclass(frozen=True)
class Given:
    """Take each event's part, and the test's negatives, from the dataset.

    Args:
        validation: `none` takes the files' own validation, if they have one; `next_to_last` cuts each user's last
            train event from train, where one is left.
    Raises:
        RecexpError: the dataset has no parts, or has a validation of its own and is to get another.
    """

    validation: str

    def __post_init__(self) -> None:
        check_choice("validation", self.validation, (NEXT_TO_LAST, NONE))

    def __call__(self, dataset: Dataset, seed: int) -> Split:
        """The split; nothing in it is random."""
        if dataset.part is None:
            raise RecexpError(
                f"split=given: {dataset.name} does not say what is train and what is test; "
                "take split=leave_one_out, temporal, ratio or user_holdout."
            )
        part = self._with_validation(dataset, dataset.part)
        split = in_three(dataset.interactions, part == VALIDATION, part == TEST)
        return checked(replace(split, negatives=dataset.negatives), "look at the files' parts and at data.filters")

    def _with_validation(self, dataset: Dataset, part: np.ndarray) -> np.ndarray:
        if self.validation == NONE:
            return part
        if (part == VALIDATION).any():
            raise RecexpError(
                f"split.validation={NEXT_TO_LAST}: {dataset.name} has its own; type split.validation={NONE}."
            )
        rows = np.flatnonzero(part != TEST)
        train = dataset.interactions[rows]
        part = part.copy()
        part[rows[(age(train) == 0) & (count(train) > 1)]] = VALIDATION
        return part
