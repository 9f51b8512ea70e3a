"""Settings of the trainer do what they say, and a run that is stopped says so and goes on."""

from __future__ import annotations

import csv
import io
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

import recexp
from recexp.__main__ import main
from recexp.eval.evaluation import Evaluation, Score
from recexp.fit.base import Evaluated
from recexp.fit.gradient import Gradient
from recexp.fit.progress import Bar, Lines, duration, progress
from recexp.store import Folder
from recexp.task.job import Job, running
from recexp.task.run import Run

TINY = ["data.num_users=60", "data.num_items=40", "data.num_events=12", "eval.k=[5]", "model.embedding_dim=4"]
WHOLE = [*TINY, "fit.batch_size=32", "fit.patience=null"]
STEPS = 17
"""Of an epoch: 518 events in batches of 32."""


def timeless(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


def checkpoint(run: Run, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(run.folder.checkpoints / f"{name}.ckpt", weights_only=True)
    return loaded


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The rows of every training batch."""
    seen: list[tuple[int, ...]] = []
    step = Gradient.training_step

    def recorded(self: Gradient, rows: Tensor) -> Tensor:
        seen.append(tuple(rows.tolist()))
        return step(self, rows)

    monkeypatch.setattr(Gradient, "training_step", recorded)
    return seen


@pytest.fixture
def validations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The step of every validation while fitting."""
    seen: list[int] = []
    end = Evaluated.on_validation_epoch_end

    def recorded(self: Evaluated) -> None:
        if self.trainer.training or (self.trainer.validating and self.trainer.state.fn == "fit"):
            seen.append(self.trainer.global_step)
        end(self)

    monkeypatch.setattr(Evaluated, "on_validation_epoch_end", recorded)
    return seen


def test_fast_dev_run_does_everything_once(run: Callable[..., Run], batches: list[Any]) -> None:
    done = run(*WHOLE, "trainer.fast_dev_run=true", "refit=true")
    assert len(batches) == 2, "one of each fit"
    assert done.facts["status"] == "finished"
    assert not done.folder.checkpoints.exists()
    assert done.recommend(k=3).height == 180


def test_overfit_batches_takes_the_same_batches_each_epoch(run: Callable[..., Run], batches: list[Any]) -> None:
    run(*WHOLE, "trainer.overfit_batches=2", "trainer.max_epochs=3")
    assert len(batches) == 6
    assert len(set(batches)) == 2


def test_batches_are_others_each_epoch(run: Callable[..., Run], batches: list[Any]) -> None:
    run(*WHOLE, "trainer.max_epochs=2")
    assert len(set(batches)) == 2 * STEPS
    assert sorted(row for batch in batches[:STEPS] for row in batch) == list(range(518))


def test_precision_clipping_and_accumulation_reach_the_optimizer(run: Callable[..., Run]) -> None:
    asked = [*WHOLE, "trainer.max_epochs=2"]
    plain = run(*asked)
    assert plain.facts["steps"] == 2 * STEPS
    weights = {}
    for setting in (
        "trainer.precision=bf16-mixed",
        "trainer.gradient_clip_val=1e-3",
        "trainer.accumulate_grad_batches=2",
    ):
        changed = run(*asked, setting)
        weights[setting] = changed.folder.weights()["item_factors"]
        assert not torch.equal(weights[setting], plain.folder.weights()["item_factors"]), setting
        assert changed.metrics["test/ndcg@5"] > 0
    assert changed.facts["steps"] == 2 * (STEPS // 2 + 1)


def test_validation_as_often_as_asked(run: Callable[..., Run], validations: list[int]) -> None:
    run(*WHOLE, "trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2")
    assert validations == [2 * STEPS, 4 * STEPS]
    validations.clear()
    run(*WHOLE, "trainer.max_epochs=2", "+trainer.val_check_interval=0.5")
    assert validations == [8, 16, STEPS + 8, STEPS + 16]


@pytest.mark.parametrize("words", [[*WHOLE, "trainer.max_epochs=2"], [*TINY, "model=wals", "model.num_epochs=2"]])
def test_validation_on_a_sample_asks_the_same_users_each_time(
    words: list[str], run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []
    update = Evaluation.update

    def recorded(self: Evaluation, score: Score, rows: Tensor, device: torch.device) -> None:
        asked.append(tuple(rows.tolist()))
        update(self, score, rows, device)

    monkeypatch.setattr(Evaluation, "update", recorded)
    run(*words, "fit.validation_users=7")
    first, *later = (rows for rows in asked if len(rows) < 60)
    assert set(later) == {first}
    assert len(set(first)) == 7 < max(first)
    assert len(asked) - len(later) - 1 == 2, "the test of the model and of the control asks all 60"


def test_evaluation_is_in_32_bits_where_training_is_mixed(run: Callable[..., Run]) -> None:
    done = run("trainer.max_epochs=3", "trainer.precision=bf16-mixed")
    again = recexp.run("task=evaluate", f"run={done.path}", "trainer=cpu", "trainer.precision=32-true")
    asked = [name for name in again.metrics if name.startswith("test/")]
    assert [again.metrics[name] for name in asked] == [done.metrics[name] for name in asked]


def test_dropout_does_not_repeat_what_draws_the_examples(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    begin = Evaluated.on_train_epoch_start

    def recorded(self: Evaluated) -> None:
        begin(self)
        seeds.extend([torch.initial_seed(), self.generator.initial_seed()])

    monkeypatch.setattr(Evaluated, "on_train_epoch_start", recorded)
    run(*WHOLE, "trainer.max_epochs=2")
    assert len(set(seeds)) == 4


def test_compiling_reaches_the_model(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[object] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: modes.append((type(self).__name__, how)))
    run(*WHOLE, "trainer.max_epochs=1", "fit.compile=default")
    assert modes == [("MF", {"mode": "default"})]


def test_best_within_an_epoch_survives_a_resume(run: Callable[..., Run]) -> None:
    asked = [*WHOLE, "+trainer.val_check_interval=0.5"]
    whole = run(*asked, "trainer.max_epochs=4")
    half = run(*asked, "trainer.max_epochs=2")
    resumed = recexp.run(f"resume={half.path}", "trainer.max_epochs=4")
    assert timeless(resumed.metrics) == timeless(whole.metrics)


def test_no_validation_means_the_last_weights(run: Callable[..., Run]) -> None:
    for asked in ("+trainer.limit_val_batches=0", "trainer.check_val_every_n_epoch=9"):
        done = run(*WHOLE, "trainer.max_epochs=2", asked)
        assert checkpoint(done, "last")["epoch"] == 1
        last = checkpoint(done, "last")["state_dict"]["model.item_factors"]
        assert torch.equal(done.folder.weights()["item_factors"], last)
    none = run(*WHOLE, "trainer.max_epochs=2", "split.validation=none")
    assert not any(name.startswith("val/") for name in none.metrics)


def test_an_experiment_without_a_test_is_refused(run: Callable[..., Run]) -> None:
    with pytest.raises(recexp.RecexpError, match="limit_test_batches=0"):
        run(*WHOLE, "+trainer.limit_test_batches=0")
    assert not Path("outputs").exists()


def test_max_time_ends_a_run_well(run: Callable[..., Run]) -> None:
    done = run(*WHOLE, "trainer.max_time=00:00:00:01", "trainer.max_epochs=100000")
    assert done.facts["status"] == "finished"
    assert 0 < checkpoint(done, "last")["epoch"] < 100_000


def test_patience_counts_from_the_best_validation() -> None:
    done = recexp.run(
        *[*TINY, "fit.batch_size=32", "fit.patience=2", "optimizer.lr=0.3", "trainer.max_epochs=40"],
        *["trainer=cpu", "trainer.enable_progress_bar=false", "logger=csv"],
    )
    rows = csv.DictReader((done.path / "csv" / "metrics.csv").read_text().splitlines())
    curve = [float(row["val/ndcg@5"]) for row in rows if row["val/ndcg@5"]]
    best = int(np.argmax(curve))
    assert len(curve) == best + 3 < 40
    assert checkpoint(done, "best")["epoch"] == best
    assert done.metrics["val/ndcg@5"] == pytest.approx(curve[best])


def test_ratings_are_learned_and_less_error_is_better() -> None:
    data = ["data.num_users=300", "data.num_items=100", "data.label=rating", "model.embedding_dim=8"]
    asked = ["loss=squared", "negatives=observed", "eval=pointwise", "eval.metrics=[rmse,mae]"]
    steps = ["optimizer.lr=0.02", "optimizer.weight_decay=1e-3", "fit.batch_size=256"]
    done = recexp.run(*data, *asked, *steps, "trainer=cpu", "trainer.enable_progress_bar=false", "logger=csv")
    split = done.experiment.data.split
    mean = float(np.sqrt(np.mean((split.test.target.label - split.train.label.mean()) ** 2)))
    assert done.metrics["test/rmse"] < 0.95 * mean
    rows = csv.DictReader((done.path / "csv" / "metrics.csv").read_text().splitlines())
    curve = [float(row["val/rmse"]) for row in rows if row["val/rmse"]]
    assert checkpoint(done, "best")["epoch"] == int(np.argmin(curve)) < len(curve) - 1
    assert len(curve) < 30, "stopped early"


class Stopped:
    """Ctrl-C, as the operating system sends it, in some epoch of the first or the second fit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
        self.monkeypatch, self.number = monkeypatch, number
        self.start = Gradient.on_train_epoch_start

    def at(self, epoch: int, fit: int) -> None:
        fits: list[Gradient] = []

        def stopping(module: Gradient) -> None:
            if module not in fits:
                fits.append(module)
            if len(fits) == fit and module.current_epoch == epoch:
                signal.raise_signal(self.number)
            self.start(module)

        self.monkeypatch.setattr(Gradient, "on_train_epoch_start", stopping)

    def no_more(self) -> None:
        self.monkeypatch.setattr(Gradient, "on_train_epoch_start", self.start)


def test_a_refit_that_is_stopped_in_either_fit_goes_on_there(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [*WHOLE, "refit=true", "trainer.max_epochs=3", "model=two_tower"]
    whole = run(*asked)
    assert checkpoint(whole, "last")["epoch"] >= 1, "or there is nothing to stop in the second fit"
    stopped = Stopped(monkeypatch, signal.SIGINT)
    for fit, epoch in ((1, 2), (2, 1)):
        stopped.at(epoch, fit)
        with pytest.raises(KeyboardInterrupt):
            run(*asked, f"hydra.run.dir=fit{fit}")
        facts = Folder(f"fit{fit}").run()
        assert (facts["status"], facts["reason"]) == ("failed", "interrupted")
        stopped.no_more()
        resumed = recexp.run(f"resume=fit{fit}")
        assert timeless(resumed.metrics) == timeless(whole.metrics)
        assert (resumed.facts["status"], resumed.facts["reason"]) == ("finished", None)


def test_ctrl_c_ends_the_program_with_130_and_is_heard_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Stopped(monkeypatch, signal.SIGINT).at(1, fit=1)
    monkeypatch.setattr(sys, "argv", ["recexp", *WHOLE, "trainer=cpu", "logger=none", "hydra.run.dir=run"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 130
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.endswith(f"recexp: stopped. Type python -m recexp resume={Path('run').absolute()} to go on.\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_step_that_does_not_fit_into_memory_is_refused_before_it_is_tried(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = 3 * 4 * 32 * 40
    monkeypatch.setattr("recexp.memory.free_bytes", lambda: scores)
    run(*WHOLE, "loss=softmax", "negatives=full", "trainer.max_epochs=1")
    monkeypatch.setattr("recexp.memory.free_bytes", lambda: scores - 1)
    with pytest.raises(recexp.RecexpError, match=r"a step of 32 questions against 40 items .*fit\.batch_size=8, or"):
        run(*WHOLE, "loss=softmax", "negatives=full", "trainer.max_epochs=1")


def test_the_chosen_epoch_is_told_where_there_was_a_choice(run: Callable[..., Run]) -> None:
    done = run(*WHOLE)
    epoch = checkpoint(done, "best")["epoch"] + 1
    assert done.facts["notes"] == [f"the weights of epoch {epoch}, the best on validation by ndcg@5"]
    assert not run(*TINY[:-1], "model=slim").facts["notes"]


def test_no_epoch_is_called_the_best_where_none_was_validated(run: Callable[..., Run]) -> None:
    assert not run(*WHOLE, "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=2").facts["notes"]


def test_only_what_can_be_resumed_is_offered_after_ctrl_c(tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "selection" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    for task, offered in (("fit", f"Type python -m recexp resume={tmp_path} to go on."), ("update", "")):
        job = Job(Folder(tmp_path), {"task": task}, None, False, [], callbacks=[])
        with pytest.raises(KeyboardInterrupt) as stop, running(job):
            raise KeyboardInterrupt
        assert str(stop.value) == offered


def test_sigterm_is_told_too(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    Stopped(monkeypatch, signal.SIGTERM).at(1, fit=1)
    with pytest.raises(SystemExit) as stop:
        run(*WHOLE, "hydra.run.dir=run")
    assert stop.value.code == 143
    assert (Folder("run").run()["status"], Folder("run").run()["reason"]) == ("failed", "terminated")


def test_an_interrupted_start_leaves_no_folder(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recexp.data.synthetic.Synthetic.load", lambda self: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run(*TINY)
    assert not Path("outputs").exists()


def test_a_pipe_gets_a_line_and_a_terminal_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recexp.run(*WHOLE, "trainer=cpu", "logger=none", "trainer.max_epochs=30")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [line.split(" · ")[0] for line in lines] == ["epoch 30"]
    assert "val/ndcg@5" in lines[0]
    monkeypatch.setattr("recexp.fit.progress.SECONDS_BETWEEN_LINES", 0.0)
    recexp.run(*WHOLE, "trainer=cpu", "logger=none", "trainer.max_epochs=3")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [line.split(" · ")[0] for line in lines] == ["epoch 1", "epoch 2", "epoch 3"]
    assert [line.endswith("left") for line in lines] == [True, True, False]


def test_what_suits_the_console() -> None:
    assert isinstance(progress(Console(file=io.StringIO())), Lines)
    assert isinstance(progress(Console(file=io.StringIO(), force_terminal=True)), Bar)


def test_the_bar_names_no_version(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    metrics = Bar.get_metrics

    def recorded(self: Bar, *more: Any) -> dict[str, Any]:
        shown.append(metrics(self, *more))
        return shown[-1]

    monkeypatch.setattr(Bar, "get_metrics", recorded)
    monkeypatch.setattr("recexp.task.show.console", Console(file=io.StringIO(), force_terminal=True))
    recexp.run(*WHOLE, "trainer=cpu", "logger=csv", "trainer.max_epochs=2")
    assert {name for one in shown for name in one} == {"train/loss", "val/ndcg@5", ""}
    assert any("left" in one[""] for one in shown)


def test_durations_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (5, 300, 9000)] == ["5 s", "5 min", "2.5 h"]
