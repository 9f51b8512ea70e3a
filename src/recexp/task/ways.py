"""The ways of an update: what a run's model becomes with the events that are known now."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from recexp.checks import MODES
from recexp.data.module import DataModule
from recexp.errors import RecexpError
from recexp.model.base import Growable, Recommender, Updatable
from recexp.task import show
from recexp.task.assemble import Experiment, new_model
from recexp.task.fit import best_epochs
from recexp.task.news import News
from recexp.task.run import Run
from recexp.task.served import Served
from recexp.types import Dataset, Holdout, Split


@dataclass(frozen=True)
class Update:
    """What an update starts from.

    Args:
        run: the version before. config: of the update. scratch: a folder for checkpoints that nobody will need.
    """

    run: Run
    config: DictConfig
    scratch: Path

    @property
    def refit_epochs(self) -> int:
        """Of a fit from scratch: as many as were best for the run."""
        known = self.run.facts.get("refit_epochs")
        return best_epochs(Experiment(self.config), self.run.folder.checkpoints) if known is None else int(known)

    def grown(self, dataset: Dataset) -> Growable:
        """A copy of the model before with room for everybody."""
        model = copy.deepcopy(self.run.model)
        assert isinstance(model, Growable)
        model.grow(dataset.num_users, dataset.num_items)
        return model

    def trained(self, model: Recommender, dataset: Dataset, epochs: int) -> Served:
        """The model after so many epochs on all events, by the run's own trainer, on one device."""
        experiment = _everything(self.config, dataset).for_epochs(epochs)
        experiment.evaluations = {}
        module = experiment.module(model, self.scratch)
        experiment.trainer(devices=1, strategy="auto").fit(module, datamodule=experiment.data)
        shutil.rmtree(self.scratch, ignore_errors=True)
        seen = np.bincount(dataset.interactions.user, minlength=dataset.num_users) > 0
        return Served(model.eval(), torch.from_numpy(seen))


Way = Callable[[Update, News], Served]


def fold_in(update: Update, news: News) -> Served:
    """Users with new events, then items with new events; all other rows stay as they are, bit by bit."""
    model = update.grown(news.dataset)
    assert isinstance(model, Updatable) and isinstance(model, Recommender)
    users, items = news.touched("user"), news.touched("item")
    with show.waiting(f"folding in {len(users):,} users and {len(items):,} items"):
        model.partial_fit(news.dataset.interactions, users.tolist(), items.tolist())
    seen = np.zeros(news.dataset.num_users, bool)
    seen[: len(update.run.trained)] = update.run.trained
    seen[users] = True
    return Served(model, torch.from_numpy(seen))


def refresh(update: Update, news: News) -> Served:
    """Some epochs more, from where the model was, on all events."""
    model = update.grown(news.dataset)
    assert isinstance(model, Recommender)
    return update.trained(model, news.dataset, update.config.epochs)


def refit(update: Update, news: News) -> Served:
    """From scratch, on all events, with the run's own settings."""
    model = new_model(update.config, news.dataset.num_users, news.dataset.num_items)
    return update.trained(model, news.dataset, update.refit_epochs)


WAYS: dict[str, tuple[type, Way]] = dict(
    zip(MODES, ((Updatable, fold_in), (Growable, refresh), (Recommender, refit)), strict=True)
)
"""What a model must be able to do for each."""


def way(mode: str, model: Recommender) -> Way:
    """The way of a mode.

    Raises:
        RecexpError: the model is not able to go it.
    """
    able, found = WAYS[mode]
    if not isinstance(model, able):
        modes = [f"mode={name}" for name, (needed, _) in WAYS.items() if isinstance(model, needed)]
        raise RecexpError(
            f"mode={mode}: {type(model).__name__} cannot take in new rows one by one. Type {' or '.join(modes)}."
        )
    return found


@dataclass(frozen=True)
class _Known:
    dataset: Dataset

    def load(self) -> Dataset:
        return self.dataset


def _everything(config: DictConfig, dataset: Dataset) -> Experiment:
    """The experiment that learns from all events."""
    events = dataset.interactions
    split = Split(events, None, Holdout(events, events[:0]))
    experiment = Experiment(config)
    experiment.data = DataModule(_Known(dataset), lambda _: split, experiment.protocol.batch_size, experiment.seed)
    experiment.data.setup()
    return experiment
