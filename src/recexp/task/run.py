"""A finished run, as Python and the later tasks see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from omegaconf import DictConfig
from torch import Tensor

from recexp.checks import trusted
from recexp.data.aligned import Aligned, numbers
from recexp.data.vocabulary import Vocabulary
from recexp.errors import RecexpError, nearest
from recexp.model.base import Recommender
from recexp.store import Folder, in_use
from recexp.task import show
from recexp.task.assemble import Experiment, make, new_model
from recexp.task.served import Served, best, known, place
from recexp.types import PAD, Features, Log, Query

LISTS = {"row": pl.Int64, "item": pl.Int64, "rank": pl.Int64, "score": pl.Float32}
"""Columns of the lists that answer some rows of a query."""


class Run:
    """A run folder: its config, its metrics, its model.

    Args:
        path: the folder that a run printed as its last line; of an updated run, the version in use is meant.
        config: the run's own unless something was changed on top of it.
    """

    def __init__(self, path: Path | str, config: DictConfig | None = None) -> None:
        self.folder = Folder(in_use(path))
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
    def _ids(self) -> tuple[pl.Series, pl.Series, pl.Series]:
        if "parent" in self.facts and not (self.path / "ids.parquet").exists():
            raise RecexpError(
                f"{self.path} holds what task={self.facts.get('task')} found of another run, and no model. "
                f"Type run={self.folder.config().get('run')}."
            )
        return self.folder.ids()

    @property
    def users(self) -> pl.Series:
        """Raw user ids; the row is the dense id."""
        return self._ids[0]

    @property
    def items(self) -> pl.Series:
        """Raw item ids; the row is the dense id."""
        return self._ids[2]

    @property
    def trained(self) -> np.ndarray:
        """Whether training saw the user, [U] bool."""
        return np.array(self._ids[1])

    @cached_property
    def model(self) -> Recommender:
        """The fitted model, ready to score dense ids."""
        model = new_model(self.config, len(self.users), len(self.items), self.features)
        model.load_state_dict(self.folder.weights())
        return model.eval()

    @cached_property
    def features(self) -> Features | None:
        """What the model knows of users and items, where it looks at features."""
        flat = self.folder.features()
        return Features.of(flat) if flat else None

    @cached_property
    def encoder(self) -> Any:
        """What makes features of tables, where the model looks at them."""
        return make(self.config.model.features)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What the encoder learned from train.

        Raises:
            RecexpError: it was not kept.
        """
        table = self.folder.vocabulary()
        if table is None:
            raise RecexpError(
                f"{self.path} has no vocabulary.parquet: it was fitted before recexp kept what features were learned "
                "with. Type mode=refit, or fit it again."
            )
        vocabulary: Vocabulary = self.encoder.learned(table)
        return vocabulary

    @cached_property
    def served(self) -> Served:
        """The fitted model, ready to score anybody, on the device of the config where there is one."""
        return Served(self.model, torch.from_numpy(self.trained)).to(place(self.config))

    @cached_property
    def answers(self) -> Callable[[Query, slice, int], pl.DataFrame]:
        """Who makes the lists of some rows of a query; `exported.answers` knows others than the model."""
        return partial(best, self.served)

    def known(self, query: Query) -> Query:
        """The query with users that training never saw as what they are: unknown."""
        return known(query, torch.from_numpy(np.append(self.trained, [False])))

    @cached_property
    def _source(self) -> Aligned:
        return Aligned(make(self.config.data), self.users, self.items, self.facts.get("data", ""))

    @cached_property
    def experiment(self) -> Experiment:
        """The config's data under the run's ids, its split and its protocol."""
        return Experiment(self.config, self._source)

    @cached_property
    def tested(self) -> Experiment:
        """The experiment as it was when it was tested: after a refit, validation is training."""
        refitted = self.folder.config().get("refit")
        return self.experiment.with_validation_in_train() if refitted else self.experiment

    @property
    def strangers(self) -> list[str]:
        """What of the loaded data the model does not know."""
        return self._source.notes

    def recommend(
        self, users: Sequence[Any] | None = None, k: int = 10, context: Mapping[str, Any] | None = None
    ) -> pl.DataFrame:
        """The k best items that each user has not met yet, fewer where a user has met the others.

        Args:
            users: raw ids; None: everybody in the data.
            k: items for each user [count].
            context: the circumstances in which they ask, by column; those not named are unknown.
        Returns:
            columns user, item, rank, score; ids as they are in the data.
        Raises:
            RecexpError: a user or a circumstance is unknown, or the data has fewer than k items.
        """
        self.refuse_unless_listable(k)
        if users is not None:
            _refuse_unless_list(users, "users", "[1, 2]")
        dataset = self.experiment.data.dataset
        raw = dataset.users["user"]
        dense = torch.arange(len(raw)) if users is None else _dense(users, raw, "user")
        offsets = torch.from_numpy(dataset.interactions.offsets(dataset.num_users))
        asked = self._circumstances(context, len(dense))
        query = Query(dense, Log.of(dataset.interactions), offsets[dense], offsets[dense + 1], context=asked)
        return self._best(query, raw[dense.numpy()], k)

    def recommend_for(
        self, histories: Sequence[Sequence[Any]], k: int = 10, context: Mapping[str, Any] | None = None
    ) -> pl.DataFrame:
        """The k best items for people of whom nothing is known but what they did.

        Args:
            histories: raw ids of items, oldest first, one list for each person; they may be empty.
            k: items for each of them [count].
            context: the circumstances in which they ask, by column; those not named are unknown.
        Returns:
            columns user (the number of the history, from 0), item, rank, score.
        Raises:
            RecexpError: an item or a circumstance is unknown, or there are fewer than k items.
        """
        self.refuse_unless_listable(k)
        for history in _refuse_unless_list(histories, "histories", "[[10, 20], []]"):
            _refuse_unless_list(history, "a history", "[[10, 20], []], a list for each person")
        dense = self._numbered([item for history in histories for item in history])
        places = iter(dense)
        query = Query.from_histories([[next(places) for _ in history] for history in histories])
        query = replace(query, context=self._circumstances(context, len(histories)))
        return self._best(query, pl.Series("user", range(len(histories)), pl.Int64), k)

    def _circumstances(self, given: Mapping[str, Any] | None, rows: int) -> Tensor | None:
        """The same for all rows, [Q, F] codes, PAD where unknown; None where nothing is given."""
        if given is None:
            return None
        dataset = self.experiment.data.dataset
        if dataset.sha256 != self.facts.get("data"):
            raise RecexpError("context=…: the circumstances of other data have other codes. Drop it, or data=….")
        known = dataset.context
        if not isinstance(given, Mapping):
            raise RecexpError(f"context={given}: expected '{{COLUMN: VALUE}}', of {', '.join(known) or 'no column'}.")
        for name in given:
            _refuse_unless_among(known, name, f"context.{name}")
        if self.features is None or not self.features.context:
            raise RecexpError(f"context=…: {type(self.model).__name__} heeds no circumstances. Drop it.")
        codes_F = [_code(name, given.get(name), values) for name, values in known.items()]
        return torch.tensor(codes_F).repeat(rows, 1)

    @cached_property
    def _item_rows(self) -> dict[str, int]:
        """Dense ids by raw ones: a single person does not wait for a join with the whole catalogue."""
        return {raw: row for row, raw in enumerate(self.items.cast(pl.String))}

    def _numbered(self, raw: Sequence[Any]) -> list[int]:
        found = [self._item_rows.get(str(one), PAD) for one in raw]
        return _dense(raw, self.items, "item").tolist() if PAD in found else found  # complains

    def refuse_unless_listable(self, k: int) -> None:
        """Raises: RecexpError where there are fewer than k items."""
        if not 1 <= k <= len(self.items):
            raise RecexpError(f"k={k}: there are {len(self.items)} items; k is from 1 to {len(self.items)}.")

    def _best(self, query: Query, names: pl.Series, k: int) -> pl.DataFrame:
        """The lists of a query's rows, under the rows' names."""
        size = self.experiment.protocol.batch_size
        query = query.to(self.served.trained.device)
        starts = show.tracked(range(0, len(query), size), "recommending")
        parts = [self.answers(query, slice(start, start + size), k) for start in starts]
        lists = pl.concat(parts or [pl.DataFrame(schema=LISTS)])
        user, item = names[lists["row"]].alias("user"), self.items[lists["item"]].alias("item")
        return lists.select(user, item, "rank", "score")


