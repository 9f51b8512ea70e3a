"""The one LightningDataModule: data x split -> loaders, the same for every dataset and every model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from recexp.types import Dataset, Split

Order = tuple[int, Callable[[], int]]
"""A seed, and what tells the epoch."""


class Source(Protocol):
    """An option of the group `data`."""

    def load(self) -> Dataset: ...


class Splitter(Protocol):
    """An option of the group `split`, with its seed."""

    def __call__(self, dataset: Dataset) -> Split: ...


class Portions(Protocol):
    """What takes the data: a fit module says in what portions."""

    def training_loader(self, data: DataModule) -> Any: ...

    def evaluation_loader(self, data: DataModule, part: str) -> Any: ...


class DataModule(pl.LightningDataModule):
    """Loads, splits and hands out row numbers; the rows themselves wait on the model's device.

    Args:
        source: the dataset. splitter: the split.
        chunk: users evaluated at once [count].
        seed: of the training order.
    """

    dataset: Dataset
    split: Split

    def __init__(self, source: Source, splitter: Splitter, chunk: int, seed: int) -> None:
        super().__init__()
        self.source, self.splitter, self.chunk, self.seed = source, splitter, chunk, seed

    def setup(self, stage: str | None = None) -> None:
        """Load and split, once."""
        if not hasattr(self, "split"):
            self.dataset = self.source.load()
            self.split = self.splitter(self.dataset)

    def training_rows(self, num_rows: int, batch_size: int) -> Rows:
        """Batches of the row numbers of the training examples, in an order that depends on (seed, epoch) only.

        With `trainer.overfit_batches` all epochs have one order, so that the batches to overfit are the same.
        """
        trainer = self.trainer
        assert trainer is not None
        overfit = trainer.overfit_batches  # type: ignore[attr-defined]
        epoch = (lambda: 0) if overfit else (lambda: trainer.current_epoch)
        return self._rows(num_rows, batch_size, (self.seed, epoch))

    def train_dataloader(self) -> Any:
        return self._fit_module.training_loader(self)

    def val_dataloader(self) -> Any:
        return self._fit_module.evaluation_loader(self, "val")

    def test_dataloader(self) -> Any:
        return self._fit_module.evaluation_loader(self, "test")

    @property
    def _fit_module(self) -> Portions:
        assert self.trainer is not None
        module: Portions = self.trainer.lightning_module  # type: ignore[assignment]
        return module

    def evaluation_rows(self, num_users: int) -> Rows:
        """Chunks of the row numbers of an evaluation's users, each user once."""
        return self._rows(num_users, self.chunk, None)

    def _rows(self, num_rows: int, batch_size: int, order: Order | None) -> Rows:
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return Rows(num_rows, batch_size, order, rank, ranks)


class Rows:
    """Row numbers in batches, shuffled by (seed, epoch) if there are any; each rank gets its own, none gets two.

    No DataLoader: there is nothing to load, and its iterators draw from the global generator, which shifts dropout.

    The epoch is asked for at the first batch: after a resume, Lightning makes the iterator while it still
    believes to be in the epoch before, and calls `set_epoch` not at all.

    Shuffled batches are equal in number on all ranks (training must step together), so up to `ranks - 1` rows
    are left out of an epoch; unshuffled ones (evaluation) cover every row exactly once.
    """

    def __init__(self, num_rows: int, batch_size: int, order: Order | None, rank: int, ranks: int) -> None:
        self.num_rows, self.batch_size, self.order, self.rank, self.ranks = num_rows, batch_size, order, rank, ranks

    def _own(self) -> Tensor:
        if self.order is None:
            return torch.arange(self.rank, self.num_rows, self.ranks)
        seed, epoch = self.order
        order = np.random.default_rng([seed, epoch()]).permutation(self.num_rows)
        even = self.num_rows // self.ranks * self.ranks
        return torch.from_numpy(order[self.rank : even : self.ranks])

    def __iter__(self) -> Iterator[Tensor]:
        yield from self._own().split(self.batch_size)

    def __len__(self) -> int:
        own = self.num_rows // self.ranks if self.order else len(range(self.rank, self.num_rows, self.ranks))
        return -(-own // self.batch_size)
