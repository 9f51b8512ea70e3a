"""Constructors are read from source, and mean what Python would say."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pytorch_lightning import Trainer

from recexp.data.filters import Filters
from recexp.errors import RecexpError
from recexp.model.two_tower import TwoTower
from recexp.targets import TRAINER, annotated, matches, refuse_foreign_targets, words


@pytest.mark.parametrize(
    ("target", "cls"),
    [
        (TRAINER, Trainer),
        ("recexp.model.two_tower.TwoTower", TwoTower),
        ("recexp.data.filters.Filters", Filters),  # a dataclass
    ],
)
def test_parameters_are_read_without_importing(target: str, cls: type) -> None:
    assert list(annotated(target)) == list(inspect.signature(cls).parameters)


@pytest.mark.parametrize(
    ("value", "annotation", "fits"),
    [
        (3, "int", True),
        (3.0, "int", False),
        (True, "int", False),
        (3, "float", True),
        ("3", "float", False),
        (None, "int | None", True),
        (None, "int", False),
        (None, "Optional[Union[int, str]]", True),
        ([1], "Optional[Union[int, str]]", False),
        (False, "Union[bool, int]", True),
        ([1, 2], "Sequence[int]", True),
        ([1, "2"], "Sequence[int]", False),
        ([1, "2"], "list[Any]", True),
        ({"a": 1}, "Mapping[str, int]", True),
        ("a", "Mapping[str, int]", False),
        ("a", "recexp.eval.segments.Segments", True),  # not ours to judge
    ],
)
def test_values_are_of_an_annotated_kind(value: Any, annotation: str, fits: bool) -> None:
    assert matches(value, annotation) is fits


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ("int | None", "a whole number or null"),
        ("Optional[Union[int, float]]", "a number or null"),
        ("Sequence[str]", "a list of texts"),
        ("Optional[Union[str, timedelta, dict[str, int]]]", "a text or keys with values or null"),
    ],
)
def test_kinds_are_said_as_a_person_would(annotation: str, said: str) -> None:
    assert words(annotation) == said


@pytest.mark.parametrize(
    "target",
    [
        "recexp.model.mf.MF",
        "torch.optim.Adam",
        "pytorch_lightning.Trainer",
        "pytorch_lightning.loggers.CSVLogger",
        "mine.Model",
    ],
)
def test_known_classes_and_those_of_allowed_packages_pass(target: str) -> None:
    refuse_foreign_targets({"model": {"_target_": target}}, ["mine"])


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "mined.Model",
        "mine",
        "recexp.store.os.system",
        "recexp.task.assemble.make",
        "torch.optim.adam.Adam",
        "torch.load",
        "pytorch_lightning.loggers.wandb.os.system",
        "",
    ],
)
def test_all_others_are_refused(target: str) -> None:
    with pytest.raises(RecexpError, match="_target_="):
        refuse_foreign_targets({"list": [{"model": {"_target_": target}}]}, ["mine"])
