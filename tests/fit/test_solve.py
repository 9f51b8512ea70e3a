"""Closed-form models under the trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hydra import compose, initialize_config_dir
from torch import Tensor

from recexp import config
from recexp.errors import RecexpError
from recexp.model.slim import SLIM
from recexp.task.assemble import Experiment
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


def test_what_is_no_model_before_it_is_whole_is_not_chosen_on_validation(run: Callable[..., Run]) -> None:
    every = run("model=slim", "model.num_epochs=4")
    seldom = run("model=slim", "model.num_epochs=4", "trainer.check_val_every_n_epoch=3")
    assert isinstance(seldom.model, SLIM)
    assert seldom.model.weights.whole
    assert seldom.metrics["test/ndcg@10"] == every.metrics["test/ndcg@10"]


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-true", "64-true"])
def test_other_precisions_are_refused(run: Callable[..., Run], precision: str) -> None:
    with pytest.raises(RecexpError, match=r"in closed form.*Drop trainer\.precision"):
        run("model=ease", f"trainer.precision={precision}")


def accelerator(model: str, trainer: str) -> str:
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        return Experiment(compose("config", overrides=[f"model={model}", f"trainer={trainer}"])).accelerator


def test_what_needs_64_bits_is_not_solved_on_apples_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, expected in ((True, "cpu"), (False, "auto")):
        monkeypatch.setattr("torch.backends.mps.is_available", lambda there=there: there)
        assert accelerator("ease", "auto") == expected
    assert [accelerator("wals", "mps"), accelerator("wals", "gpu"), accelerator("mf", "mps")] == ["cpu", "gpu", "mps"]
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        asked = compose("config", overrides=["model=slim", "trainer=mps"])
    assert Experiment(asked).trainer().strategy.root_device.type == "cpu"
