"""The search space: Hydra's sweeps as Optuna's distributions, and back as overrides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from recexp.command import parsed
from recexp.errors import RecexpError

Values = Mapping[str, Any]
"""The value of each active parameter, by the parameter's name in the study."""


@dataclass(frozen=True)
class Parameter:
    """One thing that varies.

    Args:
        key: of the config. typed: the sweep, in Hydra's syntax.
        condition: the choice it belongs to, `model=two_tower`, or None.
        texts: how each value of a choice is typed.
    """

    key: str
    typed: str
    condition: str | None
    distribution: BaseDistribution
    texts: Mapping[Any, str]

    @property
    def name(self) -> str:
        """In the study: the same key under several conditions is several parameters."""
        return self.key if self.condition is None else f"{self.key} ({self.condition})"

    def override(self, value: Any) -> str:
        """The override that gives it a value."""
        return f"{self.key}={self.texts.get(value, repr(value))}"

    @property
    def values(self) -> list[Any] | None:
        """All its values; None if they cannot be counted."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return list(d.choices)
        if isinstance(d, IntDistribution):
            return list(range(d.low, d.high + 1, d.step))
        assert isinstance(d, FloatDistribution)
        return None if d.step is None else [d.low + i * d.step for i in range(round((d.high - d.low) / d.step) + 1)]

    @property
    def corners(self) -> list[Any]:
        """All choices, or both ends of a range."""
        d = self.distribution
        return list(d.choices) if isinstance(d, CategoricalDistribution) else [d.low, d.high]  # type: ignore[attr-defined]

    def draw(self, trial: Trial) -> Any:
        """The sampler's value for a trial."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return trial.suggest_categorical(self.name, d.choices)
        if isinstance(d, IntDistribution):
            return trial.suggest_int(self.name, d.low, d.high, step=d.step, log=d.log)
        assert isinstance(d, FloatDistribution)
        return trial.suggest_float(self.name, d.low, d.high, step=d.step, log=d.log)


