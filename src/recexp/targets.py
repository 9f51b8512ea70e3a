"""What `_target_` may name, and of what kind its settings are: read from source files, nothing is imported."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from recexp.errors import RecexpError, nearest

FOREIGN = re.compile(r"pytorch_lightning\.Trainer|(pytorch_lightning\.loggers|torch\.optim)\.[A-Z]\w*")
"""Other people's classes that need no `allow`. A prefix would not do: `torch.optim.sgd.os.system` has it too."""

TRAINER = "pytorch_lightning.Trainer"
TRAINER_SOURCE = "pytorch_lightning.trainer.trainer.Trainer"

KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((float, int), "a number"),
    "str": ((str,), "a text"),
    "bool": ((bool,), "true or false"),
    "Sequence": ((list,), "a list"),
    "list": ((list,), "a list"),
    "Mapping": ((dict,), "keys with values"),
    "dict": ((dict,), "keys with values"),
}
"""What the names in annotations mean in a config; other names may be anything."""

PLURALS = {"int": " of whole numbers", "float": " of numbers", "str": " of texts"}


def configured(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with a `_target_`, and where it stands."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from configured(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from configured(value, f"{path}[{number}]")


def refuse_foreign_targets(plain: Any, allow: Sequence[str] = ()) -> None:
    """A config may only name classes of recexp, of its trainer, optimizers and loggers, and of packages in `allow`.

    Raises:
        RecexpError: it names another one, or one that is not there.
    """
    own = tuple(f"{package}." for package in allow)
    for path, node in configured(plain):
        target = str(node["_target_"])
        module = target.rpartition(".")[0]
        if target.startswith("recexp."):
            _refuse_unless_among(_public(module, path), path, target)
        elif FOREIGN.fullmatch(target):
            _refuse_unless_among(_exported(module), path, target)
        elif not module or not target.startswith(own):
            package = target.split(".")[0]
            hint = (
                f"If you trust what {package} does, type 'allow=[{package}]': only what you type counts"
                if module
                else ""
            )
            raise RecexpError(f"{path}._target_={target} is none of recexp's own classes. {hint or 'Drop it'}.")


def _refuse_unless_among(names: Sequence[str], path: str, target: str) -> None:
    module, _, name = target.rpartition(".")
    if name not in names:
        group = path.split(".")[0]
        there = f"; there are {', '.join(nearest(name, names)[:4])}" if names else ""
        raise RecexpError(
            f"{path}._target_={target}: {module} has no {name} for {group}{there}. Drop it, or type {group}=OPTION."
        )


def _public(module: str, path: str) -> list[str]:
    """The classes of a module of recexp that may stand at a place; tasks are functions."""
    kind = ast.FunctionDef if path == "task" else ast.ClassDef
    elsewhere = "." not in path and not module.startswith(f"recexp.{path}.")
    found = [node.name for node in _source(module) if isinstance(node, kind) and not node.name.startswith("_")]
    return [] if elsewhere else found


def _exported(package: str) -> list[str]:
    """What a package's `__init__` imports."""
    imports = [node for node in ast.walk(ast.Module(list(_source(package)), [])) if isinstance(node, ast.ImportFrom)]
    return [alias.asname or alias.name for node in imports for alias in node.names]


@cache
def _source(module: str) -> tuple[ast.stmt, ...]:
    """The statements of a module's file; none if there is no such module."""
    package, *rest = module.split(".")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return ()
    place = Path(spec.submodule_search_locations[0], *rest)
    files = [file for file in (place / "__init__.py", place.parent / f"{place.name}.py") if file.is_file()]
    return tuple(ast.parse(files[0].read_text()).body) if files else ()


@cache
def annotated(target: str) -> dict[str, str]:
    """Constructor parameters and their annotations; none for classes of others, Lightning's Trainer aside."""
    if target != TRAINER and not target.startswith("recexp."):
        return {}
    module, _, name = (TRAINER_SOURCE if target == TRAINER else target).rpartition(".")
    classes = [node for node in _source(module) if isinstance(node, ast.ClassDef) and node.name == name]
    body = [statement for node in classes for statement in node.body]
    inits = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    if not inits:  # a dataclass
        fields = [node for node in body if isinstance(node, ast.AnnAssign)]
        return {ast.unparse(field.target): ast.unparse(field.annotation) for field in fields}
    found = [a for init in inits for a in (*init.args.args[1:], *init.args.kwonlyargs)]
    return {a.arg: ast.unparse(a.annotation) if a.annotation else "Any" for a in found}


def matches(value: Any, annotation: str) -> bool:
    """Whether a plain value is of an annotated kind."""
    return any(_is(value, kind) for kind in _alternatives(ast.parse(annotation, mode="eval").body))


def words(annotation: str) -> str:
    """`a whole number or null`, as a person would say it."""
    kinds = _alternatives(ast.parse(annotation, mode="eval").body)
    said = dict.fromkeys(_word(kind) for kind in kinds if isinstance(kind, ast.Constant) or _name(kind) in KINDS)
    return " or ".join(word for word in said if word != "a whole number" or "a number" not in said)


def _alternatives(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    if isinstance(node, ast.Subscript) and _name(node) == "Optional":
        return [*_alternatives(node.slice), ast.Constant(None)]
    if isinstance(node, ast.Subscript) and _name(node) == "Union" and isinstance(node.slice, ast.Tuple):
        return [kind for part in node.slice.elts for kind in _alternatives(part)]
    return [node]


def _name(node: ast.expr) -> str:
    return ast.unparse(node).split("[")[0].rsplit(".", 1)[-1]


def _is(value: Any, kind: ast.expr) -> bool:
    if isinstance(kind, ast.Constant):
        return value is kind.value
    name = _name(kind)
    if name not in KINDS:
        return True
    if isinstance(value, bool):
        return name == "bool"
    if not isinstance(value, KINDS[name][0]):
        return False
    inner = ast.unparse(kind.slice) if isinstance(kind, ast.Subscript) else "Any"
    return not isinstance(value, list) or all(matches(element, inner) for element in value)


def _word(kind: ast.expr) -> str:
    if isinstance(kind, ast.Constant):
        return "null"
    inner = PLURALS.get(_name(kind.slice), "") if isinstance(kind, ast.Subscript) else ""
    return KINDS[_name(kind)][1] + inner
