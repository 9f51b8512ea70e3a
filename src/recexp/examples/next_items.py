"""NextItems: every place of a history asks for its item, given those before."""

from __future__ import annotations

import torch
from torch import Tensor

from recexp.examples.histories import Histories
from recexp.types import Query


class NextItems(Histories):
    """NextItems: one pass over a history asks for each of its items but the first.

    Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section 3.5.
    Differs from the paper: users with a single event are left out, in all that asks of whole histories.

    Args:
        max_length: events of a history seen, the last of which is asked for only [count].
    Shape:
        rows [B] -> query of B with asked [B, L], positive [Q].
    """

    asks_all = True

    def asked(self, query: Query, generator: torch.Generator) -> Tensor:
        place_L = torch.arange(query.history.shape[1], device=query.users.device)
        return (place_L > 0) & (place_L < query.length[:, None])
