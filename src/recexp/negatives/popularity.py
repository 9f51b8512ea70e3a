"""Popularity: what many users have is a likelier negative."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recexp.errors import RecexpError
from recexp.negatives.base import Draws, Negatives
from recexp.types import Candidates, Interactions, Query

ONE = 2**53  # probabilities as whole numbers: exact, and out of reach of a trainer that casts floats to 16 bits


class Popularity(Negatives):
    """Popularity: n items for each positive, drawn with replacement in proportion to a power of their train count.

        q(i) = count(i)^exponent / sum_j count(j)^exponent

    Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality", NIPS 2013,
    section 2.2.
    Differs from the paper: a draw that is the positive itself is masked; log q of an item without a count, which is
    never drawn, is that of an item with one.

    Args:
        num_negatives: n, items drawn for each positive [count].
        exponent: 0 is uniform, 1 is the frequency in train [1].
        seen: `keep` or `mask` other items of the user's training history.
    Shape:
        positive [Q] -> items, valid, log_q [Q, 1 + n], the positive in column 0.
    Raises:
        RecexpError: a negative exponent.
    """

    cumulative: Tensor
    log_q: Tensor

    def __init__(self, num_negatives: int, exponent: float, seen: str) -> None:
        super().__init__()
        if exponent < 0:
            raise RecexpError(
                f"negatives.exponent={exponent:g} would draw items that nobody has; allowed: 0 or more. "
                "Type negatives.exponent=0.75"
            )
        self.num_negatives = num_negatives
        self.exponent = exponent
        self.draws = Draws(num_negatives, seen)
        self.register_buffer("cumulative", torch.empty(0, dtype=torch.int64), persistent=False)
        self.register_buffer("log_q", torch.empty(0), persistent=False)

    def prepare(self, interactions: Interactions, num_items: int) -> None:
        super().prepare(interactions, num_items)
        self.draws.prepare(interactions, num_items)
        counts = np.bincount(interactions.item, minlength=num_items).astype(np.float64)
        mass = counts**self.exponent
        sums = mass.cumsum()
        cumulative = np.rint(sums / sums[-1] * ONE).astype(np.int64)  # ends at ONE: no draw falls behind the last item
        log_q = self.exponent * np.log(np.maximum(counts, 1)) - np.log(mass.sum())
        self.cumulative = torch.from_numpy(cumulative).to(self.cumulative.device)
        self.log_q = torch.from_numpy(log_q.astype(np.float32)).to(self.log_q.device)

    def forward(self, positive: Tensor, query: Query, generator: torch.Generator) -> Candidates:
        shape = len(positive), self.num_negatives
        point_QN = torch.randint(ONE, shape, generator=generator, device=positive.device)
        drawn_QN = torch.searchsorted(self.cumulative, point_QN, right=True)
        candidates = self.draws(positive, drawn_QN, query)
        return replace(candidates, log_q=self.log_q[candidates.items])
