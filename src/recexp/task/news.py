"""New events, users and items for a run: read, joined to what it knew, and kept for the version that learns them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import polars as pl
from omegaconf import DictConfig, OmegaConf

from recexp.checks import FOLD_IN
from recexp.data.aligned import numbers, some
from recexp.data.base import prepare
from recexp.errors import RecexpError, nearest
from recexp.store import NEW_FEATURES, NEWS
from recexp.task import newcomers
from recexp.task.assemble import make
from recexp.task.newcomers import FILES, SIDES, Newcomers
from recexp.task.run import Run
from recexp.types import PAD, Dataset

TABLE, FILTERS = "recexp.data.table.Table", "recexp.data.filters.Filters"
EXTENDED = "recexp.data.extended.Extended"
NO_FEATURES: dict[str, str | None] = dict.fromkeys(SIDES)
ROLES = ("user", "item", "time", "weight", "rating", "label")


@dataclass(frozen=True)
class News:
    """What is known now.

    Attributes:
        data: the config of it all.
        events: all since the run was fitted, raw ids, in the order in which they became known.
        newcomers: users and items who came with features of their own.
        learned_from: hashes of all data that was learned from up to now, the newest by itself, and together with all.
        dataset: all events under the run's dense ids, new users and items behind.
        fresh: which of the dataset's events are new to the run, [N] bool.
        notes: what a person would want to know of it.
    """

    data: dict[str, Any]
    events: pl.DataFrame
    newcomers: Newcomers
    learned_from: Sequence[str]
    dataset: Dataset
    fresh: np.ndarray
    notes: Sequence[str]

    def without(self, held: np.ndarray) -> News:
        """The same but for some events, [N] bool."""
        dataset = replace(self.dataset, interactions=self.dataset.interactions[~held])
        return replace(self, dataset=dataset, fresh=self.fresh[~held])

    def touched(self, side: str) -> np.ndarray:
        """Dense ids of the users (items) with new events, ascending."""
        return np.unique(getattr(self.dataset.interactions, side)[self.fresh])


def read(config: DictConfig, run: Run) -> News:
    """Read `new` and `features`, and join them to what the run knew.

    Raises:
        RecexpError: a file is not as it should be, there is nothing new, or the run's data is not what it was.
    """
    saved = cast(dict[str, Any], OmegaConf.to_container(run.config.data, resolve=True))
    updated = saved["_target_"] == EXTENDED
    source = saved["source"] if updated else saved
    base: Dataset = _made(source).load()
    earlier = [_made(saved["new"]).rows()] if updated else []
    before = _made(saved).on(base, earlier[0])[0] if updated else base
    _refuse_other_data(run, before)
    came = newcomers.read(config, run, base, before, saved["new"]["features"] if updated else {})
    events, own = _events(config, run, source, base, came)
    whole = _stacked([*earlier, events])
    columns = {name: name for name in whole.columns}
    files = {side: NEW_FEATURES[side] if side in came.tables else None for side in SIDES}
    data = {"_target_": EXTENDED, "source": source, "new": _table(NEWS, columns, source, files)}
    dataset, row_N = _made(data).extend(base, whole, *(came.tables.get(side) for side in SIDES))
    fresh = row_N >= whole.height - events.height
    grown = (dataset.num_users, dataset.num_items) != (before.num_users, before.num_items)
    wanted = config.mode == FOLD_IN or config.new is not None
    if wanted and not (fresh.any() or grown or any(len(rows) for rows in came.filled.values())):
        _complain_of_nothing(config, run, _filters(source)["duplicates"], events.height)
    learned_from = [*run.facts.get("learned_from", [run.facts["data"]]), *own, dataset.sha256]
    notes = [*came.notes, *_notes(run, source, events.height - int(fresh.sum()), before, dataset)]
    return News(data, whole, came, learned_from, dataset, fresh, notes)


def _events(
    config: DictConfig, run: Run, source: Mapping[str, Any], base: Dataset, came: Newcomers
) -> tuple[pl.DataFrame, Sequence[str]]:
    """The events of `new` that count, and their hash; none where there is no `new`."""
    if config.new is None:
        time = {"time": pl.Int64} if base.timed else {}
        return pl.DataFrame(schema={"user": run.users.dtype, "item": run.items.dtype, **time, "weight": pl.Float32}), []
    table = _given(config, source, base)
    events = table.events()
    counting = _counting(config, table, events, base)
    _refuse_strangers(config, run, counting, came)
    return counting, _hash(table, events)


def _notes(run: Run, source: Mapping[str, Any], repeated: int, before: Dataset, after: Dataset) -> Iterator[str]:
    if repeated:
        yield f"{repeated:,} new events repeat another one: data.filters.duplicates={_filters(source)['duplicates']}"
    for was, now in ((before.users, after.users), (before.items, after.items)):
        if was.dtypes[0] != now.dtypes[0]:
            yield f"ids of {was.columns[0]}s are text from now on: {now.to_series(0)[-1]!r} is no number"
    if run.features is not None:
        yield from newcomers.nameless(run.features, before, after)


def _hash(table: Any, events: pl.DataFrame) -> list[str]:
    """Of the new events as a source of their own, where they are enough to be one."""
    label = "label" if table.label else None
    try:
        return [prepare("new", events, label, table.filters, *table.features.tables(None, None)).sha256]
    except RecexpError:
        return []


def _made(node: Mapping[str, Any]) -> Any:
    return make(OmegaConf.create(dict(node)))


def _filters(source: Mapping[str, Any]) -> dict[str, Any]:
    """What the run's data does to single events and pairs; users and items it has chosen already."""
    own = source.get("filters") or {"min_rating": None, "duplicates": "keep"}
    kept = {name: own[name] for name in ("min_rating", "duplicates")}
    return {"_target_": FILTERS, **kept, "half_life": None, "min_user": 0, "min_item": 0}


