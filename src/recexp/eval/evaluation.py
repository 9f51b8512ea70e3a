"""Ask a model frozen questions in chunks, and keep what its answers come to.

What is kept has one place per target or item, so chunks and ranks can be put together in any order, exactly.
Shapes: B users of a chunk · P targets of a user · C candidates · I items · T targets of all users.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recexp.eval.questions import EvaluationError, Questions
from recexp.types import Query

Score = Callable[[Query, Tensor | None], Tensor]

CHUNK = 256


def to_numpy(values: Tensor) -> np.ndarray:
    """The values on the data side."""
    return values.detach().cpu().numpy()


def means(columns: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The mean over the users for whom a metric is defined; no key where it is for nobody."""
    return {name: float(np.nanmean(values)) for name, values in columns.items() if not np.isnan(values).all()}


@dataclass(frozen=True)
class Result:
    """What an evaluation found.

    Attributes:
        metrics: {"ndcg@10": ...}; a user-level metric is its mean over the users asked.
        segments: {"ndcg@10:head": ...}; a segment without users has no key.
        per_user: `user` holds the raw id, then one column per user-level metric.
        alarms: what makes the numbers doubtful.
        notes: what the protocol left out or drew.
    """

    metrics: dict[str, float]
    segments: dict[str, float]
    per_user: pl.DataFrame
    alarms: list[str]
    notes: list[str]


@dataclass(frozen=True)
class Frozen:
    """Questions with the hash of everything that changes their answers."""

    questions: Questions
    sha256: str
    notes: list[str] = field(default_factory=list)


class Evaluation:
    """Accumulates over chunks; what is kept per target is up to the subclass.

    Attributes:
        users: dense ids of the users asked, [B_total]; `rows` everywhere index into it.
        sha256: of the protocol, whatever its name, cut-offs, metrics and chunk size.
        candidates: frozen negatives [B_total, N], PAD where there are fewer; None if all items are ranked.
    """

    candidates: np.ndarray | None = None

    def __init__(self, frozen: Frozen) -> None:
        self.questions, self.sha256, self.notes = frozen.questions, frozen.sha256, frozen.notes
        self.users = frozen.questions.users
        self.reset()

    def reset(self) -> None:
        """Forget all answers."""
        self.varied = False
        self.answered = np.zeros(len(self.questions.item), dtype=bool)

    def query(self, rows: Tensor, device: torch.device | str) -> Query:
        """Who asks in these rows, with what they had done."""
        return self.questions.query(to_numpy(rows), torch.device(device))

    @torch.no_grad()
    def update(self, score: Score, rows: Tensor, device: torch.device | str) -> None:
        """Ask the users of these rows.

        Shape:
            score(query, None) -> [B, I]; score(query, items [B, C]) -> [B, C].
        Raises:
            EvaluationError: a score is NaN, or the scores have another shape.
        """
        if len(rows):
            rows_B, device = to_numpy(rows), torch.device(device)
            slot_BP, filled_BP = self.questions.slots(rows_B)
            answers = self._answer(score, rows_B, self.questions.targets(slot_BP, device))
            slots_T = slot_BP[filled_BP]
            self.answered[slots_T] = True
            self._keep(slots_T, *(to_numpy(answer_BP)[filled_BP] for answer_BP in answers))

    def _answer(self, score: Score, rows_B: np.ndarray, target_BP: Tensor) -> Sequence[Tensor]:
        raise NotImplementedError

    def _keep(self, slots_T: np.ndarray, *answers_T: np.ndarray) -> None:
        raise NotImplementedError

    def _checked(self, scores_BC: Tensor, rows_B: np.ndarray, items_BC: Tensor | None, width: int) -> Tensor:
        """The scores in memory of their own, -inf raised to the lowest number: only hidden items stay below."""
        if scores_BC.shape != (len(rows_B), width):
            raise EvaluationError(f"the model gave scores of shape {tuple(scores_BC.shape)}, not {len(rows_B), width}")
        # a sum is the cheapest look for NaN; infinities of both signs make one too, hence the second look
        if scores_BC.sum().isnan() and scores_BC.isnan().any():
            self._complain(scores_BC, rows_B, items_BC)
        self.varied = self.varied or bool((scores_BC != scores_BC[:, :1]).any())
        floating = scores_BC if scores_BC.is_floating_point() else scores_BC.double()
        return floating.clamp(min=torch.finfo(floating.dtype).min)

    def _complain(self, scores_BC: Tensor, rows_B: np.ndarray, items_BC: Tensor | None) -> None:
        row, column = scores_BC.isnan().nonzero()[0].tolist()
        item = column if items_BC is None else int(items_BC[row, column])
        table = self.questions.dataset.items
        raise EvaluationError(
            f"the model gives NaN to user {self.questions.named(rows_B[row])!r} and item "
            f"{table[table.columns[0]][item]!r}: training diverged; a lower optimizer.lr may help"
        )

    def of_popularity(self) -> Result:
        """The result of scoring every item by its train events: the control that a model must beat."""
        popularity_I = torch.from_numpy(self.questions.popularity)

        def score(query: Query, items: Tensor | None) -> Tensor:
            return popularity_I.expand(len(query), -1) if items is None else popularity_I[items]

        return self.of(score)

    def of(self, score: Score) -> Result:
        """The result of any way to score, without a trainer; what was answered before is left alone."""
        other = copy.copy(self)
        other.reset()
        for rows in torch.arange(len(self.users)).split(CHUNK):
            other.update(score, rows, "cpu")
        return other.result()

    def state(self) -> dict[str, Tensor]:
        """What other ranks need; names and shapes are equal on all ranks."""
        return {name: torch.from_numpy(values) for name, values in self._state().items()}

    def merge(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Become the union of all ranks' states, this one's included."""
        self._merge([{name: to_numpy(values) for name, values in state.items()} for state in states])

    def _state(self) -> dict[str, np.ndarray]:
        return {"answered": self.answered, "varied": np.array([self.varied])}

    def _merge(self, states: Sequence[Mapping[str, np.ndarray]]) -> None:
        self.answered = np.any([state["answered"] for state in states], axis=0)
        self.varied = bool(np.any([state["varied"] for state in states]))

    def result(self) -> Result:
        """The metrics over all users asked so far.

        Raises:
            EvaluationError: nobody was asked.
        """
        if not self.answered.any():
            raise EvaluationError("nobody was asked; call update before result")
        return self._result()

    def _result(self) -> Result:
        raise NotImplementedError

    def _named(self, rows: np.ndarray, columns: Mapping[str, np.ndarray]) -> pl.DataFrame:
        raw = self.questions.dataset.users[self.questions.dataset.users.columns[0]]
        return pl.DataFrame({"user": raw[self.users[rows]], **columns})

    def _alarms(self) -> list[str]:
        asked, total = len(np.unique(self.questions.row[self.answered])), len(self.users)
        alarms = [] if asked == total else [f"only {asked:,} of {total:,} users were asked"]
        if not self._varied():
            alarms.append("the model gives every item the same score, for every user: it has learned nothing")
        return alarms

    def _varied(self) -> bool:
        return self.varied
