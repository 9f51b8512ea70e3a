"""What every model must do, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from recexp import config
from recexp.model.base import Recommender
from recexp.task.assemble import new_model
from recexp.task.run import Run
from recexp.types import PAD, Query

MODELS = sorted(path.stem for path in (config.folder() / "model").glob("*.yaml"))
SAME_FOR_ALL = {"popularity"}


def fresh(model: str, *overrides: str) -> Recommender:
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        return new_model(compose("config", overrides=[f"model={model}", *overrides]), num_users=4, num_items=6).eval()


def queries() -> Query:
    return Query.from_histories([[0, 1, 2], [5], [], [3, 3, 1, 0]], users=[0, 1, PAD, 3])


@pytest.mark.parametrize("model", MODELS)
def test_scores_have_their_shapes_and_are_finite(model: str) -> None:
    scorer, query = fresh(model), queries()
    all_BI = scorer.score(query)
    own_BC = torch.tensor([[0, 1], [2, 3], [4, 5], [5, 0]])
    assert all_BI.shape == (4, 6)
    assert torch.isfinite(all_BI).all()
    torch.testing.assert_close(scorer.score(query, torch.tensor([4, 2])), all_BI[:, [4, 2]])
    torch.testing.assert_close(scorer.score(query, own_BC), all_BI.gather(1, own_BC))


@pytest.mark.parametrize("model", MODELS)
def test_the_seed_decides(model: str) -> None:
    one, same, other = fresh(model), fresh(model), fresh(model, "seed=2")
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True))
    if any(tensor.any() for tensor in one.state_dict().values()):  # what starts from nothing draws nothing
        assert not torch.equal(one.score(queries()), other.score(queries()))


@pytest.mark.parametrize("model", MODELS)
def test_a_user_without_id_and_history_gets_finite_scores(model: str) -> None:
    nobody = Query.from_histories([[]])
    assert torch.isfinite(fresh(model).score(nobody)).all()


@pytest.mark.parametrize("model", MODELS)
def test_rows_do_not_depend_on_their_batch(model: str) -> None:
    scorer = fresh(model)
    together = scorer.score(queries())
    alone = scorer.score(Query.from_histories([[5]], users=[1]))
    torch.testing.assert_close(together[1:2], alone)


@pytest.mark.parametrize("model", [m for m in MODELS if m not in SAME_FOR_ALL])
def test_finds_the_one_answer_of_the_checkerboard(
    model: str, run: Callable[..., Run], on_checkerboard: list[str]
) -> None:
    done = run(*on_checkerboard, f"model={model}", "eval.k=[1]", *learn(model))
    assert done.metrics["test/hr@1"] == 1.0
    assert done.metrics["popularity/hr@1"] < 0.5


@pytest.mark.parametrize("model", MODELS)
def test_a_saved_model_scores_the_same(model: str, run: Callable[..., Run], on_checkerboard: list[str]) -> None:
    done = run(*on_checkerboard, f"model={model}", "eval.k=[1]", "trainer.max_epochs=1")
    best = torch.load(done.folder.checkpoints / "best.ckpt", weights_only=True)["state_dict"]
    query = queries()
    scores = done.model.score(query)
    fitted = new_model(done.config, len(done.users), len(done.items)).eval()
    fitted.load_state_dict({k.removeprefix("model."): v for k, v in best.items() if k.startswith("model.")})
    assert torch.equal(scores, fitted.score(query))


@pytest.mark.parametrize("model", MODELS)
def test_renaming_the_items_renames_the_answer(
    model: str, run: Callable[..., Run], checkerboard: Path, tmp_path: Path
) -> None:
    """Item-permutation equivariance of the whole path: other ids, the same metrics up to what the seed draws."""
    renamed = tmp_path / "renamed.csv"
    lines = checkerboard.read_text().splitlines()
    order = np.random.default_rng(3).permutation(24)
    swap = {f"i{old:02}": f"i{new:02}" for old, new in enumerate(order)}
    renamed.write_text(
        "\n".join([lines[0], *(",".join(swap.get(c, c) for c in line.split(",")) for line in lines[1:])])
    )
    one, two = (
        run("data=table", f"data.path={path}", "data.user=user", "data.item=item", "data.time=time",
            f"model={model}", "eval.k=[1]", *(learn(model) if model not in SAME_FOR_ALL else []))
        for path in (checkerboard, renamed)
    )  # fmt: skip
    assert one.metrics["test/hr@1"] == two.metrics["test/hr@1"]
    assert one.facts["data"] != two.facts["data"]


def learn(model: str) -> list[str]:
    """What lets a model find the answer in a second; a solved one has no optimizer to set."""
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        composed = compose("config", overrides=[f"model={model}"])
    keys = {key: value for key, value in LEARN.items() if OmegaConf.select(composed, key) is not None}
    return [*(f"{key}={value}" for key, value in keys.items()), *EPOCHS, *OWN.get(model, [])]


LEARN = {
    "model.embedding_dim": 8,
    "model.init_std": 0.1,
    "examples": "events",  # the same rows, and so the same number of steps, for everybody
    "optimizer.lr": 0.01,
    "fit.batch_size": 40,
    "fit.patience": "null",
}

EPOCHS = ["trainer.max_epochs=40", "trainer.check_val_every_n_epoch=40"]

OWN = {
    "dssm": ["model.hidden_dims=[16]", "model.features.users=[]"],
    "two_tower": ["model.features.users=[]"],
}
"""The learning rate of the others is too much for tanh layers of full width; with users' ids it learns by heart."""
