"""Every pair scorer learns the planted data with every loss and every negatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recexp.task.run import Run

MODELS = ["mf", "two_tower"]
LOSSES = ["ce", "pairwise", "triplet", "in_batch_softmax", "softmax", "squared"]
NEGATIVES = ["uniform", "popularity", "in_batch", "full"]


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", MODELS)
def test_learns_the_checkerboard(
    model: str, loss: str, negatives: str, run: Callable[..., Run], on_checkerboard: list[str]
) -> None:
    done = run(
        *on_checkerboard,
        f"model={model}",
        f"loss={loss}",
        f"negatives={negatives}",
        "model.embedding_dim=8",
        "model.init_std=0.1",
        "optimizer.lr=0.03",
        "fit.batch_size=40",
        "fit.patience=null",
        "trainer.max_epochs=20",
        "trainer.check_val_every_n_epoch=20",
        "eval.k=[1]",
    )
    assert done.metrics["test/hr@1"] == 1.0
