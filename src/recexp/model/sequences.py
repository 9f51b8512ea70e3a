"""What models of sequences share: embedded histories in buckets of similar length, and answers in order.

Shapes: B histories · N histories of a bucket · L their places · M places asked for · Q answers · D embedding size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recexp.errors import RecexpError, nearest
from recexp.model.base import lookup
from recexp.model.transformer import Transformer
from recexp.types import PAD, Query

BUCKETS, FINEST = 8, 16
"""Lengths are told apart in so many steps up to the longest, none finer than so many places: a bucket has its price."""


class Asked(NamedTuple):
    """Histories with a place for everything that is asked, also for what follows.

    Shape:
        item [B, L] int64, PAD where nothing is or nothing may be seen · length [B] · asked [B, L] bool.
    """

    item: Tensor
    length: Tensor
    asked: Tensor

    @staticmethod
    def of(query: Query, max_length: int) -> Asked:
        """The newest `max_length` places; what is asked of a query as a whole stands behind its history."""
        if query.asked is not None:
            _check_length(query.asked.shape[1], max_length)
            return Asked(query.history, query.length, query.asked)
        recent = query.last(max_length - 1)
        item_BL = F.pad(recent.history, (0, 1), value=PAD)
        asked_BL = torch.arange(item_BL.shape[1], device=item_BL.device) == recent.length[:, None]
        return Asked(item_BL, recent.length + 1, asked_BL)


def _check_length(asked: int, max_length: int) -> None:
    if asked > max_length:
        raise RecexpError(
            f"examples.max_length={asked} asks for events that the model cannot see; it looks at {max_length}. "
            f"Type examples.max_length={max_length}, or raise model.max_length."
        )


class Bucket(NamedTuple):
    """Histories of similar length, and the rows of Q that their answers are.

    Shape:
        item [N, L] · length [N] · asked [N, L] bool · answer [sum of asked].
    """

    item: Tensor
    length: Tensor
    asked: Tensor
    answer: Tensor


def buckets(whole: Asked, most: int = BUCKETS) -> Iterator[Bucket]:
    """All histories, those of similar length together, so that little padding is computed; none that ask nothing."""
    step = max(FINEST, math.ceil(whole.item.shape[1] / most))
    answer_BL = (whole.asked.flatten().cumsum(0) - 1).view_as(whole.asked)
    size_B = torch.div(whole.length + step - 1, step, rounding_mode="floor")
    for size in size_B.unique().tolist():
        rows = (size_B == size).nonzero()[:, 0]
        cut = int(whole.length[rows].max())
        asked_NL = whole.asked[rows, :cut]
        if not asked_NL.any():
            continue
        yield Bucket(whole.item[rows, :cut], whole.length[rows], asked_NL, answer_BL[rows, :cut][asked_NL])


def compact(asked_NL: Tensor) -> tuple[Tensor, Tensor]:
    """The places that are asked for, in order, padded with 0 behind, and which are no padding, [N, M] each."""
    count_N = asked_NL.sum(1)
    most = int(count_N.max())
    filled_NM = torch.arange(most, device=asked_NL.device) < count_N[:, None]
    places_NM = torch.zeros(len(asked_NL), most, dtype=torch.int64, device=asked_NL.device)
    places_NM[filled_NM] = asked_NL.nonzero()[:, 1]
    return places_NM, filled_NM


class Reader(nn.Module):
    """Reader: embedded items and positions, read by a transformer, answers at the places asked for.

        H^0 = embedded(c E[items] + P[positions]),   answers = Transformer(H^0) at the places asked for

    Positions count from the newest place back, so that recency means the same in short and in long histories.

    Args:
        tokens: E [I + 1, D], the last row for what stands where no item may be seen.
        max_length: places of a history read, the one asked for included [count].
        positions: `learned`, or the `cosine` formula of Vaswani et al., NIPS 2017, section 3.5.
        scale: c, of E.
        embedded: what is done to c E + P before the first layer: dropout, a norm.
        layers: the transformer.
    Shape:
        Asked of B -> answers [Q, D].
    """

    def __init__(
        self,
        tokens: nn.Parameter,
        max_length: int,
        positions: str,
        scale: float,
        embedded: nn.Module,
        layers: Transformer,
    ) -> None:
        super().__init__()
        if positions not in POSITIONS:
            near = nearest(positions, [*POSITIONS])
            raise RecexpError(
                f"model.positions={positions} is unknown; allowed: {', '.join(near)}. Type model.positions={near[0]}"
            )
        self.max_length = max_length
        self.tokens = tokens
        self.position = POSITIONS[positions](max_length, tokens)
        self.scale = scale
        self.embedded = embedded
        self.layers = layers

    def forward(self, whole: Asked) -> Tensor:
        parts = list(buckets(whole))
        if not parts:
            return self.tokens.new_zeros(0, self.tokens.shape[1])
        answers_QD = torch.cat([self.read(part) for part in parts])
        return F.embedding(torch.cat([part.answer for part in parts]).argsort(), answers_QD)

    def read(self, bucket: Bucket) -> Tensor:
        """The answers of a bucket, in order of row, then place, [q, D]."""
        items_NLD = lookup(self.tokens, bucket.item)
        x_NLD = self.embedded(torch.add(self.position_of(bucket), items_NLD, alpha=self.scale))
        if 2 * int(bucket.asked.sum(1).max()) > bucket.item.shape[1]:
            asked_NM, answers_NMD = bucket.asked, self.layers(x_NLD, bucket.length)
        else:
            places_NM, asked_NM = compact(bucket.asked)
            answers_NMD = self.layers(x_NLD, bucket.length, places_NM)
        return F.embedding(asked_NM.flatten().nonzero()[:, 0], answers_NMD.flatten(0, 1))

    def position_of(self, bucket: Bucket) -> Tensor:
        """P, counted so that a history's last place is always the last position, [N, L, D]."""
        place_L = torch.arange(bucket.item.shape[1], device=bucket.item.device)
        index_NL = place_L + self.max_length - bucket.length[:, None]
        return F.embedding(index_NL.clamp(max=self.max_length - 1), self.position)


def learned(max_length: int, tokens: Tensor) -> Tensor:
    """P as parameters, drawn as the tokens were, [max_length, D]."""
    return nn.Parameter(torch.randn(max_length, tokens.shape[1]) * tokens.detach().std())


def cosine(max_length: int, tokens: Tensor) -> Tensor:
    """P(p, 2i) = sin(p / 10000^(2i/D)), P(p, 2i + 1) = cos(p / 10000^(2i/D)), [max_length, D]."""
    angle_LD = torch.arange(max_length)[:, None] / 10000 ** (torch.arange(0, tokens.shape[1], 2) / tokens.shape[1])
    return nn.Buffer(torch.stack([angle_LD.sin(), angle_LD.cos()], dim=-1).flatten(1)[:, : tokens.shape[1]])


POSITIONS: dict[str, Callable[[int, Tensor], Tensor]] = {"learned": learned, "cosine": cosine}
