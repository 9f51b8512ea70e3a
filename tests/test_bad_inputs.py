"""Everything impossible that a person may ask for: one message, exit status 2, and nothing left behind."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import recexp
from recexp import store
from recexp.__main__ import main

COMPOSITION = Path(__file__).with_name("bad_inputs.txt").read_text()
TABLE = "data=table data.path=t.csv"
VECTORS = "model=two_tower data=table data.path=t.jsonl data.features.items=t.jsonl"


def vectors(of_item_7: str) -> str:
    return "\n".join(f'{{"user": {i % 2}, "item": {i}, "v": {of_item_7 if i == 7 else "[1, 2]"}}}' for i in range(12))


DATA: list[tuple[str, str, str | bytes]] = [  # what is typed, what is said, what t.csv (or the file in path) holds
    ("data=table data.path=missing.csv", "no file missing.csv … working directory … t.csv", "user,item\n1,2"),
    ("data=table data.path=.", ". is a folder; expected a file", ""),
    (TABLE, "t.csv is empty", ""),
    (TABLE, "t.csv line 1: byte 0xff; expected UTF-8 text", b"\x00\x01\xff\xfe"),
    (TABLE, "t.csv line 1: byte 0x00; expected UTF-8 text", b"\x00\x01\x02"),
    (f"{TABLE} data.item=itme", "t.csv has no column 'itme' (data.item=itme); it has: item, user", "user,item\n1,2"),
    (f"{TABLE} data.time=t", "t.csv line 3: t noon; expected seconds since 1970", "user,item,t\n1,2,3\n1,3,noon"),
    (f"{TABLE} data.time=t", "t.csv line 3: t -5; expected seconds since 1970", "user,item,t\n1,2,3\n1,3,-5"),
    (f"{TABLE} data.weight=w", "t.csv line 2: w NaN; expected a finite number, 0 or more", "user,item,w\n1,2,NaN"),
    (TABLE, "t.csv line 3: item is missing; expected an id", "user,item\n1,2\n1,"),
    (TABLE, "t.csv line 3: 3 fields; expected 2 (user, item)", "user,item\n1,2\n1,2,3"),
    (TABLE, 't.csv line 3 … expected each " to be closed', 'user,item\n1,2\n1,"2'),
    (TABLE, "t has 0 interactions", "user,item\n"),
    (TABLE, "t has 1 users after data.filters; at least 2 are needed", "user,item\n1,2\n1,3\n1,4"),
    (TABLE, "t has 1 items after data.filters; at least 2 are needed", "user,item\n1,2\n2,2\n3,2"),
    (TABLE, "leaves no test items; users need 3 events … split=ratio", "user,item\n1,2\n2,3\n3,4"),
    (f"{TABLE} data.filters.min_user=9", "0 interactions … Lower … min_user", "user,item\n1,2\n2,3"),
    (f"{TABLE} data.filters.min_rating=3", "has no ratings; drop it, or name their column", "user,item\n1,2\n2,3"),
    ("data=table data.path=t.csv.gz", "gzip file is damaged", gzip.compress(b"user,item\n1,2\n")[:-9]),
    ("data=table data.path=t.parquet", "t.parquet cannot be read as parquet", b"hello"),
    ("data=table data.path=t.xlsx", "the ending '.xlsx' is unknown; allowed: .", b"hello"),
    ("data=table data.path=t.jsonl", "t.jsonl line 2 … expected a JSON object", '{"user":1,"item":2}\n{"user":'),
    ("data=sequence_file data.path=t.txt", "t.txt line 2: item is missing", "1 2 3\n2\n"),
    ("data.filters.duplicates=frist", "data.filters.duplicates=frist; allowed: first, ", ""),
    ("split=given fit.patience=null", "synthetic does not say what is train … take split=leave_one_out", ""),
    ("split.validation=last", "split.validation=last; allowed: next_to_last, none", ""),
    ("eval=sampled", "bring no negatives … type eval.sampling=uniform", ""),
    ("eval=sampled eval.sampling=unifrom", "eval.sampling=unifrom … type eval.sampling=uniform", ""),
    ("eval=pointwise", "needs labels on both sides … eval=full", ""),
    ("eval.metrics=[ndgc]", "'ndgc' is not a metric of eval=full … type eval.metrics=[ndcg]", ""),
    ("eval.ties=expectd", "eval.ties=expectd … type eval.ties=expected", ""),
    ("eval.seen=exclud", "eval.seen=exclud … type eval.seen=exclude", ""),
    ("eval.k=[]", "eval.k=[] … type eval.k=[10]", ""),
    ("eval.k=[5,5000]", "cut-off 5000, but there are only 400 items … type eval.k=[5]", ""),
    ("negatives=uniform negatives.seen=kept", "negatives.seen=kept … Type negatives.seen=keep", ""),
    ("model=two_tower model.features.items=[genre]", "the data has no column 'genre'; it has: … Type", ""),
    ("model=two_tower model.features.items=[popularity]", "has no id. Type model.history.embedding=own", ""),
    (f"{TABLE} data.features.items=i.csv", "no file i.csv", "user,item\n1,2\n2,3\n1,3"),
    (f"{TABLE} data.features.users=t.csv", "user 1 has more than one row", "user,item\n1,2\n2,3\n1,3"),
    (VECTORS, "column 'v': the vector of item 7 has length 1; expected 2", vectors("[1]")),
    (VECTORS, "the vector of item 7 has a number that is missing, NaN or too large", vectors("[1, null]")),
    ("negatives=hard negatives.num_hard=9", "must be from 1 to negatives.num_negatives=8", ""),
    ("loss=softmax negatives=observed", "Observed gives none. Type loss=ce", ""),
    ("refit=true split.validation=none fit.patience=null", "no validation. Type split.validation=next_to_last", ""),
    ("trainer.precision=foo", "trainer: Precision 'foo' is invalid. Allowed", ""),
    ("trainer.accelerator=foo", "invalid accelerator name … cpu", ""),
    ("-m seed=1,2 data=table data.path=missing.csv", "no file missing.csv", ""),
    ("allow=[nowhere] model._target_=nowhere.Model", "model: Error loading 'nowhere.Model'", ""),
]


def table(text: str) -> list[tuple[str, str]]:
    rows = [line.split(" | ") for line in text.splitlines() if not line.startswith("# ")]
    return [(typed, said) for typed, said in rows]


def words(typed: str) -> list[str]:
    return [typed] if typed.startswith(("=", "model={", "data.num_users=$", "+trainer.plugins")) else shlex.split(typed)


def contents(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.name != store.LOCK)  # that stays, empty
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() if f.is_file() else "" for f in files
    }


def check_message(message: str, said: str) -> None:
    assert message.startswith("recexp: ")
    assert message.endswith("\n")
    assert len(message.splitlines()) <= 4
    assert len(message) < 600
    for machinery in ("Traceback", "Warning", "Error executing job", "recexp: recexp", "HYDRA_FULL_ERROR", "in struct"):
        assert machinery not in message
    rest = message
    for part in said.split(" … "):
        assert part in rest, message
        rest = rest.split(part, 1)[1]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str], str], None]:
    """`refused(arguments, said)`: the program says so, and the working folder is as before."""

    def check(arguments: list[str], said: str) -> None:
        before = contents(Path.cwd())
        monkeypatch.setattr(sys, "argv", ["recexp", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        shown = capsys.readouterr()
        check_message(shown.err, said)
        assert shown.out == ""
        assert stopped.value.code == 2
        assert contents(Path.cwd()) == before

    return check


@pytest.mark.parametrize(("typed", "said"), [pytest.param(*row, id=row[0]) for row in table(COMPOSITION)])
def test_what_cannot_be_composed(typed: str, said: str, refused: Callable[[list[str], str], None]) -> None:
    Path("file").touch()
    refused(words(typed), said)


@pytest.mark.parametrize(("typed", "said", "content"), [pytest.param(*row, id=f"{row[0]}-{row[1]}") for row in DATA])
def test_what_cannot_be_learned(
    typed: str, said: str, content: str | bytes, refused: Callable[[list[str], str], None]
) -> None:
    named = typed.partition("data.path=")[2].split(" ")[0]
    path = Path(named if named.startswith("t.") else "t.csv")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused([*shlex.split(typed), "trainer.max_epochs=1", "logger=none"], said)


def test_a_gpu_that_is_not_there(refused: Callable[[list[str], str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    said = "trainer.accelerator=gpu: PyTorch … finds no such device on this machine. Type trainer=cpu"
    refused(["trainer=gpu"], said)
    refused(["-m", "trainer=cpu,gpu"], said)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of popularity on six users, its data beside it."""
    folder = tmp_path_factory.mktemp("finished")
    rows = [f"{user},{(user + place) % 7},{place}" for user in range(6) for place in range(4)]
    (folder / "t.csv").write_text("\n".join(["user,item,time", *rows]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RECEXP_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "offline")
        small = ["trainer=cpu", "trainer.enable_progress_bar=false", "logger=none", "eval.k=[1,2]"]
        recexp.run("model=popularity", *small, "hydra.run.dir=run", *shlex.split(f"{TABLE} data.time=time"))
    return folder


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new))

    return change


