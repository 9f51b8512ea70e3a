"""What an export writes says what the model says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import recexp
from recexp.model.two_tower import TwoTower
from recexp.store import Folder
from recexp.task import export
from recexp.task.exported import ENGINES, answers
from recexp.task.index import Index, recall_of
from recexp.task.onnx import Program
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


def test_nobody_gets_an_empty_table_from_every_engine(run: Callable[..., Run]) -> None:
    done = run(*TINY, "model=two_tower", "model/history=gru")
    found = recexp.run("task=export", f"run={done.path}")
    schema = done.recommend(k=K).schema
    for engine in ENGINES:
        done.answers = answers(done, engine, str(found.path))
        nobody = done.recommend([], k=K)
        assert (nobody.height, nobody.schema) == (0, schema)
        assert done.recommend_for([], k=K).height == 0


def test_the_query_program_heeds_weights_and_circumstances(run: Callable[..., Run], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {"user": rng.integers(40, size=600), "item": rng.integers(50, size=600), "counts": rng.random(600)}
    devices = np.array(["tv", "phone", "car"])[rng.integers(3, size=600)]
    pl.DataFrame({**columns, "device": devices}).write_csv(tmp_path / "e.csv")
    data = ["data=table", f"data.path={tmp_path / 'e.csv'}", "data.weight=counts", "data.context=[device]"]
    done = run(*data, "model=two_tower", *TINY[-2:])
    found = recexp.run("task=export", f"run={done.path}")
    query, model = export.some_queries(done), done.model
    assert isinstance(model, TwoTower)
    assert len(set(query.context.flatten().tolist())) == 3
    program = Program(found.path / "query_tower.onnx")
    assert [one.name for one in program.session.get_inputs()] == ["history", "history_weight", "context", "user"]
    with torch.no_grad():
        own_QD = model.encode_query(query).numpy()
    assert program(model.towers()[0], query) == pytest.approx(own_QD, abs=1e-5)


def test_a_program_that_says_something_else_is_not_published(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(*TINY, "model=two_tower")
    monkeypatch.setattr(Program, "__call__", lambda program, tower, rows: tower(*tower.inputs(rows)).numpy() + 0.002)
    complaint = r"query_tower.onnx gives vectors that differ from those of TwoTower by 0.002.*at most 0.0001"
    with pytest.raises(recexp.RecexpError, match=complaint):
        recexp.run("task=export", f"run={done.path}", "hydra.run.dir=exported")
    assert not Path("exported").exists()


def test_an_index_that_finds_too_little_is_an_alarm(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(*TINY, "model=mf")
    monkeypatch.setattr(Index, "tune", lambda index, queries_QD, exact_QK: 0.5)
    found = recexp.run("task=export", f"run={done.path}", "hydra.run.dir=exported")
    assert found.facts["alarms"] == ["the index finds 50.0% of the exact best 20 items, not 98%"]
    assert "alarm: the index finds 50.0%" in capsys.readouterr().out
    Folder("exported").update_run(status="failed")
    with pytest.raises(recexp.RecexpError, match="export=exported is failed, not finished"):
        recexp.run("task=recommend", f"run={done.path}", "engine=index", "export=exported")


def test_items_are_encoded_once(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(*TINY, "model=two_tower")
    encode, encoded = TwoTower.encode_items, []
    monkeypatch.setattr(TwoTower, "encode_items", lambda model, ids: encoded.extend(ids.tolist()) or encode(model, ids))
    recexp.run("task=export", f"run={done.path}")
    assert sorted(encoded) == list(range(len(done.items)))


def test_the_exact_best_are_found_a_few_queries_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    items_ID, queries_QD = rng.normal(size=(300, 8)).astype(np.float32), rng.normal(size=(50, 8)).astype(np.float32)
    topk, sizes = torch.Tensor.topk, []
    monkeypatch.setattr(torch.Tensor, "topk", lambda scores, k: sizes.append(scores.nbytes) or topk(scores, k))
    monkeypatch.setattr(export, "BYTES", 10_000)
    found_QK = export.exact_best(queries_QD, items_ID, 20)
    assert found_QK.tolist() == np.argsort(-(queries_QD @ items_ID.T), axis=1)[:, :20].tolist()
    assert max(sizes) <= 10_000
    monkeypatch.setattr(export, "BYTES", 10)  # not even one query
    assert export.exact_best(queries_QD, items_ID, 400).shape == (50, 300)


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
