"""NextItems: every place of a history asks for its item, given those before."""

from __future__ import annotations

import torch
from torch import Tensor

from recexp.examples.histories import Histories
from recexp.types import Batch, Interactions


class NextItems:
    """NextItems: one pass over a history asks for each of its items but the first.

    Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section 3.5.
    Differs from the paper: nothing known.

    Args:
        max_length: events that a model sees before the last question [count].
    Shape:
        rows [B] -> query of B with asked [B, L], positive [Q].
    """

    asks_many = True

    def __init__(self, max_length: int) -> None:
        self.histories = Histories(max_length, min_length=2)

    def count(self, train: Interactions) -> int:
        return len(self.histories.users(train))

    def prepare(self, train: Interactions, num_users: int, device: torch.device) -> None:
        self.histories.prepare(train, num_users, device)

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Batch:
        query = self.histories(rows)
        place_L = torch.arange(query.history.shape[1], device=rows.device)
        return self.histories.asking(query, (place_L > 0) & (place_L < query.length[:, None]))