def written(name: str, content: str) -> Callable[[Path], None]:
    return lambda run: (run / name).write_text(content) and None


def without(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def allowing_itself(run: Path) -> None:
    replaced("config.yaml", POPULARITY, "os.system")(run)
    replaced("config.yaml", "allow: []", "allow: [os]")(run)


def failed(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "status": "failed", "reason": "out of memory"}))
    (run / "weights.safetensors").unlink()


def a_grid(run: Path) -> None:
    (run / "run.json").rename(run / "multirun.yaml")


def beside(content: str, name: str = "new.csv") -> Callable[[Path], None]:
    return lambda run: (run.parent / name).write_text(content) and None


def pointing(run: Path) -> None:
    (run / "current").write_text("../../elsewhere\n")


def killed_while_updated(run: Path) -> None:
    beside(NEW)(run)
    version = run / "versions" / "x"
    shutil.copytree(run, version)
    facts = json.loads((version / "run.json").read_text())
    (version / "run.json").write_text(json.dumps({**facts, "task": "update", "status": "running", "parent": "0"}))
    for name in ("ids.parquet", "weights.safetensors"):
        (version / name).unlink()


def unchanged(run: Path) -> None:
    pass


POPULARITY = "recexp.model.popularity.Popularity"
NEW = "user,item,time\n99,1,9\n"
REFIT = "task=update run=run new=new.csv mode=refit k=2"
EVIL = "model:\n  _target_: os.system\n  command: touch pwned"
RUNS: list[tuple[str, str, Callable[[Path], None]]] = [  # what is typed, what is said, what is wrong with the run
    (
        "task=evaluate run=run model.num_epochs=2",
        "model.num_epochs was given, but the model of run is fitted",
        unchanged,
    ),
    ("task=evaluate run=run model=mf", "model was given, but the model of run is fitted as it is", unchanged),
    ("task=recommend run=run k=0", "k=0: must be at least 1", unchanged),
    ("task=recommend run=run k=50", "k=50: there are 7 items; k is from 1 to 7", unchanged),
    ("task=recommend run=run k=2 users=[0,77]", "user 77 is not in this run's data", unchanged),
    ("task=recommend run=run users=3", "users=3: expected a list", unchanged),
    ("task=evaluate run=run eval.k=[1,50]", "cut-off 50, but there are only 7 items … eval.k=[1]", unchanged),
    ("task=evaluate run=run sead=3", "there is no group or key 'sead' … Did you mean seed=", unchanged),
    ("task=update run=run", "new is needed and was not given. Type new=", unchanged),
    (REFIT, "no file new.csv … working directory … t.csv", unchanged),
    (REFIT, "new.csv has no column 'item' (columns.item=item); it has: itme, user", beside("user,itme\n1,2")),
    (f"{REFIT} columns.user=uid", "no column 'uid' (columns.user=uid); it has: user, ", beside(NEW)),
    (REFIT, "new.csv has no column 'time' (columns.time=time)", beside("user,item\n99,1")),
    (REFIT, "new.csv is empty", beside(" ")),
    (REFIT, "new=new.csv: there are no events in it", beside("user,item,time\n")),
    (REFIT, "new.csv line 2: time noon; expected seconds since 1970", beside("user,item,time\n99,1,noon")),
    (REFIT, "knows all of its 2 events already … Type new=FILE", beside("user,item,time\n0,0,9\n0,1,9")),
    (REFIT.replace("refit", "refitt"), "mode=refitt; allowed: refit, ref … Type mode=refit.", beside(NEW)),
    (REFIT.replace("refit", "fold_in"), "Popularity has no such way … Type mode=refit.", beside(NEW)),
    (REFIT.replace("refit", "refresh"), "Popularity has no such way … Type mode=refit.", beside(NEW)),
    (REFIT.replace("k=2", "k=0"), "k=0: must be at least 1", beside(NEW)),
    (REFIT.replace("k=2", "k=9"), "k=9: there are 7 items; k is from 1 to 7", beside(NEW)),
    (f"{REFIT} sample=0", "sample=0: must be at least 1", beside(NEW)),
    (f"{REFIT} epochs=x", "epochs=x: expected a whole number, such as epochs=2", beside(NEW)),
    (f"{REFIT} epochs=3", "epochs=3: mode=refit takes no … Drop it, or type mode=refresh epochs=3.", beside(NEW)),
    (f"{REFIT} hydra.run.dir=elsewhere", "one version at a time, in run/versions; drop hydra.run.dir", beside(NEW)),
    (f"-m {REFIT} seed=1,2", "one version at a time, in run/versions; drop", beside(NEW)),
    (REFIT, "no weights.safetensors … status: failed … Type resume=run", failed),
    ("task=evaluate run=run", "run/current names the version '../../elsewhere', and no finished one", pointing),
    ("resume=run/versions/x", "left by task=update, and only a task=fit can be continued", killed_while_updated),
    ("task=recommend run=run/versions/x", "holds what task=update found of another run", killed_while_updated),
    (REFIT.replace("run=run", "run=run/versions/x"), "is not the version in use, which is run", killed_while_updated),
    ("hydra.run.dir=run", "run holds a run … nothing is written over. Type resume=run", unchanged),
    ("hydra.sweep.dir=run -m seed=1,2", "run holds a run or a grid already … hydra.sweep.dir", unchanged),
    ("hydra.sweep.dir=run -m seed=1,2", "run holds a run or a grid already", a_grid),
    ("resume=run -m seed=1,2", "resume=… continues one run where it stopped; drop -m", unchanged),
    ("task=evaluate run=run", "no weights.safetensors … status: failed … Type resume=run", failed),
    ("task=evaluate run=run", "weights.safetensors is damaged", written("weights.safetensors", "no tensors")),
    ("task=evaluate run=run", "run/run.json cannot be read", written("run.json", "{")),
    ("task=evaluate run=run", "run/run.json holds a list; expected a JSON object", written("run.json", "[]")),
    ("task=evaluate run=run", "does not say which options", written("run.json", "{}")),
    ("task=evaluate run=run", "run is not the folder of a run", without("config.yaml")),
    ("task=evaluate run=run", "config.yaml … is missing or no group", written("config.yaml", "")),
    ("task=evaluate run=run", "config.yaml … is missing or no group", written("config.yaml", EVIL)),
    ("task=evaluate run=run", "config.yaml … reference ${…}", replaced("config.yaml", POPULARITY, "${oc.env:HOME}")),
    ("task=evaluate run=run", "model._target_=os.system is none", replaced("config.yaml", POPULARITY, "os.system")),
    (
        "task=evaluate run=run",
        "model._target_=os.system is none of recexp's own classes … only what you type counts",
        allowing_itself,
    ),
    ("resume=run", "model._target_=os.system is none", replaced("config.yaml", POPULARITY, "os.system")),
    (
        "task=evaluate run=run",
        "config.yaml cannot be read as plain yaml",
        replaced("config.yaml", POPULARITY, '!!python/object/apply:os.system ["touch pwned"]'),
    ),
    (
        "task=evaluate run=run",
        "run.json: the choice model=../../run/evil is not the name of an option",
        replaced("run.json", '"model": "popularity"', '"model": "../../run/evil"'),
    ),
    (
        "task=evaluate run=run",
        "model=lost: there is no model 'lost'",
        replaced("run.json", '"model": "popularity"', '"model": "lost"'),
    ),
]


