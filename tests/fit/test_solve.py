"""Closed-form models under the trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from torch import Tensor

from recexp.model.slim import SLIM
from recexp.task.run import Run


def test_a_resumed_fit_asks_for_the_blocks_of_the_epochs_left(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    steps = SLIM.steps

    def recorded(self: SLIM, epoch: int) -> Iterable[Tensor]:
        asked.append(epoch)
        return steps(self, epoch)

    run("model=slim", "model.num_epochs=5", "trainer.max_epochs=2", "hydra.run.dir=stopped")
    monkeypatch.setattr(SLIM, "steps", recorded)
    monkeypatch.setattr("recexp.fit.solve.Blocks.__len__", lambda _: 1)
    done = run("resume=stopped", "trainer.max_epochs=5")
    assert asked == [2, 3, 4]
    assert isinstance(done.model, SLIM)
    assert done.model.weights.whole
