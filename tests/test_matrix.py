"""Every pair scorer learns the planted data with every loss and every negatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recexp.task.run import Run

LOSSES = ["ce", "pairwise", "triplet", "in_batch_softmax", "softmax", "squared", "gbce"]
NEGATIVES = ["uniform", "popularity", "in_batch", "full"]


ONE_LAYER = [
    "optimizer.lr=0.005",
    "trainer.max_epochs=80",
    "model.embedding_dim=8",
    "model.init_std=0.1",
    "model.layers.num_layers=1",
    "model.layers.num_heads=1",
    "model.layers.dropout=0.0",
]
LARGE_STEPS = ["optimizer.lr=0.03", "trainer.max_epochs=40", "model.init_std=0.3"]
FEW_FACTORS = {
    "dssm": [*LARGE_STEPS, "model.embedding_dim=4", "model.hidden_dims=[16]", "model.features.users=[]"],
    "mf": [*LARGE_STEPS, "model.embedding_dim=2"],
    "two_tower": [*LARGE_STEPS, "model.embedding_dim=4", "model.hidden_dims=[16]", "model.dropout=0.0"],
    "bert4rec": [*ONE_LAYER, "model.layers.hidden_dim=16"],
    "sasrec": [*ONE_LAYER, "model.layers.hidden_dim=16"],
}
"""Too few to learn the rows by heart: squared and ce over all items would, and forget the answer."""

SCALED = {("dssm", "ce"): ["loss.alpha=10"], ("dssm", "gbce"): ["loss.alpha=10"]}
"""A cosine ends at 1, whose sigmoid says yes to .73 and no."""

LEAST = {"bert4rec": 0.75, "sasrec": 0.75, "sasrec-squared-in_batch": 0.6}
"""In so few steps, a single layer of attention has not learned every user's last place; by chance it would be .08."""


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", FEW_FACTORS)
def test_learns_the_checkerboard(
    model: str, loss: str, negatives: str, run: Callable[..., Run], on_checkerboard: list[str]
) -> None:
    done = run(
        *on_checkerboard,
        f"model={model}",
        f"loss={loss}",
        *SCALED.get((model, loss), []),
        f"negatives={negatives}",
        *FEW_FACTORS[model],
        "fit.batch_size=40",
        "fit.patience=null",
        "examples=events",
        "trainer.check_val_every_n_epoch=40",
        "eval.k=[1]",
    )
    assert done.metrics["test/hr@1"] >= LEAST.get(f"{model}-{loss}-{negatives}", LEAST.get(model, 0.9))
    assert done.metrics["popularity/hr@1"] < 0.1
