"""Parts of the questions that are reported on their own: popular and rare items, new and old users."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from recexp.eval.questions import Questions


@dataclass(frozen=True)
class Segments:
    """Head and tail by target item, cold and warm by user.

    A target outside a segment counts there as an ordinary item: `recall@10:tail` is the recall of tail targets.

    Args:
        head_share: the most popular items in train that make up the head [share of the catalogue].
        cold_below: users with fewer train events are cold [count].
    """

    head_share: float
    cold_below: int

    def masks(self, questions: Questions) -> dict[str, np.ndarray]:
        """Which targets belong to which segment, [T] bool each."""
        popularity = questions.popularity
        in_head = np.zeros(len(popularity), dtype=bool)
        in_head[np.argsort(-popularity, kind="stable")[: math.ceil(self.head_share * len(popularity))]] = True
        head, cold = in_head[questions.item], (questions.activity < self.cold_below)[questions.row]
        return {"head": head, "tail": ~head, "cold": cold, "warm": ~cold}
