"""The drift report: what an update changed, and whether the newest interactions are met better than before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from omegaconf import DictConfig
from rich.table import Table
from torch import Tensor

from recexp.data.aligned import numbers
from recexp.errors import RecexpError
from recexp.eval.protocol import Evaluation, Full
from recexp.eval.segments import Segments
from recexp.model.base import Recommender
from recexp.task import show
from recexp.task.news import News
from recexp.task.served import Served, best, place
from recexp.task.ways import Update, Way, refit
from recexp.types import Holdout, Interactions, Log, Query, Split

SEED = 0
"""Of who is asked, so that two updates of the same events ask the same users."""


class Narrow(Recommender):
    """A model among more items than it knows: those come after all others.

    Args:
        num_items: of the wider catalogue.
    """

    def __init__(self, model: Served, num_known: int, num_items: int) -> None:
        super().__init__()
        self.model, self.num_known, self.num_items = model, num_known, num_items

    def score(self, query: Query, items: Tensor | None = None) -> Tensor:
        """Of all items; histories hold none that the model does not know."""
        scores_BI = self.model.score(query).float()
        unknown = scores_BI.new_full((len(query), self.num_items - self.num_known), -torch.inf)
        return torch.cat([scores_BI, unknown], dim=1)


def before(update: Update, news: News) -> Narrow:
    """The version before, as it serves now."""
    run = update.run
    served = Served(run.model, torch.from_numpy(run.trained))
    return Narrow(served, len(run.items), news.dataset.num_items)


def rows_touched(update: Update, news: News) -> dict[str, int]:
    """How many users and items have new events, and how many are new themselves."""
    users, items = news.touched("user"), news.touched("item")
    return {
        "events": int(news.fresh.sum()),
        "users": len(users),
        "new_users": news.dataset.num_users - len(update.run.users),
        "items": len(items),
        "new_items": news.dataset.num_items - len(update.run.items),
    }


Ids = tuple[pl.Series, pl.Series]
"""Raw ids of one side, before and after; the row is the dense id."""


def change(sides: Sequence[Ids], old: Recommender, new: Recommender) -> dict[str, dict[str, float]]:
    """|new - old| / |old| of the rows of the same ids, mean and max, for each tensor with a row per user or item."""
    found, after = {}, new.state_dict()
    for name, was in old.state_dict().items():
        now = after[name]
        for ids, new_ids in sides:
            if was.shape[:1] == (len(ids),) and now.shape == (len(new_ids), *was.shape[1:]):
                moved_R = moved(was.cpu(), now.cpu()[numbers(ids, new_ids)])
                if len(moved_R):
                    found[name] = {"mean": float(moved_R.mean()), "max": float(moved_R.max())}
                break
    return found


def moved(was: Tensor, now: Tensor) -> Tensor:
    """How far each row went, by its size before; rows that were zero are left out."""
    was_RD, now_RD = (t.float().flatten(1) if t.dim() > 1 else t.float()[:, None] for t in (was, now))
    size_R = was_RD.norm(dim=1)
    return ((now_RD - was_RD).norm(dim=1) / size_R)[size_R > 0]


def newest(update: Update, news: News, way: Way) -> dict[str, Any]:
    """Ask for each touched user's last new event: the version before, and the model updated without those events.

    Others' later events are known to the updated model, as they are when one event of each user is held out.
    """
    held = last_of_each(news)
    target, smaller = news.dataset.interactions[held], news.without(held)
    kept = smaller.dataset.interactions
    split = Split(kept, None, Holdout(kept, target))
    protocol = full(update.config)
    known = kept[kept.item < len(update.run.items)]
    try:
        questions = protocol.on(split, split.test, news.dataset, SEED)
    except RecexpError:
        return {"users": 0}  # all of them repeat what their user had met
    same = target[np.isin(target.user, questions.users)]  # the version before has not met what it does not know
    narrow = protocol.on(split, Holdout(known, same), news.dataset, SEED)
    answers = {
        "before": asked(narrow, before(update, news), update.config),
        "after": asked(questions, way(update, smaller).served, update.config),
    }
    return {"users": len(questions.users), "hash": questions.sha256, **answers}


def last_of_each(news: News) -> np.ndarray:
    """Each touched user's last new event, [N] bool."""
    rows = np.flatnonzero(news.fresh)
    user = news.dataset.interactions.user[rows]
    held = np.zeros(len(news.fresh), bool)
    held[rows[np.append(user[1:] != user[:-1], [True])[: len(rows)]]] = True
    return held


def full(config: DictConfig) -> Full:
    """All items are ranked."""
    seen = config.eval.get("seen", "exclude")
    segments = Segments(0.2, 5)
    return Full("newest", [config.k], ["hr", "ndcg"], "expected", seen, config.eval.batch_size, segments)


