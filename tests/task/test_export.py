"""What an export writes says what the model says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recexp
from recexp.task.index import Index, recall_of
from recexp.task.run import Run

pytest.importorskip("usearch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

TINY = ["data.num_users=60", "data.num_items=80", "data.num_events=12", "eval.k=[5]", "trainer.max_epochs=1"]
K = 7


MODELS = {
    "mean": ["model=two_tower"],
    "transformer": ["model=two_tower", "model/history=transformer", "model.similarity=cosine"],
    "dssm": ["model=dssm"],
    "events that weigh": ["model=two_tower", "data.filters.half_life=10"],
    "nothing known of users, events that weigh": [
        "model=dssm",
        "model.features.users=[]",
        "data.filters.half_life=10",
    ],
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_towers_and_index_agree_with_the_model(model: list[str], run: Callable[..., Run]) -> None:
    done = run(*TINY, *model)
    found = recexp.run("task=export", f"run={done.path}")
    assert found.metrics["export/query_tower_difference"] < 1e-4
    assert found.metrics["export/item_tower_difference"] < 1e-4
    assert found.metrics["export/index_recall@20"] >= 0.98
    own = done.recommend(k=K)
    for engine in ("index", "onnx"):
        answered = recexp.run(
            "task=recommend", f"run={done.path}", f"k={K}", f"engine={engine}", f"export={found.path}"
        )
        lists = pl.read_parquet(answered.path / "recommendations.parquet")
        assert lists.schema == own.schema
        joined = lists.join(own, on=["user", "item"])
        assert joined.height > 0.98 * own.height
        assert joined["score"].to_numpy() == pytest.approx(joined["score_right"].to_numpy(), abs=1e-4)


def test_a_model_without_towers_gets_an_index_alone(run: Callable[..., Run]) -> None:
    done = run(*TINY, "model=mf")
    found = recexp.run("task=export", f"run={done.path}")
    assert set(found.metrics) == {"export/index_recall@20", "export/index_ms"}
    with pytest.raises(recexp.RecexpError, match=r"has no query_tower.onnx.*engine=index"):
        recexp.run("task=recommend", f"run={done.path}", "engine=onnx", f"export={found.path}")


def test_impossible_wishes(run: Callable[..., Run]) -> None:
    done = run(*TINY, "model=mf", "hydra.run.dir=run")
    solved = run(*TINY[:-1], "model=popularity", "hydra.run.dir=solved")
    with pytest.raises(recexp.RecexpError, match="Popularity scores items by no vectors"):
        recexp.run("task=export", f"run={solved.path}")
    with pytest.raises(recexp.RecexpError, match="engine=indx is unknown; allowed: index"):
        recexp.run("task=recommend", f"run={done.path}", "engine=indx")
    with pytest.raises(recexp.RecexpError, match=r"needs the folder of an export. Type .*task=export run="):
        recexp.run("task=recommend", f"run={done.path}", "engine=index")
    with pytest.raises(recexp.RecexpError, match=r"export=solved is not the folder of an export of .*run"):
        recexp.run("task=recommend", f"run={done.path}", "engine=index", "export=solved")
    assert not Path("outputs").exists()


def test_the_index_looks_as_far_as_it_must(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items_ID, queries_QD = rng.normal(size=(3000, 16)).astype(np.float32), rng.normal(size=(50, 16)).astype(np.float32)
    exact_QK = np.argsort(-(queries_QD @ items_ID.T), axis=1)[:, :20]
    index = Index.build(items_ID)
    recall = index.tune(queries_QD, exact_QK)
    assert recall >= 0.98
    index.save(tmp_path)
    loaded = Index.load(tmp_path, int(index.graph.expansion_search))
    keys_QK, scores_QK = loaded.best(queries_QD, 20)
    assert recall_of(keys_QK, exact_QK) >= 0.98
    assert scores_QK[:, 0] == pytest.approx((queries_QD @ items_ID.T).max(1), abs=1e-4)
