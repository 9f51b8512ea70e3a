"""The control that every model must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from recexp.eval.evaluation import Evaluation, Result
from recexp.types import Query


def popularity(evaluation: Evaluation, chunk: int) -> Result:
    """The same questions answered by popularity in train; forgets what the evaluation held.

    Args:
        evaluation: whose questions are asked. chunk: users at once [count].
    """
    counts = torch.from_numpy(evaluation.questions.popularity).float()

    def score(query: Query, items: Tensor | None = None) -> Tensor:
        counts_C = counts if items is None else counts[items.clamp(min=0)]
        return counts_C.expand(len(query), -1)

    evaluation.reset()
    for rows in torch.arange(len(evaluation.users)).split(chunk):
        evaluation.update(score, rows, "cpu")
    return evaluation.result()