def asked(evaluation: Evaluation, model: Recommender, config: DictConfig) -> dict[str, float]:
    """The metrics of one model."""
    device = place(config)
    model = model.to(device)
    chunks = torch.arange(len(evaluation.users)).split(config.eval.batch_size)
    for rows in show.tracked(chunks, "asking for the newest events"):
        evaluation.update(model.score, rows, device)
    return evaluation.result().metrics


def overlap(lists: pl.DataFrame, others: pl.DataFrame) -> float | None:
    """The share of the first lists' items that are in the other lists too."""
    return lists.join(others, on=["user", "item"]).height / lists.height if lists.height else None


def lists(model: Recommender, events: Interactions, users: np.ndarray, config: DictConfig) -> pl.DataFrame:
    """The k best unseen items of some users: user, item."""
    offsets = torch.from_numpy(events.offsets(int(users.max(initial=0)) + 1))
    dense = torch.from_numpy(users.astype(np.int64))
    device, size = place(config), config.eval.batch_size
    model = model.to(device)
    query = Query(dense, Log.of(events), offsets[dense], offsets[dense + 1]).to(device)
    starts = show.tracked(range(0, len(users), size), "comparing lists")
    parts = [best(model, query, slice(start, start + size), config.k) for start in starts]
    if not parts:
        return pl.DataFrame(schema={"user": pl.Int64, "item": pl.Int64})
    found = pl.concat(parts)
    return found.select(user=pl.Series(users)[found["row"]].cast(pl.Int64), item="item")


def overlaps(update: Update, news: News, after: Served, refitted: Served | None) -> dict[str, Any]:
    """How much of users' lists stays, and how much of it a full refit would give."""
    events, num_known = news.dataset.interactions, len(update.run.items)
    touched = news.touched("user")
    known = touched[touched < len(update.run.users)]
    others = np.setdiff1d(np.arange(len(update.run.users)), touched)
    groups = {"touched": sample(known, update.config), "others": sample(others, update.config)}
    was, narrow = events[events.item < num_known], before(update, news)
    found: dict[str, Any] = {"k": update.config.k}
    for name, users in groups.items():
        now = lists(after, events, users, update.config)
        found[name] = {"users": len(users), "before": overlap(lists(narrow, was, users, update.config), now)}
        if refitted is not None:
            found[name]["refit"] = overlap(lists(refitted, events, users, update.config), now)
    return found


def sample(users: np.ndarray, config: DictConfig) -> np.ndarray:
    """At most so many of them, drawn from the seed."""
    drawn = np.random.default_rng(config.seed).permutation(len(users))[: config.sample]
    return np.sort(users[drawn])


def report(update: Update, news: News, after: Served, way: Way) -> dict[str, Any]:
    """All but the newest events' metrics."""
    refitted = refit(update, news).served if update.config.compare_refit and way is not refit else None
    run, dataset = update.run, news.dataset
    sides = (run.users, dataset.users["user"]), (run.items, dataset.items["item"])
    return {
        "mode": update.config.mode,
        "rows": rows_touched(update, news),
        "change": change(sides, run.model, after.model),
        "overlap": overlaps(update, news, after, refitted),
    }


def metrics(found: Mapping[str, Any]) -> dict[str, float]:
    """What of a report belongs into `metrics.json`."""
    answers = {"newest/before": found["newest"].get("before", {}), "newest": found["newest"].get("after", {})}
    return {f"{part}/{name}": value for part, values in answers.items() for name, value in values.items()}


def table(found: Mapping[str, Any]) -> Table:
    """The report as a person reads it."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("drift", "", ""):
        shown.add_column(column, justify="left" if column else "right")
    rows, k = found["rows"], found["overlap"]["k"]
    shown.add_row("new events", f"{rows['events']:,}")
    for side in ("users", "items"):
        shown.add_row(f"{side} touched", f"{rows[side]:,}", f"{rows[f'new_{side}']:,} new")
    for name, moved in found["change"].items():
        if moved["max"]:
            shown.add_row(f"change of {name}", f"{moved['mean']:.1%}", f"{moved['max']:.1%} at most")
    for name in ("touched", "others"):
        for other, share in found["overlap"][name].items():
            if other != "users" and share is not None:
                shown.add_row(f"top {k} as {WORDS[other]}", f"{share:.1%}", f"{name} users")
    was, now = (found["newest"].get(part, {}) for part in ("before", "after"))
    for name in now:
        shown.add_row(f"{name} of the newest", f"{now[name]:.4f}", f"{was[name]:.4f} before")
    return shown


WORDS = {"before": "before", "refit": "a refit's"}
"""What lists are compared with."""
