"""Uniform: every item is as likely a negative as any other."""

from __future__ import annotations

import torch
from torch import Tensor

from recexp.negatives.base import Draws, Negatives
from recexp.types import Candidates, Interactions, Query


class Uniform(Negatives):
    """Uniform: n items for each positive, drawn with replacement from the whole catalogue.

        q(i) = 1 / |I|

    Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009, section 4.
    Differs from the paper: a draw that is the positive itself is masked, not drawn again; other items that the
    user has are left in with seen=keep (as in Rendle et al., RecSys 2020), masked with seen=mask.

    Args:
        num_negatives: n, items drawn for each positive [count].
        seen: `keep` or `mask` other items of the user's training history.
    Shape:
        positive [Q] -> items, valid [Q, 1 + n], the positive in column 0; log_q None.
    """

    def __init__(self, num_negatives: int, seen: str) -> None:
        super().__init__()
        self.num_negatives = num_negatives
        self.draws = Draws(num_negatives, seen)

    def prepare(self, interactions: Interactions, num_items: int) -> None:
        super().prepare(interactions, num_items)
        self.draws.prepare(interactions, num_items)

    def forward(self, positive: Tensor, query: Query, generator: torch.Generator) -> Candidates:
        shape = len(positive), self.num_negatives
        drawn_QN = torch.randint(self.num_items, shape, generator=generator, device=positive.device)
        return self.draws(positive, drawn_QN, query)
