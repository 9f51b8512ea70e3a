"""Masked: some places of each history are hidden and asked for (the Cloze task)."""

from __future__ import annotations

import torch
from torch import Tensor

from recexp.examples.histories import Histories
from recexp.types import Query


class Masked(Histories):
    """Masked: each place of a history is asked for with probability rho; in some histories the last one alone is.

    Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer",
    CIKM 2019, section 3.6: the Cloze task, and samples that only mask the last item, as in inference.
    Differs from the paper: masks are drawn anew in each epoch instead of ten times in advance; a history of which
    nothing was drawn asks for its last item; only the newest events of a history are used, not windows of all;
    users with a single event are left out.

    Args:
        mask_share: rho [0..1].
        last_share: histories that ask for their last item alone [0..1].
        max_length: events of a history seen [count].
    Shape:
        rows [B] -> query of B with asked [B, L], positive [Q].
    """

    def __init__(self, mask_share: float, last_share: float, max_length: int) -> None:
        super().__init__(max_length)
        self.mask_share, self.last_share = mask_share, last_share

    def asked(self, query: Query, generator: torch.Generator) -> Tensor:
        shape, device = query.history.shape, query.users.device
        place_L = torch.arange(shape[1], device=device)
        drawn_BL = torch.rand(shape, generator=generator, device=device) < self.mask_share
        drawn_BL &= place_L < query.length[:, None]
        last_B = torch.rand(shape[0], generator=generator, device=device) < self.last_share
        last_BL = place_L == query.length[:, None] - 1
        return torch.where((last_B | ~drawn_BL.any(1))[:, None], last_BL, drawn_BL)
