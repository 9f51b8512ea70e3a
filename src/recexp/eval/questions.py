"""The frozen questions of an evaluation: who is asked, what they had done, and the answers.

Shapes: B users asked · T targets, in order of user · P targets of a user · U users · I items.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from recexp.errors import RecexpError
from recexp.types import PAD, Dataset, Holdout, Interactions, Log, Query, Split


class EvaluationError(Exception):
    """The model cannot be evaluated: the run failed, the request was sound."""


@dataclass(frozen=True)
class Questions:
    """Every user with something to ask, and their targets.

    Shape:
        users [B] dense ids, ascending · known [B] the same, PAD where training never saw them
        · row [T] whose target · item [T] · label [T] · start, stop [B] into `history`
        · context [T, F] of the targets: a user is asked in that of the first one
        · popularity [I], activity [B] train events of the items and of the users asked.
    """

    dataset: Dataset
    history: Interactions
    users: np.ndarray
    known: np.ndarray
    row: np.ndarray
    item: np.ndarray
    label: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    popularity: np.ndarray
    activity: np.ndarray
    context: np.ndarray

    @cached_property
    def offsets(self) -> np.ndarray:
        """The targets of row b are `[offsets[b], offsets[b + 1])`, [B + 1]."""
        return np.searchsorted(self.row, np.arange(len(self.users) + 1))

    @cached_property
    def _logs(self) -> dict[torch.device, Log]:
        return {torch.device("cpu"): Log.of(self.history)}

    def query(self, rows_B: np.ndarray, device: torch.device) -> Query:
        """Who asks, with histories as slices of one log on the device."""
        if device not in self._logs:
            self._logs[device] = self._logs[torch.device("cpu")].to(device)
        whose = (self.known, self.start, self.stop, self.users)
        known, start, stop, users = (torch.from_numpy(a[rows_B]).to(device) for a in whose)
        context = torch.from_numpy(self.context[self.offsets[rows_B]].astype(np.int64)).to(device)
        return Query(known, self._logs[device], start, stop, None, context, profiles=users)

    def slots(self, rows_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the targets of each row stand in [T], and which places are filled, [B, P] each."""
        start_B, stop_B = self.offsets[rows_B], self.offsets[rows_B + 1]
        slot_BP = start_B[:, None] + np.arange((stop_B - start_B).max())
        filled_BP = slot_BP < stop_B[:, None]
        return np.where(filled_BP, slot_BP, start_B[:, None]), filled_BP

    def targets(self, slot_BP: np.ndarray, device: torch.device) -> Tensor:
        """The items in the slots, [B, P] int64."""
        return torch.from_numpy(self.item[slot_BP].astype(np.int64)).to(device)

    def named(self, row: int) -> object:
        """The raw id of the user in a row."""
        return self.dataset.users[self.dataset.users.columns[0]][int(self.users[row])]

    def asked_history(self) -> tuple[np.ndarray, np.ndarray]:
        """Users and items of what the users asked had done."""
        asks = np.zeros(self.dataset.num_users, dtype=bool)
        asks[self.users] = True
        asked = asks[self.history.user]
        return self.history.user[asked], self.history.item[asked]

    def met(self, row: int) -> np.ndarray:
        """The items of the row's history and its targets."""
        past = self.history.item[self.start[row] : self.stop[row]]
        return np.concatenate([past, self.item[self.offsets[row] : self.offsets[row + 1]]])


def ask(target: Interactions, split: Split, holdout: Holdout, dataset: Dataset) -> Questions:
    """Freeze the questions of a hold-out; popularity and the known users come from train only."""
    if not len(target):
        raise RecexpError(
            f"data={dataset.name}: the split leaves no user with anything to ask; "
            "hold out more (split.*), or type eval.seen=include if users repeat their items"
        )
    users, row = np.unique(target.user, return_inverse=True)
    activity = np.bincount(split.train.user, minlength=dataset.num_users)[users]
    offsets = holdout.history.offsets(dataset.num_users)
    return Questions(
        dataset=dataset,
        history=holdout.history,
        users=users.astype(np.int64),
        known=np.where(activity > 0, users, PAD).astype(np.int64),
        row=row,
        item=target.item,
        label=target.label,
        start=offsets[users],
        stop=offsets[users + 1],
        popularity=np.bincount(split.train.item, minlength=dataset.num_items),
        activity=activity,
        context=target.context,
    )


def _pairs(events: Interactions, num_items: int) -> np.ndarray:
    return events.user.astype(np.int64) * num_items + events.item


def distinct(target: Interactions, num_items: int) -> Interactions:
    """The first event of each user and item."""
    _, first = np.unique(_pairs(target, num_items), return_index=True)
    return target[np.sort(first)]


def unseen(target: Interactions, history: Interactions, num_items: int) -> Interactions:
    """The targets, different ones, that are not in their user's history."""
    wanted = _pairs(target, num_items)
    order = np.argsort(wanted)
    past = _pairs(history, num_items)
    place = np.searchsorted(wanted, past, sorter=order)
    met = place < len(wanted)
    hit = order[place[met]]
    new = np.ones(len(wanted), dtype=bool)
    new[hit[wanted[hit] == past[met]]] = False
    return target[new]


def digest(*parts: str | int | float | np.ndarray) -> str:
    """SHA-256 over settings and arrays, the same on every machine."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            wide = "<f8" if part.dtype.kind == "f" else "<i8"
            total.update(f"{part.shape}".encode() + np.ascontiguousarray(part, dtype=wide).tobytes())
        else:
            total.update(f"{part!r};".encode())
    return total.hexdigest()
