"""Pointwise evaluation: the model's score of each target against its label.

Shapes: B users of a chunk · P targets of a user · T targets of all users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from torch import Tensor

from recexp.eval.evaluation import Evaluation, Frozen, Result, Score
from recexp.eval.segments import Segments

SCORE, LABEL, POSITIVE = pl.col("score"), pl.col("label"), pl.col("positive")


def _auc() -> pl.Expr:
    positives = POSITIVE.sum().cast(pl.Float64)
    ranks = SCORE.rank("average").filter(POSITIVE).sum()
    return (ranks - positives * (positives + 1) / 2) / (positives * (pl.len() - positives))


POINTWISE: dict[str, pl.Expr] = {
    "rmse": ((SCORE - LABEL) ** 2).mean().sqrt(),
    "mae": (SCORE - LABEL).abs().mean(),
    "auc": _auc(),
    "log_loss": (SCORE.clip(lower_bound=0) - SCORE * POSITIVE + (-SCORE.abs()).exp().log1p()).mean(),
}
"""Over any set of targets: rmse and mae take the score as a rating, log_loss as a logit; auc counts a tie as 1/2."""

TWO_CLASSES = ("auc", "log_loss")
LESS_IS_BETTER = ("rmse", "mae", "log_loss")


@dataclass(frozen=True)
class LabelSettings:
    """What a pointwise evaluation reports; a label above `threshold` is positive."""

    metrics: Sequence[str]
    threshold: float
    segments: Segments


class Labels(Evaluation):
    """Keeps the score of every target."""

    def __init__(self, frozen: Frozen, settings: LabelSettings) -> None:
        self.settings = settings
        super().__init__(frozen)

    def reset(self) -> None:
        super().reset()
        self.score = np.zeros(len(self.questions.item))

    def _answer(self, score: Score, rows_B: np.ndarray, target_BP: Tensor) -> Sequence[Tensor]:
        query = self.questions.query(rows_B, target_BP.device)
        return [self._checked(score(query, target_BP), rows_B, target_BP, target_BP.shape[1])]

    def _keep(self, slots_T: np.ndarray, *answers_T: np.ndarray) -> None:
        (self.score[slots_T],) = answers_T

    def _state(self) -> dict[str, np.ndarray]:
        return super()._state() | {"score": self.score}

    def _merge(self, states: Sequence[Mapping[str, np.ndarray]]) -> None:
        score = self.score.copy()
        for state in states:
            score[state["answered"]] = state["score"][state["answered"]]
        super()._merge(states)
        self.score = score

    def of_popularity(self) -> Result:
        """Of train counts as scores; they are neither ratings nor logits, so only auc means anything."""
        found = super().of_popularity()
        return replace(found, metrics={name: value for name, value in found.metrics.items() if name == "auc"})

    def _table(self) -> pl.DataFrame:
        questions = self.questions
        columns = {"row": questions.row, "score": self.score, "label": questions.label.astype(np.float64)}
        masks = self.settings.segments.masks(questions)
        table = pl.DataFrame({**columns, "positive": questions.label > self.settings.threshold, **masks})
        return table.filter(pl.Series(self.answered))

    def _varied(self) -> bool:
        scores = self.score[self.answered]
        return bool(scores.min() < scores.max())

    def _result(self) -> Result:
        table = self._table()
        wanted = [POINTWISE[name].alias(name) for name in self.settings.metrics]
        metrics = table.select(wanted).row(0, named=True)
        segments: dict[str, float] = {}
        for name in self.settings.segments.masks(self.questions):
            if (part := table.filter(pl.col(name))).height:
                found = part.select(wanted).row(0, named=True)
                segments |= {f"{metric}:{name}": value for metric, value in found.items() if not np.isnan(value)}
        users = table.group_by("row").agg(wanted).sort("row")
        columns = {name: users[name].to_numpy() for name in self.settings.metrics}
        named = self._named(users["row"].to_numpy(), columns)
        return Result(metrics, segments, named, self._alarms(), list(self.notes))
