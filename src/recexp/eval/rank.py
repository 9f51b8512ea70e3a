"""Where positives stand among scored candidates, and which items stand on top.

Shapes: B queries · P positives of a query · C candidates · I items · K the longest cut-off.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from recexp.types import PAD, Query

Hide = Callable[[Tensor, Query], None]
"""Puts what must not be shown behind all others, in place."""


def places(positive_BP: Tensor, scores_BC: Tensor) -> tuple[Tensor, Tensor]:
    """How many candidates score above each positive, and how many score the same; reorders `scores_BC`.

    Shape:
        scores of the positives [B, P], of all candidates [B, C] -> above, equal [B, P] int64.
    """
    ascending_BC = _ascending(scores_BC)
    positive_BP = positive_BP.to(ascending_BC.dtype).contiguous()
    below_BP = torch.searchsorted(ascending_BC, positive_BP, side="left")
    not_above_BP = torch.searchsorted(ascending_BC, positive_BP, side="right")
    return scores_BC.shape[1] - not_above_BP, not_above_BP - below_BP


def _ascending(scores_BC: Tensor) -> Tensor:
    if scores_BC.device.type != "cpu":
        return scores_BC.sort(dim=1).values
    # numpy's sort is vectorised: 30 times as fast as torch's on a CPU, and no slower than comparing with one positive
    values = (scores_BC.float() if scores_BC.dtype == torch.bfloat16 else scores_BC).numpy()
    values.sort(axis=1)
    return torch.from_numpy(values)


def hide_seen(scores_BI: Tensor, query: Query) -> None:
    """Put the items of each query's history behind all others, in place."""
    lengths_B = query.stop - query.start
    rows_N = torch.repeat_interleave(torch.arange(len(query), device=lengths_B.device), lengths_B)
    shift_B = query.start - (lengths_B.cumsum(0) - lengths_B)
    items_N = query.log.item[torch.arange(len(rows_N), device=rows_N.device) + shift_B[rows_N]]
    known_N = items_N != PAD
    scores_BI[rows_N[known_N], items_N[known_N]] = -torch.inf


def hide_nothing(scores_BI: Tensor, query: Query) -> None:
    """Leave all items in the ranking."""


def hide_others(hide: Hide, candidates: np.ndarray, num_items: int) -> Hide:
    """What also hides all but some items [C]."""
    others_O = torch.from_numpy(np.setdiff1d(np.arange(num_items), candidates))

    def both(scores_BI: Tensor, query: Query) -> None:
        hide(scores_BI, query)
        scores_BI[:, others_O.to(scores_BI.device)] = -torch.inf

    return both


def top_items(scores_BI: Tensor, length: int) -> Tensor:
    """The best items of each row, ties to the lower id, PAD where only hidden items are left, [B, K] int64."""
    values_BK, items_BK = scores_BI.topk(min(length + 1, scores_BI.shape[1]))
    tied_B = (values_BK[:, 1:] == values_BK[:, :-1]).any(1)
    if tied_B.any():
        values, items = scores_BI[tied_B].sort(dim=1, descending=True, stable=True)
        values_BK[tied_B], items_BK[tied_B] = values[:, : values_BK.shape[1]], items[:, : items_BK.shape[1]]
    return items_BK.masked_fill(values_BK == -torch.inf, PAD)[:, :length]