class Space:
    """Everything that varies, what stands fixed, and under which conditions.

    Args:
        parameters: unconditional ones first.
        holds: whether a fixed choice, `model` and `two_tower`, is what the config says.
    """

    def __init__(self, parameters: Sequence[Parameter], holds: Callable[[str, str], bool]) -> None:
        self.parameters = parameters
        self._holds = holds

    def active(self, parameter: Parameter, values: Values) -> bool:
        """Whether a parameter belongs to what was chosen so far."""
        if parameter.condition is None:
            return True
        key, _, options = parameter.condition.partition("=")
        owners = [other for other in self.parameters if other.key == key and other.name in values]
        if owners:
            return owners[0].override(values[owners[0].name]).partition("=")[2] in options.split(",")
        varies = any(other.key == key for other in self.parameters)
        return not varies and any(self._holds(key, option) for option in options.split(","))

    def draw(self, trial: Trial) -> dict[str, Any]:
        """Let the sampler choose."""
        return self.walk(lambda parameter: parameter.draw(trial))

    def walk(self, choose: Callable[[Parameter], Any]) -> dict[str, Any]:
        """A value for every parameter that is active given the ones before it."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if self.active(parameter, values):
                values[parameter.name] = choose(parameter)
        return values

    def overrides(self, values: Values) -> list[str]:
        """The values as overrides, in the order of the space."""
        return [p.override(values[p.name]) for p in self.parameters if p.name in values]

    def corners(self) -> Iterator[dict[str, Any]]:
        """As few points as show every choice and both ends of every range."""
        for turn in range(max((len(p.corners) for p in self.parameters), default=1)):
            yield self.walk(lambda p, turn=turn: p.corners[turn % len(p.corners)])  # type: ignore[misc]

    def size(self) -> float:
        """How many points there are."""
        return self._size(0, {})

    def _size(self, at: int, values: dict[str, Any]) -> float:
        if at == len(self.parameters):
            return 1
        parameter = self.parameters[at]
        if not self.active(parameter, values):
            return self._size(at + 1, values)
        if parameter.values is None:
            return math.inf
        if not any((p.condition or "").startswith(f"{parameter.key}=") for p in self.parameters[at:]):
            return len(parameter.values) * self._size(at + 1, values)
        return sum(self._size(at + 1, {**values, parameter.name: value}) for value in parameter.values)

    def points(self) -> Iterator[dict[str, Any]]:
        """All of them, where they can be counted."""
        yield from self._points(0, {})

    def _points(self, at: int, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if at == len(self.parameters):
            yield values
            return
        parameter = self.parameters[at]
        if not self.active(parameter, values):
            yield from self._points(at + 1, values)
            return
        for value in parameter.values or []:
            yield from self._points(at + 1, {**values, parameter.name: value})

    def grid(self) -> dict[str, list[Any]]:
        """The values of each parameter, for a sampler that wants them all.

        Raises:
            RecexpError: they cannot be listed.
        """
        for parameter in self.parameters:
            if parameter.condition is not None:
                raise RecexpError(
                    f"a grid has no conditions, and {parameter.key} belongs to {parameter.condition}. "
                    "Type hydra/sweeper/sampler=brute_force."
                )
            if parameter.values is None:
                raise RecexpError(
                    f"{parameter.key}={parameter.typed}: a grid needs its values one by one. "
                    f"Type {parameter.key}=choice(A,B,C) or range(START,STOP,STEP), or another sampler."
                )
        return {parameter.name: list(parameter.values or []) for parameter in self.parameters}


def parameter(typed: str, condition: str | None) -> Parameter | str:
    """One line of a space, `optimizer.lr=tag(log, interval(1e-4, 1e-1))`; a plain override if nothing varies.

    Raises:
        RecexpError: it cannot be read, or there is nothing in it.
    """
    override = parsed(typed)
    if not override.is_sweep_override():
        return typed
    sweep = override.value()
    key, text = override.get_key_element(), override.get_value_string()
    distribution, texts = _distribution(override, sweep)
    return Parameter(key, text, condition, distribution, texts)


def _distribution(override: Override, sweep: Any) -> tuple[BaseDistribution, dict[Any, str]]:
    typed = str(override.input_line)
    tags: set[str] = getattr(sweep, "tags", set())
    if tags - {"log"}:
        raise RecexpError(f"{typed}: the tag '{min(tags - {'log'})}' is unknown. Allowed: log, as tag(log, …).")
    try:
        if isinstance(sweep, IntervalSweep):
            return _interval(sweep, "log" in tags), {}
        if isinstance(sweep, RangeSweep):
            return _range(sweep, "log" in tags), {}
        assert isinstance(sweep, ChoiceSweep) or override.is_choice_sweep()
        return _choice(override)
    except ValueError as error:
        raise RecexpError(f"{typed}: {str(error).rstrip('.')}.") from error


def _interval(sweep: IntervalSweep, log: bool) -> BaseDistribution:
    low, high = sweep.start, sweep.end
    assert low is not None and high is not None
    if low >= high:
        raise ValueError(f"the interval ends at {high:g}, where it begins or before; type the smaller number first")
    if log and low <= 0:
        raise ValueError(f"on a log scale everything is above 0, and this begins at {low:g}")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _range(sweep: RangeSweep, log: bool) -> BaseDistribution:
    values = sorted(sweep.range())
    if not values:
        raise ValueError("there is nothing in this range; its end is not part of it")
    step, low, high = abs(sweep.step), values[0], values[-1]
    if log and step != 1:
        raise ValueError("a range on a log scale has no step; type tag(log, int(interval(LOW, HIGH)))")
    if all(isinstance(value, int) for value in values):
        return IntDistribution(int(low), int(high), step=1 if log else int(step), log=log)
    return FloatDistribution(float(low), float(high), step=float(step))


def _choice(override: Override) -> tuple[BaseDistribution, dict[Any, str]]:
    texts = list(override.sweep_string_iterator())
    plain = [parsed(f"{override.get_key_element()}={text}").value() for text in texts]
    values = [
        value if isinstance(value, bool | int | float) or value is None else text
        for value, text in zip(plain, texts, strict=True)
    ]
    if not values:
        raise ValueError("there is no value in it; type choice(A,B,C)")
    if len(set(map(repr, values))) < len(values):
        raise ValueError("a value is given twice; drop one of them")
    if len(set(values)) < len(values):
        values = list(texts)  # 1 and true, which Python and Optuna take for the same
    return CategoricalDistribution(values), dict(zip(values, texts, strict=True))
