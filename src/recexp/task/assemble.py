"""From a composed config to its parts. They arrive by `_target_`: nothing here names a model, a loss or a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, ProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from recexp.data.module import DataModule, Source
from recexp.data.vocabulary import Vocabulary
from recexp.errors import RecexpError
from recexp.eval.protocol import Evaluation, Protocol
from recexp.fit.base import Evaluated
from recexp.fit.progress import progress
from recexp.model.base import Recommender
from recexp.split.base import digest
from recexp.task import show
from recexp.types import Features, Holdout, Interactions

QUESTIONS_SEED = 0
"""Who is asked what does not depend on the run's seed, so that runs of several seeds answer the same questions."""


def make(node: DictConfig, **more: Any) -> Any:
    """Instantiate a config; what its class refuses is refused as the class said it."""
    try:
        return instantiate(node, **more, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, RecexpError):
            raise cause from None
        if isinstance(cause, MisconfigurationException | ImportError | TypeError | ValueError):
            raise RecexpError(f"{str(error).splitlines()[-1].removeprefix('full_key: ')}: {cause}") from error
        raise


class Experiment:
    """The parts of one experiment, each made once.

    Args:
        config: composed.
        source: of the data, if another than the config's.
    """

    def __init__(self, config: DictConfig, source: Source | None = None) -> None:
        self.config = config
        self.source = source
        self.seed: int = config.seed

    @cached_property
    def protocol(self) -> Protocol:
        """The evaluation protocol, before it knows any data."""
        protocol: Protocol = make(self.config.eval)
        return protocol

    @cached_property
    def data(self) -> DataModule:
        """Loaded and split data."""
        source = self.source or make(self.config.data)
        splitter = make(self.config.split)
        module = DataModule(source, partial(splitter, seed=QUESTIONS_SEED), self.protocol.batch_size, self.seed)
        module.setup()
        return module

    @cached_property
    def evaluations(self) -> dict[str, Evaluation]:
        """`val`, where the split has a validation part, and `test`."""
        validation = self.data.split.validation
        val = {} if validation is None else {"val": self._evaluation(validation)}
        return {**val, "test": self.test}

    @cached_property
    def test(self) -> Evaluation:
        """The evaluation on the test part."""
        return self._evaluation(self.data.split.test)

    def _evaluation(self, holdout: Holdout) -> Evaluation:
        return self.protocol.on(self.data.split, holdout, self.data.dataset, QUESTIONS_SEED)

    def identity(self) -> dict[str, Any]:
        """What tells one result from another: hashes of data, split and protocol."""
        return {
            "data": self.data.dataset.sha256,
            "split": digest(self.data.split),
            "eval": {"name": self.protocol.name, "hash": self.test.sha256},
        }

    def model(self) -> Recommender:
        """A new model for this data, the same at the same seed."""
        dataset = self.data.dataset
        return new_model(self.config, dataset.num_users, dataset.num_items, self.features)

    @cached_property
    def features(self) -> Features | None:
        """What a model that looks at features may know of this data."""
        if self.vocabulary is None:
            return None
        encode = make(self.config.model.features).encode
        features: Features = encode(self.vocabulary, self.data.dataset, self.data.split.train)
        return features

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        """What is learned of features from train, where the model looks at them."""
        if "features" not in self.config.model:
            return None
        fit = make(self.config.model.features).fit
        vocabulary: Vocabulary = fit(self.data.dataset, self.data.split.train)
        return vocabulary

    def module(self, model: Recommender, checkpoints: Path) -> Evaluated:
        """The LightningModule that fits the model."""
        pieces = {name: make(self.config[name]) for name in ("loss", "negatives", "examples") if name in self.config}
        if "optimizer" in self.config:
            pieces["optimizer"] = make(self.config.optimizer, _partial_=True)
        common = {"evaluations": self.evaluations, "monitor": self.protocol.monitor, "seed": self.seed}
        module: Evaluated = make(self.config.fit, **pieces, **common, model=model, checkpoints=checkpoints)
        return module

    def loggers(self, folder: Path) -> list[Logger]:
        """The loggers, writing into the run's folder."""
        return [make(logger, save_dir=str(folder)) for logger in self.config.logger.values()]

    def trainer(
        self, loggers: Sequence[Logger] = (), callbacks: Sequence[Callback] = (), **settings: Any
    ) -> pl.Trainer:
        """The Lightning Trainer as configured, with settings on top; what Lightning refuses is refused in one line."""
        shown, bar = self.config.trainer.enable_progress_bar, progress(show.console)
        trainer: pl.Trainer = make(
            self.config.trainer,
            logger=[*loggers] or False,
            callbacks=[*([bar] if shown else []), *callbacks],
            enable_progress_bar=shown and isinstance(bar, ProgressBar),
            enable_model_summary=False,
            **{"accelerator": self.accelerator, **settings},
        )
        if trainer.limit_test_batches == 0:
            raise RecexpError("trainer.limit_test_batches=0: an experiment without a test has no result; drop it.")
        return trainer

    @property
    def accelerator(self) -> Any:
        """The trainer's, but the CPU where that is Apple's GPU and the fit needs 64 bits: MPS has no float64."""
        asked = self.config.trainer.accelerator
        apples = asked == "mps" or (asked in ("auto", "gpu") and torch.backends.mps.is_available())
        fit: Any = get_class(self.config.fit._target_)
        return "cpu" if apples and fit.in_64_bits else asked

    def for_epochs(self, num_epochs: int) -> Experiment:
        """The same experiment for so many epochs, come what may."""
        settings: dict[str, Any] = {"trainer": {"max_epochs": num_epochs}}
        if "patience" in self.config.fit:
            settings["fit"] = {"patience": None}
        merged = OmegaConf.merge(self.config, settings)
        assert isinstance(merged, DictConfig)
        return self._with(merged, self.data)

    def with_validation_in_train(self) -> Experiment:
        """The same experiment without a validation part, if there is one: its events are for training."""
        split = self.data.split
        if split.validation is None:
            return self
        data = copy(self.data)
        train = Interactions.concat(split.train, split.validation.target)
        data.split = replace(split, train=train, validation=None)
        return self._with(self.config, data)

    def _with(self, config: DictConfig, data: DataModule) -> Experiment:
        twin = Experiment(config)
        twin.data = data
        return twin

    def popularity(self) -> dict[str, float]:
        """The test metrics of popularity, the control that every model must beat."""
        return {f"popularity/{name}": value for name, value in self.test.of_popularity().metrics.items()}


def new_model(config: DictConfig, num_users: int, num_items: int, features: Features | None = None) -> Recommender:
    """A model for so many users and items, the same at the same seed; one that looks at features is given them."""
    torch.manual_seed(config.seed)
    if "features" not in config.model:
        model: Recommender = make(config.model, num_users=num_users, num_items=num_items)
        return model
    node = OmegaConf.masked_copy(config.model, [str(key) for key in config.model if key != "features"])
    node._set_parent(config)
    seeing: Recommender = make(node, _partial_=True)(features=features or Features.ids(num_users, num_items))
    return seeing
