"""Fitting in closed form: the same trainer, with blocks to solve instead of batches to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from recexp.data.module import DataModule
from recexp.fit.base import Evaluated
from recexp.model.base import Solvable


class Solve(Evaluated):
    """Lets a `Solvable` model solve its blocks, epoch by epoch.

    Lightning saves checkpoints and counts steps only where an optimizer steps, so a zero-rate SGD over one scalar
    that is no part of the module serves as the clock.

    Args:
        validation_users: asked in a validation, always the same ones [count]; None: all.
        settings: of `Evaluated`.
    """

    in_64_bits = True
    model: Solvable  # type: ignore[assignment]

    def __init__(self, validation_users: int | None, **settings: Any) -> None:
        super().__init__(validation_users=validation_users, **settings)
        self.automatic_optimization = False
        self._clock = [torch.zeros((), requires_grad=True)]

    @property
    def chooses(self) -> bool:
        """What is no model before it is whole leaves nothing to choose from."""
        return super().chooses and self.model.anytime

    def configure_optimizers(self) -> Optimizer:
        return SGD(self._clock, lr=0.0)

    def training_loader(self, data: DataModule) -> Blocks:
        """The model's own blocks."""
        self.model.prepare(data.split.train)
        return Blocks(self)

    def num_batches(self, data: DataModule) -> int:
        """Blocks of an epoch."""
        return len(Blocks(self))

    def training_step(self, block: Tensor) -> None:
        with torch.no_grad():
            self.model.solve(block)
        self.optimizers().step()  # type: ignore[union-attr]

    def on_train_epoch_end(self) -> None:
        if hasattr(self.model, "objective"):
            self.log("train/objective", self.model.objective())


class Blocks:
    """The model's blocks of the current epoch.

    Of known length, and made when the first one is asked for: after a resume Lightning fetches blocks of unknown
    length ahead, while it still is in the epoch before.
    """

    def __init__(self, module: Solve) -> None:
        self.module = module

    def __len__(self) -> int:
        return sum(1 for _ in self.module.model.steps(0))

    def __iter__(self) -> Iterator[Tensor]:
        yield from self.module.model.steps(self.module.current_epoch)
