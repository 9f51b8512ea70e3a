"""What models may know of users and items besides ids: vocabularies and statistics of feature tables, from train."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from recexp.data.columns import CATEGORIES, CATEGORY, TEXT, Column, Lists, Scaled, Tokens, Vector, check_kind, plain
from recexp.data.neighbours import NEIGHBOURS, neighbours
from recexp.data.rows import joined, nothing, picked
from recexp.data.text import tokenizer
from recexp.data.vocabulary import Vocabulary
from recexp.errors import RecexpError, nearest
from recexp.types import PAD, Bags, Columns, Dataset, Features, Interactions

ID, POPULARITY = "id", "popularity"
DERIVED = {"users": {ID: "the id"}, "items": {ID: "the id", POPULARITY: "the events in train"}}
NOBODY = np.empty(0, np.int64)
TRAIN, HASHED = VOCABULARIES = ("train", "hashed")


@dataclass(frozen=True)
class Encoder:
    """Turns feature tables into bags of tokens and standardized numbers; all it learns is of train.

    Text and texts are categories unless named as text; lists of texts are several categories; numbers are numbers;
    lists of numbers are vectors learned elsewhere.

    Args:
        users, items: columns of the data's tables; null: the id and all there are. Beside them there are `id`;
            `popularity` of items, log(1 + train events), unknown where there are none; `neighbours` of users, the items
            in train of the other users whose ids the column `neighbours` lists.
        text: columns of either table that are text, where they exist.
        categories: columns of numbers that are categories, where they exist.
        tokens: what a text is cut into, `words` or `trigrams`.
        vocabulary: of text, `train` (its most frequent tokens) or `hashed` (any token, into `max_size` places).
        min_count: rows of train that must hold a token or category for it to count; 1 for `hashed`.
        max_size: largest vocabulary of a column [count].
    Raises:
        RecexpError: a column does not exist, cannot be read or is named as one beside them; an option does not exist.
    """

    users: Sequence[str] | None
    items: Sequence[str] | None
    text: Sequence[str]
    categories: Sequence[str]
    tokens: str
    vocabulary: str
    min_count: int
    max_size: int

    def __post_init__(self) -> None:
        tokenizer(self.tokens)
        if self.vocabulary not in VOCABULARIES:
            allowed = nearest(self.vocabulary, VOCABULARIES)
            raise RecexpError(
                f"model.features.vocabulary={self.vocabulary} is unknown; allowed: {', '.join(allowed)}. "
                f"Type model.features.vocabulary={allowed[0]}"
            )

    def __call__(self, dataset: Dataset, train: Interactions) -> Features:
        """Features of every user and item of the dataset."""
        return self.encode(self.fit(dataset, train), dataset, train)

    def encode(self, fitted: Vocabulary, dataset: Dataset, train: Interactions) -> Features:
        """The same with a vocabulary that is there."""
        users, items = self._chosen("users", dataset.users), self._chosen("items", dataset.items)
        return Features(
            _encoded(users, dataset.users, fitted.users, train.user, self._extra_users(users, dataset, train)),
            _encoded(items, dataset.items, fitted.items, train.item, _extra_items(items, dataset, train)),
            dataset.num_users,
            dataset.num_items,
            _circumstances(dataset, train),
            {} if ID in items else _encoded([ID], dataset.items, {}, train.item, {}),
        )

    def encode_more(
        self, features: Features, fitted: Vocabulary, dataset: Dataset, again: Mapping[str, np.ndarray]
    ) -> Features:
        """The features with a row for each user and item that came later, behind those of before, which stay.

        Nothing is learned of those who came: what train has not seen is unknown of them, and they have no id.

        Args:
            again: dense ids of before, by side, of whom the tables say something only now.
        """
        met = {name: neighbours(dataset, dataset.interactions, one.size) for name, one in _named(features.users)}
        return replace(
            features,
            users=_more(features.users, fitted.users, dataset.users, again.get("users", NOBODY), met),
            items=_more(features.items, fitted.items, dataset.items, again.get("items", NOBODY), {}),
            events=_more(features.events, {}, dataset.items, NOBODY, {}),
            num_users=dataset.num_users,
            num_items=dataset.num_items,
        )

    def learned(self, table: pl.DataFrame) -> Vocabulary:
        """What `fit` learned, from the table that it made of it."""
        return Vocabulary.of(table, lambda kind: {TEXT: self._cutter(), CATEGORY: _alone, CATEGORIES: _same}[kind])

    def fit(self, dataset: Dataset, train: Interactions) -> Vocabulary:
        """The columns, their vocabularies and statistics learned from the users and items of train."""
        sides = (("users", dataset.users, train.user), ("items", dataset.items, train.item))
        fitted = [self._fitted(self._chosen(side, table), table, _there(ids, table)) for side, table, ids in sides]
        return Vocabulary(*fitted)

    def _chosen(self, side: str, table: pl.DataFrame) -> list[str]:
        wanted = getattr(self, side)
        there = [ID, *table.columns[1:]]
        _refuse_twice(side, [name for name in table.columns[1:] if wanted is None or name in wanted])
        if wanted is None:
            return there
        for column in wanted:
            if column not in (*there, *DERIVED[side]):
                allowed = nearest(column, dict.fromkeys([*there, *DERIVED[side]]))
                raise RecexpError(
                    f"model.features.{side}: the data has no column {column!r}; it has: {', '.join(allowed)}. "
                    f"Type 'model.features.{side}=[{','.join(c if c != column else allowed[0] for c in wanted)}]'"
                )
        return list(wanted)

    def _fitted(self, chosen: list[str], table: pl.DataFrame, in_train: np.ndarray) -> dict[str, Column]:
        own = {*table.columns[1:]} - ({NEIGHBOURS} if table.columns[0] == "user" else set())
        return {name: self._column(name, table, in_train) for name in chosen if name in own}

    def _column(self, name: str, table: pl.DataFrame, in_train: np.ndarray) -> Column:
        ids, values = table.to_series(0), plain(table[name])
        check_kind(values, ids.name)
        if isinstance(values.dtype, pl.List):
            if values.dtype.inner.is_numeric():
                return Vector.learn(values, ids)
            return Tokens.learn(values, in_train, _same, CATEGORIES, self.min_count, self.max_size)
        if name in self.text:
            count = 1 if self.vocabulary == HASHED else self.min_count
            return Tokens.learn(values, in_train, self._cutter(), TEXT, count, self.max_size)
        if values.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean) or name in self.categories:
            return Tokens.learn(values, in_train, _alone, CATEGORY, self.min_count, self.max_size)
        return Scaled.learn(values, in_train)

    def _cutter(self) -> Lists:
        cut = tokenizer(self.tokens)
        return cut if self.vocabulary == TRAIN else lambda texts: _hashed(cut(texts), self.max_size)

    def _extra_users(self, chosen: list[str], dataset: Dataset, train: Interactions) -> Columns:
        return {NEIGHBOURS: neighbours(dataset, train, dataset.num_items)} if NEIGHBOURS in chosen else {}


def _refuse_twice(side: str, own: list[str]) -> None:
    for name in own:
        if name in DERIVED[side]:
            raise RecexpError(
                f"the table of {side} has a column {name!r}, and model.features.{side} calls {DERIVED[side][name]} so. "
                "Give that of the table another name."
            )


def _circumstances(dataset: Dataset, train: Interactions) -> Columns:
    """The values of each circumstance, known where train has them."""
    columns = {}
    for place, (name, values) in enumerate(dataset.context.items()):
        known = np.isin(np.arange(len(values)), train.context[:, place])
        columns[name] = Bags.single(np.where(known, np.arange(len(values)), PAD), len(values))
    return columns


def _same(lists: pl.Series) -> pl.Series:
    return lists


def _alone(values: pl.Series) -> pl.Series:
    """Each value as the only one of its list, null as an empty list; 7.0 is 7."""
    texts = values.cast(pl.String)
    if values.dtype.is_float():
        whole = values.cast(pl.Int64, strict=False)
        texts = pl.select(pl.when(whole == values).then(whole.cast(pl.String)).otherwise(texts)).to_series()
    return pl.select(pl.when(texts.is_not_null()).then(pl.concat_list(texts)).otherwise([])).to_series()


def _hashed(lists: pl.Series, size: int) -> pl.Series:
    """Tokens as the numbers of their places, the same on every machine."""
    tokens = lists.explode().drop_nulls().unique()
    places = [str(zlib.crc32(token.encode()) % size) for token in tokens]
    return lists.list.eval(pl.element().replace_strict(tokens.to_list(), places)) if len(tokens) else lists


def _there(ids: np.ndarray, table: pl.DataFrame) -> np.ndarray:
    return np.bincount(ids, minlength=table.height) > 0


def _encoded(
    chosen: list[str], table: pl.DataFrame, fitted: Mapping[str, Column], ids: np.ndarray, extra: Columns
) -> Columns:
    known = np.where(_there(ids, table), np.arange(table.height), PAD)
    more: Columns = {ID: Bags.single(known, table.height), **extra}
    return {name: more[name] if name in more else fitted[name].encode(plain(table[name])) for name in chosen}


def _more(
    before: Columns, fitted: Mapping[str, Column], table: pl.DataFrame, again_A: np.ndarray, met: Columns
) -> Columns:
    """The columns with all rows of a table; of those of before, some as the table has them now."""
    columns = {}
    for name, one in before.items():
        new_R = np.arange(len(one), table.height)
        if name not in fitted and name not in met:
            columns[name] = joined(one, nothing(one, len(new_R)))
            continue
        rows_R = np.append(again_A, new_R)
        more = fitted[name].encode(plain(table[name])[rows_R]) if name in fitted else picked(met[name], rows_R)
        order = np.arange(table.height)
        order[rows_R] = len(one) + np.arange(len(rows_R))
        columns[name] = picked(joined(one, more), order)
    return columns


def _named(users: Columns) -> Iterator[tuple[str, Bags]]:
    """The column of what neighbours met, where there is one."""
    return ((name, one) for name, one in users.items() if name == NEIGHBOURS and isinstance(one, Bags))


def _extra_items(chosen: list[str], dataset: Dataset, train: Interactions) -> Columns:
    if POPULARITY not in chosen:
        return {}
    events = pl.Series(np.bincount(train.item, minlength=dataset.num_items))
    popularity = pl.select(pl.when(events > 0).then(events.log1p())).to_series()
    return {POPULARITY: Scaled.learn(popularity, _there(train.item, dataset.items)).encode(popularity)}
