"""The nouns that every part of recexp shares.

Shape suffixes, here and everywhere: B queries in a batch · Q rows of scores (Q = B but for sequence models)
· C candidate columns · I items · U users · L history length · D embedding size · N interactions · K cut-offs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

PAD = -1
"""An empty place in a history, a missing candidate, or a user (an item) that training never saw."""


@dataclass(frozen=True)
class Interactions:
    """What happened: one row per event, sorted by user, then time, then order in the file.

    Shape:
        user, item [N] int32 dense ids · time [N] int64 seconds since 1970 (0 if unknown)
        · weight [N] float32, how much the event counts (1 if unknown) · label [N] float32, 1 or a rating
        · context [N, F] int32, codes of the circumstances that `Dataset.context` names (F = 0: none are known).
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    weight: np.ndarray
    label: np.ndarray
    context: np.ndarray = None  # type: ignore[assignment]  # an array is no default: [N, 0], made below

    def __post_init__(self) -> None:
        if self.context is None:
            object.__setattr__(self, "context", np.zeros((len(self.user), 0), np.int32))

    def __len__(self) -> int:
        return len(self.user)

    def __getitem__(self, rows: Any) -> Interactions:
        """The rows of a mask, a slice or an ascending index."""
        return Interactions(*(getattr(self, f.name)[rows] for f in fields(self)))

    @staticmethod
    def concat(*parts: Interactions) -> Interactions:
        """All rows of all parts, in order of user and time again."""
        joined = Interactions(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Interactions)))
        return joined[np.lexsort((joined.time, joined.user))]

    def offsets(self, num_users: int) -> np.ndarray:
        """Where each user's rows begin and end: row u of the log is `[offsets[u], offsets[u + 1])`, [U + 1] int64."""
        return np.searchsorted(self.user, np.arange(num_users + 1)).astype(np.int64)


@dataclass(frozen=True)
class Dataset:
    """Prepared data: the interactions and one table per side, whose row number is the dense id.

    Attributes:
        users, items: first column `user` (`item`) holds the raw id; further columns are features
            (numbers, categories as strings, lists of strings for multi-valued ones, `title`/`text` as text).
        part: [N] int8 for `split=given`: 0 train, 1 validation, 2 test; None where the files do not say.
        negatives: [U, n] int32 given test candidates of each user, PAD where there are fewer; None if there are none.
        sha256: of the prepared content, whatever file format it came in.
        context: of each circumstance of an event (device, hour) its values; a code is a place among them.
        timed: False where the data has no times: `interactions.time` is then the place within the user.
    """

    name: str
    interactions: Interactions
    users: pl.DataFrame
    items: pl.DataFrame
    part: np.ndarray | None = None
    negatives: np.ndarray | None = None
    sha256: str = ""
    timed: bool = True
    context: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def num_users(self) -> int:
        return self.users.height

    @property
    def num_items(self) -> int:
        return self.items.height


@dataclass(frozen=True)
class Bags:
    """Tokens of each row of a feature table, as many as it has: one category, some genres, many words.

    Shape:
        row r has `[offsets[r], offsets[r + 1])` of tokens [T] int64 from 0 to size - 1 and of weights [T] float32;
        offsets [R + 1] int64.
    """

    offsets: Tensor
    tokens: Tensor
    weights: Tensor
    size: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @staticmethod
    def single(tokens: np.ndarray, size: int) -> Bags:
        """One token for each row, none where it is PAD."""
        there = tokens != PAD
        offsets = torch.from_numpy(np.append(0, np.cumsum(there)).astype(np.int64))
        kept = torch.from_numpy(tokens[there].astype(np.int64))
        return Bags(offsets, kept, torch.ones(len(kept)), size)


@dataclass(frozen=True)
class Numbers:
    """Standardized numbers, or a vector, of each row of a feature table.

    Shape:
        values [R, F] float32, 0 where nothing is known.
    """

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)


Columns = Mapping[str, Bags | Numbers]