def _refuse_unless_list(given: Any, what: str, example: str) -> Any:
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise RecexpError(f"{what} should be a list, such as {example}; found {given!r}.")
    return given


def _code(name: str, value: Any, known: Sequence[str]) -> int:
    """The place of a value among those of the data, which wrote them as text; PAD for None."""
    if value is None:
        return PAD
    number = isinstance(value, int | float) and not isinstance(value, bool)
    texts = [str(pl.Series([one]).cast(pl.String)[0]) for one in ([int(value), float(value)] if number else [value])]
    found = [text for text in texts if text in known]
    _refuse_unless_among(known, (found or texts)[0], f"context.{name}={value}")
    return list(known).index(found[0])


def _refuse_unless_among(known: Collection[str], name: str, typed: str) -> None:
    if name not in known:
        like = nearest(name, known)
        raise RecexpError(f"{typed}: the data has no such circumstance; allowed: {', '.join(like[:12]) or 'none'}.")


def _dense(raw: Sequence[Any], known: pl.Series, side: str) -> Tensor:
    """Dense ids.

    Raises:
        RecexpError: one is not among those known.
    """
    texts = pl.Series(side, [str(one) for one in raw], pl.String)
    dense = numbers(texts, known)
    if (dense == PAD).any():
        stranger = texts[int((dense == PAD).argmax())]
        like = ", ".join(nearest(stranger, known.head(10_000).cast(pl.String))[:3])
        raise RecexpError(f"{side} {stranger} is not in this run's data; known ids look like {like}.")
    return torch.from_numpy(dense)
