"""What both ways of fitting share: the model is asked questions, and the answers are measured."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from recexp.data.module import DataModule, Rows
from recexp.eval.protocol import Evaluation, Result
from recexp.fit.heap import keep_freed_memory
from recexp.model.base import Recommender

SAMPLE_SEED = 0
"""Who is asked in validation does not depend on the run's seed."""


class Evaluated(pl.LightningModule):
    """A LightningModule that is validated and tested by an evaluation protocol.

    Args:
        model: what is fitted. evaluations: `val` (may be missing) and `test`.
        checkpoints: the folder of `best.ckpt` and `last.ckpt`.
        monitor: the validation metric that chooses the best checkpoint, e.g. ndcg@10; a leading minus means less is
            better, e.g. -rmse.
        seed: of everything random, together with the epoch.
        validation_users: asked in a validation, always the same ones [count]; None: all.

    Attributes:
        spent: by the sittings before, up to the checkpoint that this one went on from [s].
    """

    in_64_bits = False
    """Whether some of the work is in 64 bits, which Apple's GPUs do not have."""

    results: dict[str, Result]
    generator: torch.Generator

    def __init__(
        self,
        validation_users: int | None,
        model: Recommender,
        evaluations: Mapping[str, Evaluation],
        checkpoints: Path,
        monitor: str,
        seed: int,
    ) -> None:
        super().__init__()
        keep_freed_memory()
        self.validation_users = validation_users
        self.model = model
        self.evaluations = evaluations
        self.checkpoints = checkpoints
        self.monitor = monitor
        self.seed = seed
        self.results = {}
        self.spent, self._began = 0.0, time.perf_counter()

    @property
    def data(self) -> DataModule:
        """The data module of the trainer."""
        module: DataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        return module

    @property
    def watched(self) -> dict[str, Any]:
        """`monitor` and `mode` as Lightning's callbacks take them."""
        return {"monitor": f"val/{self.monitor.lstrip('-')}", "mode": "min" if self.monitor.startswith("-") else "max"}

    @property
    def chooses(self) -> bool:
        """Whether validation chooses one of the epochs."""
        return "val" in self.evaluations

    def configure_callbacks(self) -> list[Callback]:
        """Checkpoints: the best on validation (the last where there is none), and the last."""
        watched = self.watched if self.chooses else {"save_on_train_epoch_end": True}
        best = ModelCheckpoint(self.checkpoints, "best", enable_version_counter=False, **watched)
        last = ModelCheckpoint(self.checkpoints, "last", enable_version_counter=False, save_on_train_epoch_end=True)
        return [best, last]  # in this order: the last holds what the best has seen

    @property
    def num_parameters(self) -> int:
        """Numbers that are learned, buffers of solved models included."""
        return sum(tensor.numel() for tensor in self.model.state_dict().values())

    def num_batches(self, data: DataModule) -> int:
        """Training batches of an epoch; the subclass knows."""
        raise NotImplementedError

    def metrics(self, part: str) -> dict[str, float]:
        """What the last evaluation of `val` or `test` found, named as in metrics.json."""
        result = self.results[part]
        return {f"{part}/{name}": value for name, value in {**result.metrics, **result.segments}.items()}

    @cached_property
    def asked(self) -> Tensor:
        """The rows of the validation's users that are asked, ascending."""
        count = len(self.evaluations["val"].users)
        drawn = np.random.default_rng(SAMPLE_SEED).permutation(count)[: self.validation_users]
        return torch.from_numpy(np.sort(drawn))

    @property
    def notes(self) -> list[str]:
        """What of the validation is not as its protocol says."""
        count, whole = (len(self.asked), len(self.evaluations["val"].users)) if "val" in self.evaluations else (0, 0)
        return [f"validation asked {count:,} of {whole:,} users, the same ones each time"] if count < whole else []

    def evaluation_loader(self, data: DataModule, part: str) -> Rows | list[Any]:
        """Chunks of the users that an evaluation asks: a sample in validation if asked for; nothing if no such part."""
        if part not in self.evaluations:
            return []
        return data.evaluation_rows(len(self.asked if part == "val" else self.evaluations[part].users))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["spent"] = self.spent + time.perf_counter() - self._began

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.spent = checkpoint["spent"]

    def on_train_epoch_start(self) -> None:
        """An epoch draws the same numbers whether it is reached in one go or after a resume; each rank its own.

        What is drawn outside the model (examples, negatives) comes from `generator`: dropout must not repeat it.
        """
        rank = self.trainer.global_rank
        state = np.random.SeedSequence([self.seed, self.current_epoch, rank]).generate_state(2, np.uint64)
        inside, outside = (int(word >> np.uint64(1)) for word in state)
        torch.manual_seed(inside)
        self.generator = torch.Generator(self.device).manual_seed(outside)

    def on_validation_epoch_start(self) -> None:
        self.evaluations["val"].reset()

    def on_test_epoch_start(self) -> None:
        self.evaluations["test"].reset()

    def validation_step(self, rows: Tensor) -> None:
        self._ask("val", self.asked[rows.cpu()])

    def test_step(self, rows: Tensor) -> None:
        self._ask("test", rows)

    def _ask(self, part: str, rows: Tensor) -> None:
        """Training may be in mixed precision; scores rounded to 8 bits would tie what they should tell apart."""
        with torch.autocast(self.device.type, enabled=False):
            self.evaluations[part].update(self.model.score, rows, self.device)

    def on_validation_epoch_end(self) -> None:
        self._conclude("val")

    def on_test_epoch_end(self) -> None:
        self._conclude("test")

    def _conclude(self, part: str) -> None:
        evaluation = self.evaluations[part]
        if self.trainer.world_size > 1:
            evaluation.merge(self._of_all_ranks(evaluation.state()))
        self.results[part] = evaluation.result()
        for key, value in self.metrics(part).items():
            self.log(key, value, prog_bar=key == self.watched["monitor"])

    def _of_all_ranks(self, state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        gathered = {name: self.all_gather(values.to(self.device)) for name, values in state.items()}
        return [{name: values[rank] for name, values in gathered.items()} for rank in range(self.trainer.world_size)]