@dataclass(frozen=True)
class Features:
    """What a model may know of each user and item; row number is the dense id, `id` the id itself.

    Users and items that training never saw have an empty bag in `id`: they are known by the rest.

    Attributes:
        context: of each circumstance of an event, in order of `Query.context`, its values as rows: one token each, none
            where training never saw the value.
        events: what a model may know of the items of a history beside `items`: the `id`, where `items` leaves it out.
    """

    users: Columns
    items: Columns
    num_users: int
    num_items: int
    context: Columns = field(default_factory=dict)
    events: Columns = field(default_factory=dict)

    @staticmethod
    def ids(num_users: int, num_items: int) -> Features:
        """Nothing but ids, of everybody and everything."""
        users, items = ({"id": Bags.single(np.arange(size), size)} for size in (num_users, num_items))
        return Features(users, items, num_users, num_items)

    def tensors(self) -> dict[str, Tensor]:
        """Everything under flat names, as a file holds it."""
        flat = {"sizes": torch.tensor([self.num_users, self.num_items])}
        sides = {"users": self.users, "items": self.items, "context": self.context, "events": self.events}
        for side, columns in sides.items():
            for place, (name, column) in enumerate(columns.items()):
                for part, value in vars(column).items():
                    flat[f"{side}/{place}/{part}/{name}"] = torch.as_tensor(value).contiguous()
        return flat

    @staticmethod
    def of(flat: Mapping[str, Tensor]) -> Features:
        """The inverse of `tensors`."""
        parts: dict[tuple[str, int, str], dict[str, Tensor]] = {}
        for key, value in flat.items():
            if key != "sizes":
                side, place, part, name = key.split("/", 3)
                parts.setdefault((side, int(place), name), {})[part] = value
        sides: dict[str, dict[str, Bags | Numbers]] = {"users": {}, "items": {}, "context": {}, "events": {}}
        for (side, _, name), found in sorted(parts.items()):
            bag = "tokens" in found
            sides[side][name] = (
                Bags(found["offsets"], found["tokens"], found["weights"], int(found["size"]))
                if bag
                else Numbers(found["values"])
            )
        return Features(**sides, num_users=int(flat["sizes"][0]), num_items=int(flat["sizes"][1]))


@dataclass(frozen=True)
class Holdout:
    """Questions with known answers: what a user had done (`history`), and what they did next (`target`).

    `history` may hold users without a target; every user of `target` is asked once.

    Attributes:
        candidates: the items that a full ranking ranks, ascending, [C]; None: all.
    """

    history: Interactions
    target: Interactions
    candidates: np.ndarray | None = None

    @cached_property
    def users(self) -> np.ndarray:
        """The users asked, ascending, [B]."""
        return np.unique(self.target.user)


@dataclass(frozen=True)
class Split:
    """A dataset in three: what is learned from, what chooses the model, what is reported."""

    train: Interactions
    validation: Holdout | None
    test: Holdout
    negatives: np.ndarray | None = None
    """[U, n] int32 given candidates of the test targets, PAD where there are fewer."""


@dataclass(frozen=True)
class Log:
    """A flat log of events on the model's device; a history is a slice of it.

    Shape:
        item [N] int64 · weight [N] float32, in the order of `Interactions`.
    """

    item: Tensor
    weight: Tensor

    @staticmethod
    def of(interactions: Interactions) -> Log:
        return Log(torch.from_numpy(interactions.item.astype(np.int64)), torch.from_numpy(interactions.weight))

    def to(self, device: torch.device | str) -> Log:
        return Log(self.item.to(device), self.weight.to(device))


