"""Each user's last event is the test."""

from __future__ import annotations

from dataclasses import dataclass

from recexp.split.base import NEXT_TO_LAST, NONE, age, check_choice, checked, count, in_three, log
from recexp.types import Dataset, Split


@dataclass(frozen=True)
class LeaveOneOut:
    """Test on each user's last event, choose the model on the one before; the test's history has both.

    He et al., "Neural Collaborative Filtering", WWW 2017; Kang & McAuley, "SASRec", ICDM 2018.
    Differs from the papers: nothing known. Users with too few events for one in train stay in train whole.

    Args:
        validation: `next_to_last`, or `none` to keep that event in train.
    Raises:
        RecexpError: no user has events enough.
    """

    validation: str

    def __post_init__(self) -> None:
        check_choice("validation", self.validation, (NEXT_TO_LAST, NONE))

    def __call__(self, dataset: Dataset, seed: int) -> Split:
        """The split; nothing in it is random."""
        log.info("split=leave_one_out trains on events later than other users' tests; split=temporal does not.")
        events, held = dataset.interactions, 2 if self.validation == NEXT_TO_LAST else 1
        place, enough = age(events), count(events) > held
        split = in_three(events, enough & (place == 1) & (held == 2), enough & (place == 0))
        return checked(split, f"users need {held + 1} events; lower data.filters or take split=ratio")
