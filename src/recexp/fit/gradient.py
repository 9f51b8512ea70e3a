"""Fitting by gradient: any pair scorer, any loss, any negatives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, EarlyStopping
from torch import Tensor, nn
from torch.optim import Optimizer

from recexp.data.module import DataModule, Rows
from recexp.errors import RecexpError
from recexp.examples.base import Examples
from recexp.fit.base import Evaluated
from recexp.loss.base import Comparison
from recexp.memory import refuse_too_much
from recexp.model.base import PairScorer
from recexp.negatives.base import Negatives
from recexp.types import Candidates

COPIES = 3
"""Of the scores that a step holds: themselves, what the loss makes of them, and a gradient."""


class Patience(EarlyStopping):
    """Early stopping that a resumed run remembers: one that had run out stays stopped."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class Gradient(Evaluated):
    """Minimizes the loss of the model's scores of a positive among its candidates, by stochastic gradient.

    Args:
        loss, negatives: as composed; neither knows the model.
        optimizer: makes the optimizer from the model's parameters.
        examples: what one row of training is, as composed: an event, or a whole history with several questions.
        batch_size: rows of the examples in a step [count].
        patience: validations without improvement before stopping; None: never stop early.
        validation_users: asked in a validation, always the same ones [count]; None: all.
        compile: a mode of torch.compile for the model, such as default or max-autotune; None: as it is.
        settings: of `Evaluated`.
    Raises:
        RecexpError: the loss compares and there is nothing to compare with; the model cannot answer the examples.
    """

    model: PairScorer

    def __init__(
        self,
        batch_size: int,
        patience: int | None,
        validation_users: int | None,
        compile: str | None,
        loss: nn.Module,
        negatives: Negatives,
        examples: Examples,
        optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
        **settings: Any,
    ) -> None:
        super().__init__(validation_users=validation_users, **settings)
        if isinstance(loss, Comparison) and not negatives.gives_negatives:
            raise RecexpError(
                f"{type(loss).__name__} sets positives against negatives, and {type(negatives).__name__} gives none. "
                "Type loss=ce or loss=squared to learn from labels alone, or negatives=uniform."
            )
        if examples.asks_many and not self.model.answers_many:
            raise RecexpError(
                f"{type(examples).__name__} asks several questions of one history, and {type(self.model).__name__} "
                "answers one. Type examples=events, or a model of sequences such as model=sasrec."
            )
        if examples.asks_all and self.model.hides_asked:
            raise RecexpError(
                f"{type(examples).__name__} asks for every item of a history, and {type(self.model).__name__} hides "
                "what is asked for: nothing would be left to see. Type examples=masked."
            )
        self.batch_size = batch_size
        self.patience = patience
        self.compile_mode = compile
        self.loss = loss
        self.negatives = negatives
        self.examples = examples
        self.optimizer = optimizer

    def configure_callbacks(self) -> list[Callback]:
        callbacks = super().configure_callbacks()
        if self.patience is not None:
            callbacks.append(Patience(**self.watched, patience=self.patience, check_on_train_epoch_end=False))
        return callbacks

    def configure_optimizers(self) -> Optimizer:
        try:
            return self.optimizer(self.model.parameters())
        except (TypeError, ValueError) as error:
            raise RecexpError(f"optimizer: {error}") from error

    def training_loader(self, data: DataModule) -> Rows:
        """Shuffled rows of the examples."""
        return data.training_rows(self.examples.count(data.split.train), self.batch_size)

    def num_batches(self, data: DataModule) -> int:
        """Steps of an epoch."""
        return -(-self.examples.count(data.split.train) // self.batch_size)

    def on_fit_start(self) -> None:
        if self.compile_mode is not None:
            self.model.compile(mode=self.compile_mode)
        self.negatives.prepare(self.data.split.train, self.data.dataset.num_items)
        self.negatives.to(self.device)
        self.examples.prepare(self.data.split.train, self.data.dataset.num_users, self.device)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._refresh_negatives()

    def _refresh_negatives(self) -> None:
        """Show the negatives the model; what that took is a part of the epoch's cost."""
        began = time.perf_counter()
        self.model.eval()
        self.negatives.refresh(self.model.score, self.current_epoch, self.generator)
        self.model.train()
        self.log("train/negatives_s", time.perf_counter() - began, on_epoch=True, on_step=False)

    def training_step(self, rows: Tensor) -> Tensor:
        batch = self.examples(rows, self.generator)
        candidates = self.negatives(batch.positive, batch.query, self.generator)
        candidates = replace(candidates, label=batch.label, weight=batch.weight, catalogue=self.data.dataset.num_items)
        self._refuse_too_much(candidates)
        scores_QC = self.model(batch.query, candidates.items)
        loss: Tensor = self.loss(scores_QC.float(), candidates)
        self.log(
            "train/loss",
            loss.detach(),
            on_epoch=True,
            on_step=False,
            sync_dist=True,
            prog_bar=True,
            batch_size=len(rows),
        )
        return loss

    def _refuse_too_much(self, candidates: Candidates) -> None:
        """Before the first step, while nothing is lost; of a device's own memory its driver speaks."""
        if self.global_step == 0 and self.device.type == "cpu":
            rows, columns = len(candidates.target), candidates.num_columns
            smaller = f"fit.batch_size={self.batch_size // 4}, or " if self.batch_size >= 4 else ""
            refuse_too_much(
                COPIES * 4 * rows * columns,
                f"a step of {rows:,} questions against {columns:,} items each",
                f"Type {smaller}negatives that draw fewer items.",
            )
