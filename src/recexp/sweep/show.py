"""What a person sees of a study: a line for each trial as it ends, what runs now, and a summary."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recexp.errors import RecexpError
from recexp.sweep import marks
from recexp.sweep.settings import Settings
from recexp.sweep.space import Space

SAYS = {TrialState.COMPLETE: "", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed", TrialState.RUNNING: "running"}
ALIKE = 3
"""Trials that fail for one reason before the study is given up."""
SHOWN = 5
"""Trials in the summary."""


def says(trial: FrozenTrial) -> str:
    """How a trial ended, in a word."""
    marked = [mark for mark in (marks.STALE, marks.WITHDRAWN) if mark in trial.user_attrs]
    return marked[0] if marked else SAYS.get(trial.state, "queued")


def number(value: float | None) -> str:
    """A metric, in its column."""
    if value is None:
        return ""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"


def brief(value: object) -> str:
    """A parameter's value as a person reads it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def parameters(trial: FrozenTrial, space: Space) -> str:
    """What the trial tried."""
    return " ".join(
        f"{p.key.split('.', 1)[-1]}={brief(trial.params[p.name])}" for p in space.parameters if p.name in trial.params
    )


def best(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials, the best first; with several objectives the Pareto front, the best in the first of them first."""
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len(study.directions) > 1 and finished:
        finished = list(study.best_trials)
    sign = -1 if study.directions[0] == StudyDirection.MAXIMIZE else 1
    return sorted(finished, key=lambda trial: (sign * trial.values[0], trial.number))


def which_of_front(settings: Settings, front: Sequence[FrozenTrial]) -> str:
    """Which trial of a Pareto front is taken where one is needed."""
    others = ", ".join(str(trial.number) for trial in front[1:])
    rest = f" nobody beats trials {others} either: study.json has them all" if others else " it is alone there"
    return f"trial {front[0].number} is the one of the Pareto front that is best in {settings.metrics[0]};{rest}"


class Lines:
    """Prints a line for each trial that has ended since the last look.

    Args:
        console: printed to.
    """

    def __init__(self, study: optuna.Study, settings: Settings, space: Space, console: Console) -> None:
        self.study, self.settings, self.space, self.console = study, settings, space, console
        self.began = time.monotonic()
        self.done: set[int] = set()
        self.ended: list[FrozenTrial] = []
        """Trials that ended while this command ran."""

    def opening(self, n_trials: int) -> None:
        """What is about to be done."""
        before = self.study.get_trials(deepcopy=False)
        counted = [trial for trial in before if trial.state.is_finished()]
        self.done = {trial.number for trial in counted}
        sampler = str(self.settings.sampler["_target_"]).rpartition(".")[2].removesuffix("Sampler")
        pruner = str(self.settings.pruner["_target_"]).rpartition(".")[2].removesuffix("Pruner")
        said = f"[bold]{self.settings.name}[/]: {n_trials} trials of {', '.join(p.name for p in self.space.parameters)}"
        self.console.print(f"{said} · {sampler}, {pruner} · {self.settings.folder}", soft_wrap=True)
        if n_trials < self.settings.n_trials:
            self.console.print(
                f"these are all there are: {n_trials} of {self.settings.n_trials} asked for", style="dim"
            )
        if before:
            went = sum(map(marks.counts, before))
            self.console.print(f"it goes on: {went} of {n_trials} are done", style="dim")
        self._row(
            "trial",
            [m.removeprefix("val/") for m in self.settings.metrics],
            "best",
            "epochs",
            "seconds",
            "",
            style="bold",
        )

    def _row(
        self, trial: object, values: Sequence[str], top: str, epochs: object, seconds: str, said: str, style: str = ""
    ) -> None:
        cells = "".join(f"{value:>12}" for value in values)
        text = f"{trial!s:>5}{cells}{top if len(values) == 1 else '':>10}{epochs!s:>8}{seconds:>9}  {said}"
        self.console.print(text.rstrip(), style=style, soft_wrap=True, markup=False)

    def look(self) -> list[FrozenTrial]:
        """Print what ended; all trials."""
        trials = self.study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.state.is_finished() and trial.number not in self.done]
        for trial in sorted(ended, key=lambda t: (t.datetime_complete is None, t.datetime_complete)):
            self.done.add(trial.number)
            if marks.WITHDRAWN not in trial.user_attrs:
                self._line(trial, trials)
        return trials

    def refuse_hopeless(self, trials: Sequence[FrozenTrial]) -> None:
        """Stop where nothing of the study ever finished and all failed for one reason: then it is no trial's own.

        Raises:
            RecexpError: what was asked is impossible.
            SystemExit: the runs fail.
        """
        reasons = {str(trial.user_attrs.get(marks.REASON)) for trial in self.ended if marks.counts(trial)}
        worked = any(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
        if worked or len(self.ended) < ALIKE or len(reasons) > 1 or not all(map(marks.failed, self.ended)):
            return
        (reason,) = reasons
        said = (
            f"{len(self.ended)} trials failed alike: {reason.removeprefix('RecexpError: ').rstrip('.')}. None of this "
            f"study ever finished, so hydra.sweeper.max_failures={self.settings.max_failures} is not waited for."
        )
        if reason.startswith("RecexpError: "):
            raise RecexpError(said)
        self.console.print(said, style="red", soft_wrap=True, markup=False)
        raise SystemExit(1)

    def _line(self, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> None:
        self.ended.append(trial)
        known = [t for t in trials if t.number in self.done]
        front = best(self.study, known)
        values = [number(v) for v in trial.values] if trial.values else [""] * len(self.settings.metrics)
        failed = trial.state == TrialState.FAIL
        said = f"{says(trial)}: {trial.user_attrs.get(marks.REASON, '')}" if failed else says(trial)
        is_best = bool(front) and trial in (front if len(values) > 1 else front[:1])
        text = " · ".join(part for part in (said, parameters(trial, self.space)) if part)
        top = number(front[0].values[0]) if front and len(values) == 1 else ""
        seconds = trial.user_attrs.get(marks.SECONDS)
        took = "" if seconds is None else f"{float(seconds):.1f}"
        style = "red" if failed else "green" if is_best else "dim" if said else ""
        self._row(trial.number, values, top, len(trial.intermediate_values) or "", took, text, style)

    def status(self, trials: Sequence[FrozenTrial], n_trials: int) -> str:
        """What runs now and how long the rest may take."""
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        counted = sum(map(marks.counts, trials))
        shown = [f"{trial.number} (epoch {max(trial.intermediate_values, default=0)})" for trial in running]
        left = ""
        if self.ended:
            seconds = (time.monotonic() - self.began) / len(self.ended) * (n_trials - counted)
            left = f" · about {seconds / 60:.0f} min left" if seconds >= 90 else f" · about {seconds:.0f} s left"
        return f"{counted} of {n_trials} done · running {', '.join(shown) or 'none yet'}{left}"


def summary(study: optuna.Study, settings: Settings, space: Space, console: Console, rerun: FrozenTrial | None) -> None:
    """How the study ended: how many of each kind, the best trials, what matters.

    Args:
        rerun: the trial of best.yaml; None where there is no best.yaml.
    """
    trials = [trial for trial in study.get_trials(deepcopy=False) if marks.WITHDRAWN not in trial.user_attrs]
    kinds = [says(trial) or "finished" for trial in trials]
    console.print()
    ended = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    console.print(f"{len(trials)} trials: {ended} · {sum(len(t.intermediate_values) for t in trials)} epochs")
    front = best(study, trials)
    if not front:
        console.print("no trial finished")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    several = len(settings.metrics) > 1
    for name in ("Pareto front" if several else "best trials", *settings.metrics, "parameters"):
        table.add_column(name, justify="right" if name in settings.metrics else "left")
    for trial in front if several else front[:SHOWN]:
        table.add_row(str(trial.number), *map(number, trial.values), escape(parameters(trial, space)))
    console.print(table)
    if rerun is None:
        worker = front[0].user_attrs.get(marks.WORKER)
        console.print(
            f"the folder of trial {front[0].number}, the best one, is not here but where its worker {worker} ran; "
            "the same command there writes its best.yaml",
            soft_wrap=True,
        )
    elif several:
        console.print(f"best.yaml: {which_of_front(settings, front)}", soft_wrap=True)
    for line in _importances(study, settings, space):
        console.print(line, soft_wrap=True)


def _importances(study: optuna.Study, settings: Settings, space: Space) -> list[str]:
    """How much of the differences each parameter explains; nothing where too little is known."""
    if len(settings.metrics) > 1:
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it warns where it only guesses
            found = optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError, ZeroDivisionError, Warning):
        return []
    return ["what matters: " + ", ".join(f"{name} {share:.0%}" for name, share in found.items())]
