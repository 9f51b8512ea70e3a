"""Other data under the ids of a fitted model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from recexp.data.module import Source
from recexp.errors import RecexpError
from recexp.types import PAD, Dataset, Interactions


@dataclass
class Aligned:
    """A source whose users and items get the dense ids that a model knows them by.

    Events with items that the model does not know are left out; users that it does not know get numbers behind those
    of its own.

    Args:
        source: the data.
        users, items: raw ids of the model's, the row being the dense id.
        sha256: of the data that the model was fitted on; that is taken as it is.

    Attributes:
        notes: what of the loaded data the model does not know.
    """

    source: Source
    users: pl.Series
    items: pl.Series
    sha256: str
    notes: list[str] = field(init=False, default_factory=list)

    def load(self) -> Dataset:
        """The data, renumbered.

        Raises:
            RecexpError: the model knows none of the items.
        """
        dataset = self.source.load()
        if dataset.sha256 == self.sha256:
            return dataset
        item_I = numbers(dataset.items["item"], self.items)
        if (item_I == PAD).all():
            raise RecexpError(
                f"data={dataset.name}: the model knows none of its {dataset.num_items:,} items, which look like "
                f"{some(dataset.items['item'])}; those of the model look like {some(self.items)}."
            )
        user_U = numbers(dataset.users["user"], self.users)
        self.notes = list(_strangers(dataset, user_U, item_I))
        return self._renumbered(_without_context(dataset), user_U, item_I)

    def _renumbered(self, dataset: Dataset, user_U: np.ndarray, item_I: np.ndarray) -> Dataset:
        new = user_U == PAD
        users = _extended(self.users, dataset.users.filter(pl.Series(new)))
        user_U = np.where(new, len(self.users) + np.cumsum(new) - 1, user_U)
        events = dataset.interactions
        events = replace(events, user=user_U[events.user].astype(np.int32), item=item_I[events.item].astype(np.int32))
        rows = np.lexsort((events.time, events.user))
        rows = rows[events.item[rows] != PAD]
        return replace(
            dataset,
            interactions=Interactions(*(getattr(events, name)[rows] for name in vars(events))),
            users=_with_features(users, dataset.users),
            items=_with_features(self.items.rename("item"), dataset.items),
            part=None if dataset.part is None else dataset.part[rows],
            negatives=None if dataset.negatives is None else _moved(dataset.negatives, user_U, item_I, len(users)),
        )


def numbers(raw: pl.Series, known: pl.Series) -> np.ndarray:
    """The row of each raw id among the known ones, PAD where it is not; 7 and "7" are the same id, [N] int64."""
    table = pl.DataFrame({"id": known.cast(pl.String), "row": np.arange(len(known))})
    asked = pl.DataFrame({"id": raw.cast(pl.String)})
    return asked.join(table, on="id", how="left", maintain_order="left")["row"].fill_null(PAD).to_numpy(writable=True)


def _strangers(dataset: Dataset, user_U: np.ndarray, item_I: np.ndarray) -> Iterator[str]:
    unknown = int((item_I[dataset.interactions.item] == PAD).sum())
    if unknown:
        yield (
            f"{unknown:,} of {len(dataset.interactions):,} events are with {int((item_I == PAD).sum()):,} items "
            "that the model does not know: left out"
        )
    if dataset.context:
        yield f"{', '.join(dataset.context)} of other data have other codes: taken for unknown"
    if new := int((user_U == PAD).sum()):
        yield f"{new:,} of {dataset.num_users:,} users are unknown to the model: known by their history alone"


def _without_context(dataset: Dataset) -> Dataset:
    unknown = np.full_like(dataset.interactions.context, PAD)
    return replace(dataset, interactions=replace(dataset.interactions, context=unknown))


def _extended(users: pl.Series, more: pl.DataFrame) -> pl.Series:
    kind = users.dtype if users.dtype == more["user"].dtype else pl.String
    return pl.concat([users.cast(kind), more["user"].cast(kind)]).rename("user")


def _with_features(ids: pl.Series, features: pl.DataFrame) -> pl.DataFrame:
    key = pl.col(ids.name).cast(pl.String).alias("_key")
    wanted, there = ids.to_frame().with_columns(key), features.with_columns(key).drop(ids.name)
    return wanted.join(there, on="_key", how="left", maintain_order="left").drop("_key")


def _moved(negatives: np.ndarray, user_U: np.ndarray, item_I: np.ndarray, num_users: int) -> np.ndarray:
    moved = np.full((num_users, negatives.shape[1]), PAD, np.int32)
    moved[user_U] = np.append(item_I, PAD)[negatives]  # PAD is the last place
    return moved


def some(ids: pl.Series) -> str:
    """The first few, for a message."""
    return ", ".join(str(raw) for raw in ids.head(3))