def _table(
    path: str, columns: Mapping[str, str | None], source: Mapping[str, Any], features: Mapping[str, str | None]
) -> dict[str, Any]:
    roles = {role: columns.get(role) for role in ROLES}
    whole = {"_target_": TABLE, "path": path, **roles, "filters": _filters(source)}
    return {**whole, "context": [], "features": {"_target_": FILES, **features}}  # circumstances are unknown


def _given(config: DictConfig, source: Mapping[str, Any], base: Dataset) -> Any:
    """`new` as a table.

    Raises:
        RecexpError: there is no such file or column.
    """
    found = _made(_table(config.new, {"user": "user", "item": "item"}, source, NO_FEATURES)).columns()
    return _made(_table(config.new, _columns(config, source, base.timed, found), source, NO_FEATURES))


def _counting(config: DictConfig, table: Any, events: pl.DataFrame, base: Dataset) -> pl.DataFrame:
    """The events of `new` that count, in order of time: user, item, weight, and time and label where the data has them.

    Raises:
        RecexpError: there is none.
    """
    events = table.filters.rated(events)
    if events.is_empty():
        raise RecexpError(f"new={config.new}: there are no events in it (data.filters.min_rating was applied).")
    if "weight" not in events.columns:
        events = events.with_columns(weight=pl.lit(1.0, pl.Float32))
    kept = ["user", "item", *(["time"] if base.timed else []), "weight", *(["label"] if table.label else [])]
    return events.select(kept)


def _columns(config: DictConfig, source: Mapping[str, Any], timed: bool, found: Sequence[str]) -> dict[str, str | None]:
    """Which column of the new events is what."""
    own_table = source["_target_"] == TABLE
    names = {role: source.get(role) for role in ROLES} if own_table else {}
    usual = {role: role for role in ("user", "item", "time", "weight") if role in ("user", "item") or role in found}
    columns: dict[str, str | None] = names if own_table else {**usual, "label": source.get("label")}
    if _filters(source)["min_rating"] is None:
        columns = {**columns, "rating": None}
    elif not (columns.get("rating") or columns.get("label")):
        columns = {**columns, "rating": "rating"}
    columns = {role: config.columns.get(role) or columns.get(role) for role in ROLES}
    if timed and columns["time"] is None:
        columns["time"] = "time"
    for role, column in columns.items():
        _refuse_unless_among(found, role, column, config.new)
    return columns


def _refuse_unless_among(found: Sequence[str], role: str, column: str | None, path: str) -> None:
    if column is not None and column not in found:
        like = nearest(str(column), found)
        raise RecexpError(
            f"{path} has no column {column!r} (columns.{role}={column}); it has: {', '.join(like)}. "
            f"Type columns.{role}={like[0]}, or another one."
        )


def _stacked(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The events of all parts, one below the other; ids as text where some are."""
    kinds = {side: {part[side].dtype for part in parts} for side in ("user", "item")}
    texts = [pl.col(side).cast(pl.String) for side in kinds if len(kinds[side]) > 1]
    stacked = pl.concat([part.with_columns(texts) for part in parts], how="diagonal")
    return stacked.with_columns(pl.col("label").fill_null(1.0)) if "label" in stacked.columns else stacked


def _refuse_strangers(config: DictConfig, run: Run, events: pl.DataFrame, came: Newcomers) -> None:
    known = {"user": [run.users, came.ids("users")], "item": [run.items, came.ids("items")]}
    if all((numbers(events[side], ids) == PAD).all() for side, both in known.items() for ids in both):
        raise RecexpError(
            f"new={config.new}: {run.path} knows none of its users, such as {some(events['user'])}, and none of its "
            f"items, such as {some(events['item'])}; those that it knows are like {some(run.users)} and "
            f"{some(run.items)}. Name the columns of its ids as columns.user=…, columns.item=…, or add events of "
            "somebody or something known."
        )


def _complain_of_nothing(config: DictConfig, run: Run, duplicates: str, num_events: int) -> None:
    if config.new is None:
        raise RecexpError(f"features: {run.path} knows all these users and items. Give others, or type new=FILE.")
    raise RecexpError(
        f"new={config.new}: {run.path} knows all of its {num_events:,} events already, and "
        f"data.filters.duplicates={duplicates}. Type new=FILE, one with newer events."
    )


def _refuse_other_data(run: Run, dataset: Dataset) -> None:
    if dataset.sha256 != run.facts.get("data"):
        raise RecexpError(
            f"the data of {run.path} is not what it was when the model was fitted (its hash is {dataset.sha256[:12]}…, "
            f"not {str(run.facts.get('data'))[:12]}…); an update goes on from that. Put the file back as it was, "
            "or train a new run."
        )