@pytest.fixture
def copied(finished: Path) -> Path:
    """The finished run, in this test's working folder."""
    shutil.copytree(finished / "run", "run")
    shutil.copy(finished / "t.csv", "t.csv")
    return Path("run")


@pytest.mark.parametrize(("typed", "said", "spoil"), [pytest.param(*row, id=f"{row[0]}-{row[1]}") for row in RUNS])
def test_what_a_run_cannot_do(
    typed: str,
    said: str,
    spoil: Callable[[Path], None],
    copied: Path,
    refused: Callable[[list[str], str], None],
) -> None:
    spoil(copied)
    refused(shlex.split(typed), said)


def test_python_opens_no_hostile_run_either(copied: Path) -> None:
    replaced("config.yaml", POPULARITY, "os.system")(copied)
    with pytest.raises(recexp.RecexpError, match=r"os\.system is none of recexp's own"):
        recexp.load_run(copied)


def test_python_is_refused_in_the_same_words() -> None:
    with pytest.raises(recexp.RecexpError, match="there is no model 'mff'"):
        recexp.run("model=mff")
    assert contents(Path.cwd()) == {}


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    whole = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=whole, check=False)


@pytest.mark.parametrize(
    ("typed", "said"),
    [("model=mff", "there is no model"), ("-m model=mf,mff", "there is no model"), (TABLE, "no file t.csv")],
)
def test_the_process_ends_with_status_2(typed: str, said: str) -> None:
    done = process("-m", "recexp", *shlex.split(typed), "logger=none", RECEXP_CACHE=str(Path("cache").resolve()))
    check_message(done.stderr, said)
    assert (done.returncode, done.stdout, contents(Path.cwd())) == (2, "", {})


def test_a_traceback_is_there_for_whom_wishes_it() -> None:
    done = process("-m", "recexp", "model=mff", HYDRA_FULL_ERROR="1")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("Type model=mf.\n")


def test_help_may_be_cut_short() -> None:
    whole = [sys.executable, "-m", "recexp", "--help"]
    with subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""


WITHOUT_TORCH = """
import sys
from recexp.__main__ import main
sys.argv = ["recexp", *sys.argv[1:]]
try:
    main()
finally:
    assert not {"torch", "pytorch_lightning", "polars", "numpy", "rich"} & set(sys.modules)
"""


@pytest.mark.parametrize(
    ("typed", "status"),
    [("--help", 0), ("--cfg job", 0), ("--info", 0), ("model=mff", 2), ("+trainer.typo=1", 2), ("-m seed=1,x", 2)],
)
def test_help_and_mistakes_never_wait_for_torch(typed: str, status: int) -> None:
    done = process("-c", WITHOUT_TORCH, *shlex.split(typed))
    assert done.returncode == status, done.stderr
    assert contents(Path.cwd()) == {}