@dataclass(frozen=True)
class Query:
    """Who asks, and what they did before. Histories are slices of a log, padded only when somebody looks.

    Shape:
        users [B] int64, PAD for a user unknown to training · start, stop [B] int64 into the log
        · history [B, L] int64, oldest to newest, PAD where empty (at the right)
        · history_weight [B, L] float32, 0 where empty
        · asked [B, L] bool, True at the places of the history whose items are asked for, and which therefore must not
          be looked at: Q rows of scores in order of row, then place. None: what follows each history is asked, Q = B
        · context [Q, F] int64, codes of the circumstances in which is asked, PAD where unknown. None: all unknown
        · profiles [B] int64, the users' rows in tables of features, whether or not training saw them, PAD where there
          is none. None: `users`.
    """

    users: Tensor
    log: Log
    start: Tensor
    stop: Tensor
    asked: Tensor | None = None
    context: Tensor | None = None
    profiles: Tensor = None  # type: ignore[assignment]  # made below

    def __post_init__(self) -> None:
        if self.profiles is None:
            object.__setattr__(self, "profiles", self.users)

    def __len__(self) -> int:
        return len(self.users)

    @staticmethod
    def from_histories(histories: Sequence[Sequence[int]], users: Sequence[int] | None = None) -> Query:
        """A query from lists of dense item ids, for users unknown to training unless named."""
        lengths = torch.tensor([len(h) for h in histories], dtype=torch.int64)
        stop = lengths.cumsum(0)
        items = torch.tensor([i for h in histories for i in h], dtype=torch.int64)
        known = torch.full((len(histories),), PAD) if users is None else torch.tensor(users, dtype=torch.int64)
        return Query(known, Log(items, torch.ones(len(items))), stop - lengths, stop)

    def last(self, length: int) -> Query:
        """The same query with only the newest `length` events of each history; nothing older may be asked for."""
        return replace(self, start=torch.maximum(self.start, self.stop - length))

    def to(self, device: torch.device | str) -> Query:
        asked, context = (None if one is None else one.to(device) for one in (self.asked, self.context))
        places = self.start.to(device), self.stop.to(device)
        return Query(self.users.to(device), self.log.to(device), *places, asked, context, self.profiles.to(device))

    def rows(self, some: slice) -> Query:
        """Some of the rows of a query that asks for what follows each history."""
        context = None if self.context is None else self.context[some]
        places = self.start[some], self.stop[some]
        return Query(self.users[some], self.log, *places, None, context, self.profiles[some])

    def asking(self, asked: Tensor) -> Query:
        """The same query, asking for these places of the histories, [B, L] bool."""
        return replace(self, asked=asked)

    @property
    def length(self) -> Tensor:
        """Events in each history, [B] int64."""
        return self.stop - self.start

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        length = int((self.stop - self.start).max()) if len(self) else 0
        index_BL = self.start[:, None] + torch.arange(length, device=self.start.device)
        filled_BL = index_BL < self.stop[:, None]
        return index_BL.where(filled_BL, torch.zeros_like(index_BL)), filled_BL

    @cached_property
    def history(self) -> Tensor:
        index_BL, filled_BL = self._places
        if not index_BL.numel():
            return index_BL
        return self.log.item[index_BL].masked_fill(~filled_BL, PAD)

    @cached_property
    def history_weight(self) -> Tensor:
        index_BL, filled_BL = self._places
        if not index_BL.numel():
            return index_BL.float()
        return self.log.weight[index_BL].masked_fill(~filled_BL, 0.0)


@dataclass(frozen=True)
class Candidates:
    """The items that each row is scored against, one of them its positive.

    Shape:
        items [C] shared by all rows, or [Q, C] · target [Q] int64, the column of the row's positive
        · valid [Q, C] bool, False where a column must not count for that row (None: all count)
        · log_q [C] or [Q, C] float32, log-probability that the sampler drew the column (None: uniform)
        · label [Q] float32, the positive's label: 1, or a rating, or 0 for an observed "no" (None: 1)
        · weight [Q] float32, how much the row counts (None: 1)
        · catalogue: items that there are, of which the columns are a sample (None: the columns are all).
    """

    items: Tensor
    target: Tensor
    valid: Tensor | None = None
    log_q: Tensor | None = None
    label: Tensor | None = None
    weight: Tensor | None = None
    catalogue: int | None = None

    @property
    def num_columns(self) -> int:
        return self.items.shape[-1]

    def is_target(self) -> Tensor:
        """True at each row's positive, [Q, C]."""
        columns_C = torch.arange(self.num_columns, device=self.target.device)
        return columns_C == self.target[:, None]

    def counts(self) -> Tensor:
        """True where a column counts for its row, [Q, C]."""
        if self.valid is not None:
            return self.valid
        return torch.ones(len(self.target), self.num_columns, dtype=torch.bool, device=self.target.device)

    def is_negative(self) -> Tensor:
        """True at the columns that count and are not the positive, [Q, C]."""
        return self.counts() & ~self.is_target()

    def labels(self) -> Tensor:
        """The positive's label at its column, 0 elsewhere, [Q, C] float32."""
        hit_QC = self.is_target().float()
        return hit_QC if self.label is None else hit_QC * self.label[:, None]

    def row_weight(self) -> Tensor:
        """The weight of each row, [Q] float32."""
        return torch.ones(len(self.target), device=self.target.device) if self.weight is None else self.weight


@dataclass(frozen=True)
class Batch:
    """One training batch: queries, the item met at each place asked for, and how it went.

    Shape:
        query of B · positive [Q] int64 · label [Q] float32, None if all are 1 · weight [Q] float32.
    """

    query: Query
    positive: Tensor
    label: Tensor | None
    weight: Tensor
