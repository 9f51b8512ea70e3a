"""A finished run, as Python and the later tasks see it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import torch
from omegaconf import DictConfig
from torch import Tensor

from recexp.checks import trusted
from recexp.errors import RecexpError, nearest
from recexp.model.base import Recommender
from recexp.store import Folder
from recexp.task.assemble import Experiment, new_model
from recexp.types import PAD, Interactions, Log, Query


class Run:
    """A run folder: its config, its metrics, its model.

    Args:
        path: the folder that a run printed as its last line.
        config: the run's own unless something was changed on top of it.
    """

    def __init__(self, path: Path | str, config: DictConfig | None = None) -> None:
        self.folder = Folder(path)
        self.config = trusted(self.folder.config()) if config is None else config

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, status={self.facts.get('status')!r})"

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    @property
    def metrics(self) -> dict[str, float]:
        """`metrics.json`: val/, test/ and popularity/ metrics, seconds."""
        return self.folder.metrics()

    @property
    def facts(self) -> dict[str, Any]:
        """`run.json`: id, status, seed, commit, versions, hashes, seconds, memory."""
        return self.folder.run()

    @cached_property
    def users(self) -> pl.Series:
        """Raw user ids; the row is the dense id."""
        return self.folder.ids()[0]

    @cached_property
    def items(self) -> pl.Series:
        """Raw item ids; the row is the dense id."""
        return self.folder.ids()[1]

    @cached_property
    def model(self) -> Recommender:
        """The fitted model, ready to score."""
        weights = self.folder.weights()
        model = new_model(self.config, len(self.users), len(self.items))
        model.load_state_dict(weights)
        return model.eval()

    @cached_property
    def experiment(self) -> Experiment:
        """The run's data, split and protocol, loaded again."""
        return Experiment(self.config)

    def recommend(self, users: Sequence[Any] | None = None, k: int = 10) -> pl.DataFrame:
        """The k best items that each user has not met yet: columns user, item, rank, score.

        Args:
            users: raw ids; None: everybody.
            k: items for each user [count].
        Raises:
            RecexpError: a user is unknown, or there are fewer than k items.
        """
        if not 1 <= k <= len(self.items):
            raise RecexpError(f"k={k}: there are {len(self.items)} items; k is from 1 to {len(self.items)}.")
        dense = torch.arange(len(self.users)) if users is None else self._dense(users)
        parts = [self._top(chunk, k) for chunk in dense.split(self.experiment.protocol.batch_size)]
        return pl.concat(parts) if parts else self._top(dense, k)

    def _dense(self, users: Sequence[Any]) -> Tensor:
        numbers = {str(raw): dense for dense, raw in enumerate(self.users)}
        for user in users:
            if str(user) not in numbers:
                like = ", ".join(nearest(str(user), list(numbers)[:10_000])[:3])
                raise RecexpError(f"user {user!r} is not in this run's data; known ids look like {like}.")
        return torch.tensor([numbers[str(user)] for user in users], dtype=torch.int64)

    @cached_property
    def _known(self) -> Interactions:
        data = self.experiment.data
        if data.dataset.sha256 != self.facts.get("data"):
            raise RecexpError(f"the data behind {self.path} has changed since the run; give the data it was run on.")
        return data.dataset.interactions

    @torch.no_grad()
    def _top(self, users: Tensor, k: int) -> pl.DataFrame:
        log = Log.of(self._known)
        offsets = torch.from_numpy(self._known.offsets(len(self.users)))
        trained = torch.zeros(len(self.users), dtype=torch.bool)
        trained[torch.from_numpy(self.experiment.data.split.train.user).long()] = True
        query = Query(users.where(trained[users], PAD), log, offsets[users], offsets[users + 1])
        scores_BI = self.model.score(query).clone()
        rows_BL = torch.arange(len(users))[:, None].expand_as(query.history)
        met_BL = query.history != PAD
        scores_BI[rows_BL[met_BL], query.history[met_BL]] = -torch.inf
        best_BK = scores_BI.topk(k)
        shown_BK = best_BK.values > -torch.inf
        rows = torch.arange(len(users))[:, None].expand_as(shown_BK)[shown_BK].numpy()
        return pl.DataFrame(
            {
                "user": self.users[users.numpy()][rows],
                "item": self.items[best_BK.indices[shown_BK].numpy()],
                "rank": (torch.arange(k).expand_as(shown_BK)[shown_BK] + 1).numpy(),
                "score": best_BK.values[shown_BK].numpy(),
            }
        )
