"""Imports run one way, and the siblings do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import recexp

SOURCE = Path(recexp.__file__).parent
SIBLINGS = ["data", "split", "examples", "model", "loss", "negatives", "eval"]
BELOW = {"types", "errors", "memory"}
MAY_IMPORT = {
    **dict.fromkeys(SIBLINGS, BELOW),
    "types": set(),
    "errors": set(),
    "memory": {"errors"},
    "store": {"errors"},
    "facts": set(),
    "logger": {"errors"},
    "command": {"errors"},
    "targets": {"errors"},
    "checks": {"errors", "command", "targets"},
    "config": {"errors", "checks", "store", "targets"},
    "desk": {"errors", "command", "targets"},
    "sweep": {"errors", "command", "targets", "checks", "config", "store", "facts"},
    "fit": {*SIBLINGS} | BELOW,
    "task": {*SIBLINGS} | BELOW | {"fit", "store", "facts", "checks", "config", "sweep"},
}
CHOSEN_BY_CONFIG = {"model", "loss", "negatives", "examples", "data", "split"}
BASES = {"base", "module", "aligned", "vocabulary"}


def imports(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    assert not any(node.level for node in froms), f"{path}: relative import"
    names = {f"{n.module}.{a.name}" if n.module == "recexp" else str(n.module) for n in froms for a in n.names}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name for name in names if name.startswith("recexp.")}


def files(part: str) -> list[Path]:
    return sorted((SOURCE / part).rglob("*.py")) if (SOURCE / part).is_dir() else [SOURCE / f"{part}.py"]


def test_every_part_has_its_place() -> None:
    parts = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__", "__main__"} == set(MAY_IMPORT)


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_run_one_way(part: str) -> None:
    used = {name.split(".")[1] for path in files(part) for name in imports(path)} - {part}
    assert used <= MAY_IMPORT[part]


def test_the_composition_root_names_no_model_loss_or_dataset() -> None:
    for path in [*files("task"), *files("fit")]:
        named = {tuple(name.split(".")[1:3]) for name in imports(path)}
        assert {name for name in named if name[0] in CHOSEN_BY_CONFIG and name[1] not in BASES} == set(), path
