"""Ranking evaluations: where each target stands, among all items or among frozen negatives.

Shapes: B users of a chunk · P targets of a user · N negatives · C candidates · I items · T targets of all users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recexp.eval.evaluation import Evaluation, Frozen, Result, Score, means, to_numpy
from recexp.eval.metrics import RANKING, TIES, Groups, ranking
from recexp.eval.rank import places, top_items
from recexp.eval.segments import Segments
from recexp.eval.shown import Shown
from recexp.types import PAD, Query


@dataclass(frozen=True)
class Settings:
    """What a ranking evaluation reports."""

    metrics: Sequence[str]
    k: Sequence[int]
    ties: str
    segments: Segments

    @property
    def monitor(self) -> str:
        """ndcg@10, or what comes closest."""
        metric = "ndcg" if "ndcg" in self.metrics else self.metrics[0]
        return f"{metric}@{min(self.k, key=lambda cut: abs(cut - 10))}"


class Ranking(Evaluation):
    """Keeps, per target, how many candidates stand above it (g) and in its tied group (t)."""

    def __init__(self, frozen: Frozen, settings: Settings) -> None:
        self.settings = settings
        super().__init__(frozen)

    def reset(self) -> None:
        super().reset()
        self.above, self.tied = np.zeros((2, len(self.questions.item)), dtype=np.int32)

    def _keep(self, slots_T: np.ndarray, *answers_T: np.ndarray) -> None:
        self.above[slots_T], self.tied[slots_T] = answers_T

    def _state(self) -> dict[str, np.ndarray]:
        return super()._state() | {"above": self.above, "tied": self.tied}

    def _merge(self, states: Sequence[Mapping[str, np.ndarray]]) -> None:
        super()._merge(states)
        self.above = np.max([state["above"] for state in states], axis=0)
        self.tied = np.max([state["tied"] for state in states], axis=0)

    def _question(self, user_T: np.ndarray) -> np.ndarray:
        """Which question each target belongs to: here a user's targets make one list."""
        return user_T

    def _per_user(self, chosen_T: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        rows, user = np.unique(self.questions.row[chosen_T], return_inverse=True)
        question = self._question(user)
        groups = TIES[self.settings.ties](Groups.of(question, self.above[chosen_T], self.tied[chosen_T]))
        owner = np.zeros(len(groups.positives), dtype=np.int64)
        owner[question] = user
        asked = np.bincount(owner)
        values = ranking(groups, self._metrics(), self.settings.k)
        return rows, {name: np.bincount(owner, weights=value) / asked for name, value in values.items()}

    def _metrics(self) -> Sequence[str]:
        return self.settings.metrics

    def _result(self) -> Result:
        rows, columns = self._per_user(self.answered)
        segments: dict[str, float] = {}
        for name, mask in self.settings.segments.masks(self.questions).items():
            if (chosen := mask & self.answered).any():
                part = means(self._per_user(chosen)[1])
                segments |= {f"{metric}:{name}": value for metric, value in part.items()}
        return Result(means(columns), segments, self._named(rows, columns), self._alarms(), list(self.notes))


class FullRanking(Ranking):
    """Ranks each user's targets among all items."""

    def __init__(
        self, frozen: Frozen, settings: Settings, hide: Callable[[Tensor, Query], None], shown: Shown | None
    ) -> None:
        self.hide, self.shown = hide, shown
        super().__init__(frozen, settings)

    def reset(self) -> None:
        super().reset()
        if self.shown is not None:
            self.shown = self.shown.fresh()

    def _answer(self, score: Score, rows_B: np.ndarray, target_BP: Tensor) -> Sequence[Tensor]:
        query = self.questions.query(rows_B, target_BP.device)
        scores_BI = self._checked(score(query, None), rows_B, None, self.questions.dataset.num_items)
        self.hide(scores_BI, query)
        if self.shown is not None:
            self.shown.update(rows_B, to_numpy(top_items(scores_BI, self.shown.length)))
        return places(scores_BI.gather(1, target_BP), scores_BI)

    def _metrics(self) -> Sequence[str]:
        return [name for name in self.settings.metrics if name in RANKING]

    def _per_user(self, chosen_T: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        rows, columns = super()._per_user(chosen_T)
        return rows, columns | (self.shown.per_user(rows) if self.shown is not None else {})

    def _result(self) -> Result:
        found = super()._result()
        return replace(found, metrics=found.metrics | (self.shown.result() if self.shown is not None else {}))

    def _state(self) -> dict[str, np.ndarray]:
        return super()._state() | (self.shown.state() if self.shown is not None else {})

    def _merge(self, states: Sequence[Mapping[str, np.ndarray]]) -> None:
        super()._merge(states)
        if self.shown is not None:
            self.shown.merge(states)


class SampledRanking(Ranking):
    """Ranks each target on its own among its user's frozen negatives; a user's score is the mean over targets."""

    def __init__(self, frozen: Frozen, settings: Settings, candidates: np.ndarray) -> None:
        super().__init__(frozen, settings)
        self.candidates: np.ndarray = candidates

    def _answer(self, score: Score, rows_B: np.ndarray, target_BP: Tensor) -> Sequence[Tensor]:
        query = self.questions.query(rows_B, target_BP.device)
        negative_BN = torch.from_numpy(self.candidates[rows_B].astype(np.int64)).to(target_BP.device)
        missing_BN = negative_BN == PAD
        items_BC = torch.cat([target_BP, negative_BN.where(~missing_BN, target_BP[:, :1])], dim=1)
        scores_BC = self._checked(score(query, items_BC), rows_B, items_BC, items_BC.shape[1])
        positive_BP, scores_BN = scores_BC.split([target_BP.shape[1], negative_BN.shape[1]], dim=1)
        above_BP, equal_BP = places(positive_BP, scores_BN.masked_fill(missing_BN, -torch.inf))
        return above_BP, equal_BP + 1

    def _question(self, user_T: np.ndarray) -> np.ndarray:
        return np.arange(len(user_T))
