"""Updates: each way gives what it promises, a version is whole or not in use, the report does not flatter."""

from __future__ import annotations

import copy
import fcntl
import gzip
import os
import random
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

import recexp
from recexp import store
from recexp.checks import MODES
from recexp.config import folder
from recexp.model.wals import WALS
from recexp.store import Folder, home, in_use
from recexp.task import drift, news, quiet, ways
from recexp.task.assemble import new_model
from recexp.task.job import Job, running
from recexp.task.news import News, read
from recexp.task.run import Run
from recexp.task.update import update
from recexp.types import Dataset, Interactions

TINY = ["data.num_users=60", "data.num_items=40", "data.num_events=12", "eval.k=[5]"]
SMALL = ["trainer=cpu", "logger=none", "trainer.enable_progress_bar=false"]
WALS_RUN = ["model=wals", "model.embedding_dim=8", "model.num_epochs=4"]
LATER = 2_000_000_000
UPDATE = ["task=update", "run=run", "k=5", "measure=false"]


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of WALS."""
    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RECEXP_CACHE", str(folder / "cache"))
        recexp.run(*SMALL, *TINY, *WALS_RUN, "hydra.run.dir=run")
    return folder / "run"


def updated(**keys: Any) -> Run:
    """What `task=update run=run KEYS` makes, without the second that Hydra takes to compose it."""
    run = recexp.load_run("run")
    asked = {"run": str(run.path), "new": str(Path("new.csv").absolute()), "k": 5, "measure": False, **keys}
    config = OmegaConf.merge(run.config, OmegaConf.load(folder() / "task/update.yaml"), asked)
    assert isinstance(config, DictConfig)
    path = Path("run/versions") / f"{asked.get('mode', 'fold_in')}_{uuid.uuid4().hex}"
    (path / ".hydra").mkdir(parents=True)
    quiet()
    with running(
        Job(Folder(path), {**run.facts["choices"], "task": "update"}, None, False, ["typed"], callbacks=[])
    ) as job:
        del config["hydra"]
        update(config, job)
    return Run(path)


def unmet(run: Run, user: int, count: int) -> list[int]:
    """Items that a user has not met."""
    events = run.experiment.data.dataset.interactions
    return np.setdiff1d(np.arange(len(run.items)), events.item[events.user == user])[:count].tolist()


@pytest.fixture
def base(fitted: Path) -> Run:
    """The run as `run/`, and new.csv: two old users with old items, a new user, a new item."""
    shutil.copytree(fitted, "run")
    run = recexp.load_run("run")
    assert run.model is run.model, "loaded now, while it is the version in use"
    rows = [(3, item) for item in unmet(run, 3, 3)] + [(4, item) for item in unmet(run, 4, 2)]
    rows += [(900, item) for item in (5, 6, 7, 8)] + [(4, 500), (900, 500)]
    write("new.csv", rows)
    return run


def write(name: str, rows: list[tuple[int, int]], first: int = LATER) -> None:
    lines = [f"{user},{item},{first + place}" for place, (user, item) in enumerate(rows)]
    Path(name).write_text("\n".join(["user,item,time", *lines]))


def union(run: Run) -> Dataset:
    """All that a version knows."""
    return run.experiment.data.dataset


def factors(run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    weights = run.folder.weights()
    return weights["user_factors"], weights["item_factors"]


def grown(base: Run, dataset: Dataset) -> WALS:
    model = copy.deepcopy(base.model)
    assert isinstance(model, WALS)
    model.grow(dataset.num_users, dataset.num_items)
    return model


def swept(model: WALS, events: Interactions, epochs: int) -> WALS:
    model.prepare(events)
    with torch.no_grad():
        for epoch in range(epochs):
            for block in model.steps(epoch):
                model.solve(block)
    return model


def same(run: Run, model: WALS) -> None:
    for found, expected in zip(factors(run), (model.user_factors, model.item_factors), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_user_folded_in_gets_the_row_of_a_whole_sweep_and_others_stay_bit_by_bit(base: Run) -> None:
    version = updated()
    dataset = union(version)
    assert version.users.to_list() == [*range(60), 900]
    assert version.items.to_list() == [*range(40), 500]
    whole = grown(base, dataset)
    whole.partial_fit(dataset.interactions, users=range(61), items=[])
    users, items = factors(version)
    for row in (3, 4, 60):
        torch.testing.assert_close(users[row], whole.user_factors[row], rtol=1e-4, atol=1e-5)
    untouched = [row for row in range(60) if row not in (3, 4)]
    assert torch.equal(users[untouched], factors(base)[0][untouched])
    assert not torch.equal(users[3], factors(base)[0][3])
    whole.user_factors[untouched] = factors(base)[0][untouched]
    whole.partial_fit(dataset.interactions, users=[], items=range(41))
    torch.testing.assert_close(items[40], whole.item_factors[40], rtol=1e-4, atol=1e-5)
    assert items[40].any()
    old = (items[:40] == factors(base)[1]).all(1)
    met = {*unmet(base, 3, 3), *unmet(base, 4, 2), 5, 6, 7, 8}
    assert {row for row in range(40) if not old[row]} == met, "these items have new events, and no others"


def test_refresh_goes_on_where_the_fit_was(base: Run) -> None:
    version = updated(mode="refresh", epochs=3)
    dataset = union(version)
    same(version, swept(grown(base, dataset), dataset.interactions, epochs=3))
    assert not (version.path / "checkpoints").exists()


def test_refit_is_a_fit_on_everything(base: Run) -> None:
    version = updated(mode="refit")
    dataset = union(version)
    assert len(dataset.interactions) == len(union(base).interactions) + 11
    model = new_model(base.config, 61, 41)
    assert isinstance(model, WALS)
    best = torch.load(base.folder.checkpoints / "best.ckpt", weights_only=True)["epoch"] + 1
    same(version, swept(model, dataset.interactions, epochs=best))
    assert version.facts["refit_epochs"] == best
    second = later()
    assert updated(mode="refit", new=second).facts["refit_epochs"] == best


def test_only_a_refresh_takes_a_number_of_epochs(base: Run) -> None:
    with pytest.raises(recexp.RecexpError, match=r"epochs=3: mode=refit takes no .* type mode=refresh epochs=3\."):
        recexp.run(*UPDATE, "new=new.csv", "mode=refit", "epochs=3")
    assert recexp.run(*UPDATE, "new=new.csv", "mode=refresh", "epochs=1").facts["mode"] == "refresh"


def later() -> str:
    """new2.csv: another item for the user of new.csv, another user, a known event."""
    write("new2.csv", [(900, 9), (901, 500), (900, 5)], first=LATER + 100)
    return str(Path("new2.csv").absolute())


def test_any_model_can_be_refitted(run: Callable[..., Run]) -> None:
    done = run(*TINY, "model=mf", "trainer.max_epochs=3", "hydra.run.dir=run")
    write("new.csv", [(900, 5), (900, 6), (900, 500)])
    with pytest.raises(recexp.RecexpError, match=r"mode=refresh: MF has no such way\. Type mode=refit\."):
        updated(mode="refresh")
    version = updated(mode="refit")
    assert version.recommend([900], k=5).height == 5
    assert version.facts["refit_epochs"] == 1 + int(
        torch.load(done.folder.checkpoints / "best.ckpt", weights_only=True)["epoch"]
    )


def test_recommending_knows_the_new_and_leaves_out_what_they_met(base: Run) -> None:
    version = recexp.run(*UPDATE, "new=new.csv")
    assert version.path == Path("run/versions").absolute() / Path("run/current").read_text().strip()
    found = recexp.run("task=recommend", "run=run", "users=[3,900]", "k=20")
    lists = pl.read_parquet(found.path / "recommendations.parquet")
    met = {user: set(pl.read_csv("new.csv").filter(user=user)["item"]) for user in (3, 900)}
    events = union(version).interactions
    for user, items in met.items():
        own = set(lists.filter(user=user)["item"])
        known = len(np.unique(events.item[events.user == version.users.to_list().index(user)]))
        assert len(own) == min(20, 41 - known)
        assert not own & items
    assert 500 in set(recexp.load_run("run").recommend([5], k=41)["item"])
    assert found.config.run == str(in_use("run"))


def test_later_updates_go_on_from_the_version_in_use(base: Run) -> None:
    first = updated()
    second = later()
    newer = updated(new=second)
    assert newer.facts["parent"] == first.facts["id"]
    assert newer.users.to_list() == [*first.users, 901]
    assert (newer.path / "drift.json").exists()
    assert newer._source.notes == [], "the dense ids are those of its data"
    assert union(newer).sha256 == newer.facts["data"] != first.facts["data"]
    assert len(union(newer).interactions) == len(union(first).interactions) + 2
    shutil.rmtree(first.path)
    assert recexp.load_run("run").recommend([900], k=5).height == 5, "it needs no other version"
    with pytest.raises(recexp.RecexpError, match="knows all of its 3 events already"):
        updated(new=second)


def test_the_pointer_is_followed_and_a_version_is_taken_as_it_is(base: Run) -> None:
    first = updated()
    second = updated(mode="refresh", new=later())
    assert recexp.load_run("run").path.name == second.path.name == Path("run/current").read_text().strip()
    assert recexp.load_run(first.path).users.to_list() == first.users.to_list()
    assert home(first.path) == home(second.path) == Path("run")
    with pytest.raises(recexp.RecexpError, match="is not the version in use"):
        recexp.run("task=update", f"run=run/versions/{first.path.name}", "new=new2.csv", "k=5")
    Path("run/current").write_text(first.path.name)
    assert recexp.load_run("run").path.name == first.path.name
    Path("run/current").write_text("../../elsewhere")
    with pytest.raises(recexp.RecexpError, match=r"no finished one has this name; there are: "):
        recexp.load_run("run")
    Path("run/current").unlink()
    assert recexp.load_run("run").path == Path("run")
    shutil.move("run", "moved")
    assert len(union(recexp.load_run(f"moved/versions/{second.path.name}")).users) == 62


def test_a_version_is_not_tested_on_what_it_learned(base: Run) -> None:
    updated()
    with pytest.raises(recexp.RecexpError, match=r"tested on its own data .* knows everything"):
        recexp.run("task=evaluate", "run=run")
    rows = [(user, item) for user in range(20) for item in unmet(recexp.load_run("run"), user, 3)]
    write("later.csv", rows)
    found = recexp.run("task=evaluate", "run=run", "data=table", "data.path=later.csv", "data.time=time", "eval.k=[5]")
    assert 0 <= found.metrics["test/hr@5"] <= 1
    known = union(recexp.load_run("run")).interactions
    again = pl.DataFrame({"user": known.user, "item": known.item, "time": known.time}).filter(user=30)
    pl.concat([pl.read_csv("later.csv"), again.cast(pl.Int64)]).write_csv("both.csv")
    last = ["data=table", "data.path=both.csv", "data.time=time", "data.filters.duplicates=keep"]
    with pytest.raises(recexp.RecexpError, match=r"1 of the \d+ events that would be asked for are known to "):
        recexp.run("task=evaluate", "run=run", *last, "eval.k=[5]")


def test_what_was_folded_in_can_be_refitted_later(base: Run) -> None:
    first = updated()
    second = updated(mode="refit", new=None)
    assert second.users.to_list() == first.users.to_list()
    assert union(second).sha256 == union(first).sha256
    assert not torch.equal(factors(second)[0], factors(first)[0])
    assert second.trained[-1]


def test_a_version_is_not_tested_on_what_earlier_ones_learned(base: Run) -> None:
    first = updated()
    second = updated(new=later())
    assert {base.facts["data"], first.facts["data"], second.facts["data"]} < set(second.facts["learned_from"])
    refused = r"tested on data that the run before it, or an update, was given .* knows everything"
    given = ["data=table", "data.path=new.csv", "data.time=time", "split=ratio", "eval.seen=include"]
    for own in (["data=synthetic", *TINY[:3]], [*given, "data.filters.duplicates=keep"]):
        with pytest.raises(recexp.RecexpError, match=refused):
            recexp.run("task=evaluate", "run=run", *own)


def test_only_finished_versions_of_a_run_count(base: Run) -> None:
    version = updated()
    for name in ("junk", "begun", "damaged"):
        Path(f"run/versions/{name}").mkdir()
    Folder("run/versions/begun").update_run(status="running")
    Path("run/versions/damaged/run.json").write_text("{")
    for name in ("junk", "begun", "damaged"):
        Path("run/current").write_text(name)
        with pytest.raises(recexp.RecexpError, match=rf"there are: {version.path.name}\. Write one"):
            in_use("run")
    Path("run/current").write_text(version.path.name)
    assert in_use("run").name == version.path.name
    shutil.copytree("run", "versions/mine")
    assert home("versions/mine") == Path("versions/mine"), "a run of its own in a folder of that name"


def test_an_update_holds_a_file_and_not_the_folder(base: Run) -> None:
    """NFS locks no folders, and files only where they are open for writing."""
    with pytest.MonkeyPatch.context() as patch:
        held: list[int] = []
        patch.setattr(fcntl, "flock", lambda descriptor, _: held.append(descriptor))
        with store.alone(Path("run")):
            assert os.path.samestat(os.fstat(held[0]), Path("run/.lock").stat())
            assert fcntl.fcntl(held[0], fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
    version = updated()
    assert Path("run/.lock").is_file()
    assert in_use("run") == version.path


@pytest.mark.parametrize("name", ["new.parquet", "new.tsv", "new.jsonl", "new.csv.gz"])
def test_new_events_of_any_format(name: str, base: Run) -> None:
    new = pl.read_csv("new.csv")
    text = new.write_csv(separator="\t" if ".tsv" in name else ",") if "json" not in name else new.write_ndjson()
    content = text.encode()
    Path(name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    if name == "new.parquet":
        new.write_parquet(name)
    new_file = {"new": str(Path(name).absolute())}
    config = OmegaConf.merge(base.config, OmegaConf.load(folder() / "task/update.yaml"), new_file)
    assert isinstance(config, DictConfig)
    found = read(config, base)
    assert found.events.select(new.columns).equals(new)
    assert int(found.fresh.sum()) == new.height


def test_columns_of_other_names(run: Callable[..., Run]) -> None:
    rng = np.random.default_rng(0)
    rows = [(f"u{u}", f"s{s}", 2.0, t) for u in range(20) for t, s in enumerate(rng.permutation(15)[:6])]
    pl.DataFrame(rows, ["uid", "sku", "w", "t"], orient="row").write_csv("events.csv")
    names = ["data.user=uid", "data.item=sku", "data.time=t", "data.weight=w"]
    run("data=table", "data.path=events.csv", *names, *WALS_RUN, "eval.k=[5]", "hydra.run.dir=run")
    new = pl.DataFrame({"uid": ["new", "new"], "sku": ["s1", "x"], "t": [100, 101], "w": [1.0, 5.0]})
    new.write_csv("new.csv")
    version = updated()
    mine = union(version).interactions[union(version).interactions.user == 20]
    assert version.users.to_list()[-1] == "new"
    assert (mine.weight.tolist(), mine.time.tolist()) == ([1, 5], [100, 101])
    new.select("uid", "t", "w", thing=pl.Series(["s2", "s3"])).write_csv("more.csv")
    more = str(Path("more.csv").absolute())
    with pytest.raises(recexp.RecexpError, match=r"has no column 'sku' \(columns.item=sku\); it has: .*thing"):
        updated(new=more)
    version, before = updated(new=more, columns={"item": "thing"}), version
    assert len(union(version).interactions) == len(union(before).interactions) + 2


def test_events_of_nobody_and_nothing_known_are_refused(base: Run) -> None:
    Path("new.csv").write_text(f"user,item,time\nu1,s1,{LATER}\nu2,s2,{LATER}\n")
    complaint = r"none of its users, such as u1, u2, .* s1, s2; .* like 0, 1"
    with pytest.raises(recexp.RecexpError, match=complaint):
        updated()
    assert not list(Path("run/versions").glob("*/run.json"))
    Path("new.csv").write_text(f"user,item,time\n900,3,{LATER}\n")
    assert updated().users.to_list()[-1] == 900


def test_ratings_too_low_do_not_count(run: Callable[..., Run]) -> None:
    run(*TINY, *WALS_RUN, "data.label=rating", "data.filters.min_rating=3", "hydra.run.dir=run")
    Path("new.csv").write_text(f"user,item,time,rating\n900,1,{LATER},5\n900,2,{LATER},1\n")
    version = updated()
    mine = union(version).interactions[union(version).interactions.user == len(version.users) - 1]
    assert mine.label.tolist() == [5]


def test_data_that_changed_since_is_refused(run: Callable[..., Run]) -> None:
    rows = [(user, (user + step) % 9) for user in range(12) for step in range(5)]
    write("t.csv", rows)
    run("data=table", "data.path=t.csv", "data.time=time", *WALS_RUN, "eval.k=[5]", "hydra.run.dir=run")
    write("t.csv", rows[:-1])
    write("new.csv", [(99, 1)])
    with pytest.raises(recexp.RecexpError, match="is not what it was when the model was fitted"):
        updated()
    assert not Path("run/versions").exists()


# -- the report


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[News]]:
    """What the model was updated with, each time."""
    seen: list[News] = []
    (able, fold_in), *others = ways.WAYS["fold_in"]

    def recorded(update: ways.Update, news: News) -> Any:
        seen.append(news)
        return fold_in(update, news)

    monkeypatch.setitem(ways.WAYS, "fold_in", [(able, recorded), *others])
    yield seen


def test_what_is_asked_for_was_not_learned(base: Run, asked: list[News]) -> None:
    version = updated(measure=True)
    smaller, whole = asked
    last = {3: unmet(base, 3, 3)[-1], 4: 40, 60: 40}
    gone = {(u, i) for u, i in pairs(whole.dataset) if (u, i) not in set(pairs(smaller.dataset))}
    assert gone == set(last.items())
    assert whole.dataset.num_items == smaller.dataset.num_items == 41
    report = version.folder._json("drift.json")
    assert report["newest"]["users"] == 3
    assert report["rows"] == {
        "events": 11,
        "users": 3,
        "new_users": 1,
        "items": len(whole.touched("item")),
        "new_items": 1,
    }
    assert report["newest"]["before"]["hr@5"] <= 1 / 3, "nobody knew item 500"
    assert version.metrics["newest/ndcg@5"] == report["newest"]["after"]["ndcg@5"]


def pairs(dataset: Dataset) -> list[tuple[int, int]]:
    return list(zip(dataset.interactions.user.tolist(), dataset.interactions.item.tolist(), strict=True))


def test_the_metrics_of_before_are_those_of_the_version_in_use(base: Run) -> None:
    """A single old user with two new events: their ranks, counted by hand."""
    first, second = unmet(base, 7, 2)
    write("new.csv", [(7, first), (7, second)])
    events = union(base).interactions
    version = updated(measure=True)
    with torch.no_grad():
        scores = base.model.user_factors[7] @ base.model.item_factors.T  # type: ignore[union-attr, operator]
    seen = [*events.item[events.user == 7].tolist(), first]
    scores[seen] = -torch.inf
    rank = int((scores > scores[second]).sum())
    assert version.metrics["newest/before/hr@5"] == float(rank < 5)
    assert version.metrics["newest/before/ndcg@5"] == pytest.approx(1 / np.log2(2 + rank) if rank < 5 else 0)


def test_changes_and_overlaps_are_shares(base: Run) -> None:
    version = updated(compare_refit=True, sample=10)
    report = version.folder._json("drift.json")
    (old, _), (new, _) = factors(base), factors(version)
    moved = ((new[:60] - old).norm(dim=1) / old.norm(dim=1)).numpy()
    assert report["change"]["user_factors"]["mean"] == pytest.approx(moved.mean(), rel=1e-4)
    assert report["change"]["user_factors"]["max"] == pytest.approx(moved.max(), rel=1e-4)
    assert report["overlap"]["touched"]["users"] == 2
    assert report["overlap"]["others"]["users"] == 10
    assert 0 <= report["overlap"]["others"]["refit"] <= 1
    one = pl.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 1, 2]})
    other = pl.DataFrame({"user": [1, 1, 2, 2], "item": [2, 1, 1, 5]})
    assert drift.overlap(one, other) == 0.75
    assert drift.overlap(one[:0], other) is None


def test_a_model_that_stays_as_it_is_has_no_drift(base: Run) -> None:
    sides = (base.users, base.users), (base.items, base.items)
    assert drift.change(sides, base.model, base.model)["item_factors"] == {"mean": 0, "max": 0}


def test_rows_are_those_of_the_same_ids_and_not_those_of_like_lengths() -> None:
    old, new = torch.nn.Module(), torch.nn.Module()
    users, more = pl.Series([7, 8, 9]), pl.Series([5, 9, 8, 7])
    old.register_buffer("rows", torch.tensor([[1.0], [2.0], [3.0]]))
    new.register_buffer("rows", torch.tensor([[9.0], [3.0], [2.0], [2.0]]))
    for model in (old, new):
        model.register_buffer("layer", torch.rand(3, 2))  # as long as there were users
    found = drift.change([(users, more)], old, new)  # type: ignore[arg-type]
    assert found == {"rows": {"mean": pytest.approx(1 / 3), "max": 1}}


def test_the_same_users_are_asked_where_events_may_be_repeated(run: Callable[..., Run]) -> None:
    write("t.csv", [(user, (user + step) % 9) for user in range(12) for step in (1, 0, 1, 2, 3)], first=0)
    keep = ["data.filters.duplicates=keep", "eval.k=[5]", "hydra.run.dir=run"]
    run("data=table", "data.path=t.csv", "data.time=time", *WALS_RUN, *keep)
    base = recexp.load_run("run")
    first, second = unmet(base, 3, 2)
    write("new.csv", [(3, first), (3, second), (4, 500), (5, first), (4, 500)])
    asked: list[list[int]] = []
    with pytest.MonkeyPatch.context() as patch:
        ask = drift.asked
        patch.setattr(drift, "asked", lambda e, *more: asked.append(e.users.tolist()) or ask(e, *more))
        version = updated(measure=True)
    assert asked == [[3, 5], [3, 5]], "user 4 had met the last one, which the version before does not know"
    assert version.folder._json("drift.json")["newest"]["users"] == 2


# -- killed at any moment


def whole(path: str) -> str:
    """The name of the version in use, which can be loaded and asked."""
    run = recexp.load_run(path)
    assert run.facts["status"] == "finished"
    run.model  # noqa: B018
    assert run._source.load().sha256 == run.facts["data"]
    assert run.recommend([3], k=5).height == 5
    return run.path.name


class PlugPulledError(OSError):
    pass


def test_a_failure_at_any_write_leaves_the_version_before(base: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file comes into being by a rename, the pointer last: one after the other of them fails."""
    updated()
    before, replace, left = in_use("run"), Path.replace, [0]

    def plugged(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0:
            raise PlugPulledError
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", plugged)
    second = later()
    for failed in range(20):
        left[0] = failed + 1
        try:
            updated(new=second, sample=1)
        except PlugPulledError:
            assert in_use("run") == before
            assert len(recexp.load_run("run").model.user_factors) == 61  # type: ignore[arg-type]
        else:
            break
    assert failed == 9, "config, run, new, weights, ids, drift, metrics, run, current"
    assert whole("run") != before.name


def test_what_fails_after_the_switch_does_not_spoil_the_version(base: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise PlugPulledError

    monkeypatch.setattr(drift, "table", fail)
    with pytest.raises(PlugPulledError):
        updated()
    assert "fold_in" in whole("run")


PARENT = """
import importlib.util, os, signal, sys, time
import numpy as np, torch
import recexp.data.extended, recexp.data.synthetic, recexp.data.table, recexp.fit.solve
from recexp.model.wals import WALS, Cholesky
from recexp.types import Interactions
spec = importlib.util.spec_from_file_location("tests_of_update", sys.argv[1])
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
ids, ones = np.zeros(1, np.int32), np.ones(1, np.float32)
torch.set_num_threads(1)
WALS(8, 0.1, 0.1, 1.0, 1, 0.1, Cholesky(), 1, 1).partial_fit(Interactions(ids, ids, ids, ones, ones), [0], [0])
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        tests.updated()
        os._exit(0)
    began = time.monotonic()
    if float(line) > 0:
        time.sleep(float(line))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print(status, time.monotonic() - began, flush=True)
"""


def test_killed_at_random_moments_the_version_before_is_whole_and_in_use(base: Run) -> None:
    """A dozen times, and each time the same command works again.

    A parent forks those that are killed: importing and compiling would take longer than the update itself.
    """
    before = whole("run")
    words = [sys.executable, "-c", PARENT, __file__]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        def update(killed_after: float) -> tuple[int, float]:
            print(killed_after, file=process.stdin, flush=True)
            assert process.stdout is not None
            status, seconds = process.stdout.readline().split()
            return int(status), float(seconds)

        killed, moments = 0, random.Random(0)
        _, seconds = update(0)
        Path("run/current").unlink()
        for _ in range(12):
            status, _ = update(moments.uniform(0.1, 1.0) * seconds)
            killed += status != 0
            in_use_now = whole("run")
            assert status or in_use_now != before, "killed after the switch, it may be either; left alone, the new one"
            Path("run/current").unlink(missing_ok=True)
            assert whole("run") == before
        assert killed > 3
        process.stdin.close()


def test_two_updates_at_once_are_refused(base: Run) -> None:
    with store.alone(Path("run")), pytest.raises(recexp.RecexpError, match="another update of run is under way"):
        updated()
    assert updated().facts["status"] == "finished"


def test_every_mode_has_a_way() -> None:
    assert tuple(ways.WAYS) == MODES


def test_an_update_is_not_resumed(base: Run) -> None:
    version = updated()
    with pytest.raises(recexp.RecexpError, match="only a task=fit can be continued"):
        recexp.run(f"resume={version.path}")


def test_events_with_and_without_labels_are_stacked() -> None:
    """An update may know stars that the one before did not."""
    one = pl.DataFrame({"user": [1], "item": [2], "weight": [1.0], "label": [4.0]})
    stacked = news._stacked([one.drop("label"), one.with_columns(user=pl.lit("x"))])
    assert stacked["label"].to_list() == [1.0, 4.0]
    assert stacked["user"].to_list() == ["1", "x"]
