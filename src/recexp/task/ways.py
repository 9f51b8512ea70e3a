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

from recexp.checks import FOLD_IN, REFIT, REFRESH
from recexp.data.module import DataModule
from recexp.data.vocabulary import Vocabulary
from recexp.errors import RecexpError
from recexp.model.base import Growable, Recommender, Updatable
from recexp.task import show
from recexp.task.assemble import Experiment, new_model
from recexp.task.fit import best_epochs
from recexp.task.news import News
from recexp.task.run import Run
from recexp.task.served import Served
from recexp.types import Dataset, Features, Holdout, Split


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

    def trained(self, experiment: Experiment, model: Recommender, epochs: int) -> Updated:
        """The model after so many epochs on all events, by the run's own trainer, on one device."""
        dataset = experiment.data.dataset
        features, vocabulary = experiment.features, experiment.vocabulary
        experiment = experiment.for_epochs(epochs)
        experiment.evaluations = {}
        module = experiment.module(model, self.scratch)
        experiment.trainer(devices=1, strategy="auto").fit(module, datamodule=experiment.data)
        shutil.rmtree(self.scratch, ignore_errors=True)
        seen = np.bincount(dataset.interactions.user, minlength=dataset.num_users) > 0
        return Updated(Served(model.eval(), torch.from_numpy(seen)), features, vocabulary)


@dataclass(frozen=True)
class Updated:
    """What an update ends with.

    Attributes:
        served: the model. features, vocabulary: what it looks at, where it looks at any.
    """

    served: Served
    features: Features | None = None
    vocabulary: Vocabulary | None = None


Way = Callable[[Update, News], Updated]


def look_up(update: Update, news: News) -> Updated:
    """Histories go on, and who is new is known by their features; nothing is learned, all weights stay bit by bit."""
    run, dataset = update.run, news.dataset
    assert run.features is not None
    features: Features = run.encoder.encode_more(run.features, run.vocabulary, dataset, news.newcomers.filled)
    model = new_model(update.config, dataset.num_users, dataset.num_items, features)
    model.load_state_dict(run.model.state_dict())
    seen = np.zeros(dataset.num_users, bool)
    seen[: len(run.trained)] = run.trained
    return Updated(Served(model.eval(), torch.from_numpy(seen)), features, run.vocabulary)


def fold_in(update: Update, news: News) -> Updated:
    """Users with new events, then items with new events; all other rows stay as they are, bit by bit."""
    model = update.grown(news.dataset)
    assert isinstance(model, Updatable) and isinstance(model, Recommender)
    users, items = news.touched("user"), news.touched("item")
    with show.waiting(f"folding in {len(users):,} users and {len(items):,} items"):
        model.partial_fit(news.dataset.interactions, users.tolist(), items.tolist())
    seen = np.zeros(news.dataset.num_users, bool)
    seen[: len(update.run.trained)] = update.run.trained
    seen[users] = True
    return Updated(Served(model, torch.from_numpy(seen)))


def refresh(update: Update, news: News) -> Updated:
    """Some epochs more, from where the model was, on all events."""
    model = update.grown(news.dataset)
    assert isinstance(model, Recommender)
    return update.trained(_everything(update.config, news.dataset), model, update.config.epochs)


def refit(update: Update, news: News) -> Updated:
    """From scratch, on all events, with the run's own settings."""
    experiment = _everything(update.config, news.dataset)
    return update.trained(experiment, experiment.model(), update.refit_epochs)


WAYS: dict[str, list[tuple[Callable[[Run], bool], Way]]] = {
    FOLD_IN: [
        (lambda run: isinstance(run.model, Updatable), fold_in),
        (lambda run: run.features is not None, look_up),
    ],
    REFRESH: [(lambda run: isinstance(run.model, Growable), refresh)],
    REFIT: [(lambda run: isinstance(run.model, Recommender), refit)],
}
"""Of each mode, what a run must be able to do, and what is done then."""


def ways(mode: str, run: Run) -> list[Way]:
    """What is done in a mode, the first being meant; nothing where the run's model is not able to."""
    return [way for able, way in WAYS[mode] if able(run)]


def way(mode: str, run: Run) -> Way:
    """The way of a mode.

    Raises:
        RecexpError: the run's model is not able to go it.
    """
    if found := ways(mode, run):
        if found[0] is look_up:
            _ = run.vocabulary  # complains where it was not kept
        return found[0]
    modes = [f"mode={name}" for name in WAYS if ways(name, run)]
    raise RecexpError(f"mode={mode}: {type(run.model).__name__} has no such way. Type {' or '.join(modes)}.")


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
