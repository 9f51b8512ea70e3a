"""Frozen negatives: given with the data, or drawn once.

Shapes: B users asked · N negatives · I items.
"""

from __future__ import annotations

import numpy as np

from recexp.eval.questions import Questions
from recexp.types import PAD


def without_targets(given_BN: np.ndarray, questions: Questions) -> np.ndarray:
    """The given negatives with each user's own targets taken out (PAD), [B, N]."""
    num_items = questions.dataset.num_items
    pairs_BN = np.arange(len(given_BN))[:, None] * num_items + given_BN
    own_BN = np.isin(pairs_BN, questions.row * num_items + questions.item) & (given_BN != PAD)
    return np.where(own_BN, PAD, given_BN)


def draw(weight_I: np.ndarray, questions: Questions, count: int, rng: np.random.Generator) -> np.ndarray:
    """Different items that the user never met, one after another in proportion to their weight, [B, N] int32.

    Rows are filled with PAD where fewer are left.
    """
    cumulative_I = np.cumsum(weight_I, dtype=np.float64)
    rows = [_draw_row(weight_I, cumulative_I, questions.met(row), count, rng) for row in range(len(questions.users))]
    return np.stack(rows).astype(np.int32)


def _draw_row(
    weight_I: np.ndarray, cumulative_I: np.ndarray, met: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    tries = np.searchsorted(cumulative_I, rng.random(2 * count) * cumulative_I[-1], side="right")
    fresh = tries[~np.isin(tries, met)]
    kept = fresh[np.sort(np.unique(fresh, return_index=True)[1])][:count]
    if len(kept) < count:
        kept = np.concatenate([kept, _draw_rest(weight_I, np.concatenate([met, kept]), count - len(kept), rng)])
    return np.pad(kept, (0, count - len(kept)), constant_values=PAD)


def _draw_rest(weight_I: np.ndarray, taken: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Exact for any number of items left: exponential clocks of rate `weight`, the first `count` to ring."""
    left_I = weight_I.astype(np.float64)
    left_I[taken] = 0
    free = np.flatnonzero(left_I)
    return free[np.argsort(rng.exponential(size=len(free)) / left_I[free])[:count]]
