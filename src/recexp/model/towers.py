"""The two encoders of a network with history and features, each as a program of its own."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recexp.model.base import Tower, lookup
from recexp.model.features import Inputs, inputs, names
from recexp.model.history import History, later
from recexp.types import PAD, Query


class Side(Protocol):
    """All that is known of users, or of items."""

    names: list[str]
    columns: nn.ModuleDict

    def __call__(self, ids: Tensor) -> Tensor: ...

    def given(self, inputs: Inputs) -> Tensor: ...


class Whole(Protocol):
    """The model that has the encoders."""

    num_items: int
    history: History
    circumstances: Any

    def with_circumstances(self, x_QU: Tensor, context: Tensor | None) -> Tensor: ...

    def events(self, items_BL: Tensor) -> Tensor: ...

    def query_of(self, x_QU: Tensor, h_QD: Tensor) -> Tensor: ...

    def item_of(self, x_CX: Tensor) -> Tensor: ...


class ItemTower(Tower):
    """All that is known of an item -> its vector; a new item's id is -1.

    Shape:
        item [R] int64 · tokens [R, T] int64, -1 where there are fewer, weights [R, T] of each bag · numbers [R, F]
        -> [R, D].
    """

    def __init__(self, model: Whole, side: Side) -> None:
        super().__init__()
        self.model, self.side = model, side
        self.names = names(side.columns.values(), side.names, "item")

    def forward(self, *given: Tensor) -> Tensor:
        return self.model.item_of(self.side.given(given))

    def inputs(self, rows: Tensor) -> list[Tensor]:
        return inputs(self.side.columns.values(), rows)


class QueryTower(Tower):
    """What a user did, and all that is known of them -> their vector; a new user's id is -1.

    Shape:
        history [R, L] int64, the newest L dense ids, oldest first, -1 behind · history_weight [R, L] where the history
        heeds how much events count, 0 behind · context [R, F] int64 where the data has circumstances · user [R] int64
        · and as of items
        -> [R, D].
    """

    events: Tensor

    def __init__(self, model: Whole, side: Side) -> None:
        super().__init__()
        self.model, self.side = model, side
        weight = ["history_weight"] if model.history.heeds_weights else []
        context = ["context"] if model.circumstances.names else []
        self.names = ["history", *weight, *context, *names(side.columns.values(), side.names, "user")]
        with torch.no_grad():
            events_IE = model.events(torch.arange(model.num_items)[None])[0]
        self.register_buffer("events", events_IE, persistent=False)

    def forward(self, *given: Tensor) -> Tensor:
        history_RL, *known = given
        weight_RL = later(known.pop(0)) if self.model.history.heeds_weights else None
        context_RF = known.pop(0) if self.model.circumstances.names else None
        length_R = (history_RL != PAD).sum(1) + 1
        vectors_RLE = lookup(self.events, later(history_RL, PAD))
        states_RLE = self.model.history.states(vectors_RLE, length_R, weight_RL)
        last_R1E = (length_R - 1)[:, None, None].expand(-1, 1, states_RLE.shape[-1])
        h_RE = states_RLE.gather(1, last_R1E)[:, 0]
        x_RU = self.side.given(known) if known else self.side(torch.full_like(length_R, PAD))
        return self.model.query_of(self.model.with_circumstances(x_RU, context_RF), h_RE)

    def inputs(self, rows: Query) -> list[Tensor]:
        length = self.model.history.max_length - 1
        recent = rows.last(length)
        room = (0, length - recent.history.shape[1])
        history_RL = F.pad(recent.history, room, value=PAD)
        weight = [F.pad(recent.history_weight, room)] if self.model.history.heeds_weights else []
        unknown_RF = torch.full((len(rows), len(self.model.circumstances.names)), PAD)
        context = [unknown_RF if rows.context is None else rows.context] if self.model.circumstances.names else []
        return [history_RL, *weight, *context, *inputs(self.side.columns.values(), rows.profiles)]
