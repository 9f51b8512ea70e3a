"""The same program from Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import recexp
from recexp.data.raw import find
from recexp.task.run import Run

TINY = ["data.num_users=60", "data.num_items=40", "data.num_events=12", "eval.k=[5]", "model=popularity"]


def test_run_gives_the_run_and_load_run_gives_it_again(run: Callable[..., Run]) -> None:
    done = run(*TINY)
    assert done.metrics == json.loads((done.path / "metrics.json").read_text())
    assert 0 < done.metrics["test/ndcg@5"] <= 1
    assert done.facts["status"] == "finished"
    assert done.config.model._target_.endswith("Popularity")
    again = recexp.load_run(str(done.path))
    assert again.metrics == done.metrics
    assert "finished" in repr(again)
    assert len(again.users) == 60
    assert again.model.score is not None


def test_a_grid_gives_its_last_run(run: Callable[..., Run]) -> None:
    last = recexp.run("-m", *TINY, "trainer=cpu", "logger=none", "seed=1,2", "hydra.sweep.dir=grid")
    assert last.facts["seed"] == 2
    assert last.path.parent.name == "grid"


def test_a_mistake_is_an_exception_and_leaves_nothing(run: Callable[..., Run]) -> None:
    with pytest.raises(recexp.RecexpError, match="there is no model 'popularty'"):
        run("model=popularty")
    assert not Path("outputs").exists()


@pytest.mark.parametrize("content", [None, "", "model: mf"])
def test_what_is_no_run_is_refused(content: str | None) -> None:
    Path("run").mkdir()
    if content is not None:
        Path("run/config.yaml").write_text(content)
    with pytest.raises(recexp.RecexpError, match="run"):
        recexp.load_run("run").recommend()


def test_a_run_that_did_not_finish_says_so(run: Callable[..., Run]) -> None:
    done = run(*TINY)
    (done.path / "weights.safetensors").unlink()
    with pytest.raises(recexp.RecexpError, match=rf"has no weights.safetensors.*resume={done.path}"):
        recexp.load_run(done.path).recommend()


def test_a_saved_config_that_names_foreign_classes_is_not_loaded(run: Callable[..., Run]) -> None:
    done = run(*TINY)
    path = done.path / "config.yaml"
    path.write_text(path.read_text().replace("recexp.model.popularity.Popularity", "os.system"))
    with pytest.raises(recexp.RecexpError, match=r"os\.system"):
        recexp.load_run(done.path)


def test_after_a_run_paths_are_relative_to_where_python_is(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(*TINY)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (elsewhere / "log.csv").touch()
    assert find("log.csv").path == elsewhere / "log.csv"
    again = run(*TINY)
    assert again.path.is_relative_to(elsewhere)
    assert not done.path.is_relative_to(elsewhere)
