"""What the README tells people to type works as it stands there."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import recexp
from recexp import config
from recexp.task.run import Run

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMANDS = [
    line.removeprefix("python -m recexp").strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("python -m recexp")
]
ONE_TRIAL = ["trainer.max_epochs=1", "hydra.sweeper.n_trials=1", "hydra.sweeper.workers=0"]
QUICK = ["trainer.max_epochs=1", "trainer.enable_progress_bar=false"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_there_are_commands_to_test() -> None:
    assert len(COMMANDS) >= 8
    assert len(README.splitlines()) <= 200
    assert "\nRESULTS\n" not in README


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(
    command: str, run: Callable[..., Run], checkerboard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "movielens" in command and "RECEXP_DATA" not in __import__("os").environ:
        pytest.skip("RECEXP_DATA does not point at the real data")
    arguments = shlex.split(command)
    if "my.parquet" in command:
        import polars as pl

        table = pl.read_csv(checkerboard).rename({"user": "uid", "item": "sku", "time": "ts"})
        table.write_parquet("my.parquet")
    if "outputs/DATE/RUN" in command:
        earlier = run("data.num_users=60", *QUICK[:1])
        arguments = [argument.replace("outputs/DATE/RUN", str(earlier.path)) for argument in arguments]
    if "outputs/studies" in command:
        recexp.run("-m", "sweeps=synthetic", *ONE_TRIAL)
    given = {argument.split("=")[0] for argument in arguments}
    quick = [q for q in QUICK if q.split("=")[0] not in given and "task=recommend" not in arguments]
    if "trainer.max_epochs=50" in arguments:
        arguments[arguments.index("trainer.max_epochs=50")] = "trainer.max_epochs=1"
    small = ["data.num_users=60"] if not any(a.startswith(("data", "task=", "resume")) for a in arguments) else []
    recexp.run(*arguments, *quick, *small, *(ONE_TRIAL[1:] if "sweeps=" in command else []))


def test_the_model_of_the_readme_learns(on_checkerboard: list[str], tmp_path: Path) -> None:
    (code,) = (block for block in blocks("python") if "class Dot" in block)
    (yaml,) = (block for block in blocks("yaml") if "my_package.Dot" in block)
    imports = (
        "from torch import Tensor, nn\nfrom recexp.model.base import Factored, lookup\nfrom recexp.types import Query\n"
    )
    (tmp_path / "my_package.py").write_text(imports + code)
    folder = tmp_path / "my_conf" / "model"
    folder.mkdir(parents=True)
    (folder / "dot.yaml").write_text(yaml)
    sys.path.insert(0, str(tmp_path))
    try:
        done = recexp.run(
            "--config-dir", "my_conf", *on_checkerboard, "model=dot", "allow=[my_package]", "logger=none",
            "trainer=cpu", "trainer.enable_progress_bar=false", "eval.k=[1]", "optimizer.lr=0.03",
            "fit.batch_size=40", "trainer.max_epochs=30", "model.embedding_dim=2", "fit.patience=null",
        )  # fmt: skip
    finally:
        sys.path.remove(str(tmp_path))
    assert done.metrics["test/hr@1"] > 0.5
    assert done.metrics["test/hr@1"] > 5 * done.metrics["popularity/hr@1"]


MADE_BY_TASKS = {"extended"}
"""An option that task=update writes and nobody types."""


@pytest.mark.parametrize("group", re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
def test_every_option_of_a_group_is_in_its_row(group: str) -> None:
    (row,) = re.findall(rf"^\| `{group}` \|(.*)$", README, re.MULTILINE)
    options = {path.stem for path in (config.folder() / group).glob("*.yaml")} - MADE_BY_TASKS
    assert options
    assert {option for option in options if f"`{option}`" not in row} == set()
