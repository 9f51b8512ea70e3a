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
from recexp.__main__ import main

# what is typed | what the message says, "…" between the parts
COMPOSITION = """
modle=mf | there is no group or key 'modle' … Allowed: model, … Did you mean model=
model=mff | there is no model 'mff' … Allowed: mf, … Type model=mf.
loss=tripled | there is no loss 'tripled' … Allowed: triplet, … Type loss=triplet.
data=movielens | there is no data 'movielens' … movielens_1m … Type data=movielens_1m.
logger=[wandb,tensorbord] | there is no logger 'tensorbord' … tensorboard, … Type logger=tensorboard.
task=fitt | there is no task 'fitt' … Type task=fit.
experiment=nope | there is no experiment 'nope'
model= | there is no model '' … Type model=mf.
sead=3 | 'sead' … Did you mean seed=
model.embeding_dim=8 | model has no key 'embeding_dim' … embedding_dim, init_std … Did you mean model.embedding_dim=
data.filters.min_usr=3 | data.filters has no key 'min_usr' … Did you mean data.filters.min_user=
eval.segments.head_shar=0.1 | eval.segments has no key 'head_shar' … head_share
eval.monitor=ndcg@10 | eval has no key 'monitor' … metrics
model={embeding_dim:8} | model has no key 'embeding_dim' … model.embedding_dim
seed.x=3 | seed is a value, not a group of keys … Type seed=VALUE
eval.k.7=3 | eval.k is a list … Type eval.k=VALUE
hydra.run.dri=x | hydra.run has no key 'dri' … hydra.run.dir
hydra/launcher=nope | no option hydra/launcher/nope … Allowed: basic
model.embedding_dim=many | model.embedding_dim=many: expected a whole number, such as model.embedding_dim=64
model.embedding_dim=1.5 | expected a whole number
model.embedding_dim=[8] | expected a whole number
model.embedding_dim=true | expected a whole number
model.embedding_dim=null | expected a whole number
model={embedding_dim:x} | model.embedding_dim='x': expected a whole number
data.filters.min_user=1.5 | data.filters.min_user=1.5: expected a whole number, such as data.filters.min_user=0
eval.k=10 | expected a list of whole numbers, such as 'eval.k=[5,10,20]'
eval.k=[ten] | expected a list of whole numbers
model=two_tower model.hidden_dims=8 | expected a list of whole numbers, such as 'model.hidden_dims=[128]'
optimizer.lr=fast | optimizer.lr=fast: expected a number, such as optimizer.lr=
optimizer.lr=null | expected a number
trainer.max_epochs=many | expected a whole number or null, such as trainer.max_epochs=30
++trainer.max_epochs=many | expected a whole number or null
trainer.enable_progress_bar=1 | expected true or false
+trainer.detect_anomaly=maybe | expected true or false
seed=x | seed=x: expected a whole number, such as seed=1
seed=null | expected a whole number
refit=maybe | refit=maybe: expected true or false
data=table data.path=3 | data.path=3: expected a text
seed=-1 | seed=-1: must be from 0 to 4294967295
model.embedding_dim=0 | model.embedding_dim=0: must be at least 1
optimizer.lr=-1 | optimizer.lr=-1: must be above 0
optimizer.lr=inf | optimizer.lr=inf: must be above 0
model=two_tower model.dropout=1.5 | must be from 0 to below 1
model=two_tower model.hidden_dims=[64,0] | model.hidden_dims=[64, 0]: must be at least 1
fit.batch_size=0 | fit.batch_size=0: must be at least 1
negatives=uniform negatives.num_negatives=0 | negatives.num_negatives=0: must be at least 1
eval.k=[0] | eval.k=[0]: must be at least 1
data.filters.min_item=-1 | must be at least 0
trainer.max_epochs=0 | must be at least 1
+typo=1 | +typo=1: nothing reads an added key 'typo' … --cfg job
++model.typo=1 | ++model.typo=1: nothing reads an added key 'model.typo'
+model@other=mf | nothing reads an added key
+trainer.typo=1 | Lightning's Trainer has no setting 'typo' … strategy
+trainer.barebone=1 | has no setting 'barebone'. Allowed: barebones, … Did you mean +trainer.barebones=
+trainer.callbacks=[] | recexp gives the Trainer its callbacks itself
~model | ~model: recexp needs every key
~model.embedding_dim | recexp needs every key; type model.embedding_dim=
model=mf model=two_tower | model=two_tower: model is given twice
model.embedding_dim=8 model.embedding_dim=16 | model.embedding_dim=16: model.embedding_dim is given twice
logger@other=wandb | one place for each group. Type logger=OPTION
foo | 'foo' is no override. Type KEY=VALUE
popularity | 'popularity' is an option of model. Type model=popularity
model = mf | 'model' is a group of options. Type model=OPTION, without spaces: mf,
=3 | '=3' is no override
eval.k=[5,10 | 'eval.k=[5,10' cannot be read … 'KEY=[1,2]', in single quotes
data=table data.path=a(b).csv | cannot be read … 'data.path="a(b).csv"'
model=mf,two_tower | several values make a grid. Type python -m recexp -m model=mf,two_tower
model=[mf,two_tower] | one model at a time. Type model=mf.
eval=[full,sampled] | one eval at a time. Type eval=full.
model=popularity loss=triplet | model=popularity is solved in closed form and takes no loss; drop loss=triplet
model=popularity optimizer.lr=1 | takes no optimizer; drop optimizer.lr=1
model=popularity fit.batch_size=9 | leaves nothing to set in fit; drop fit.batch_size=9
model=popularity fit=gradient | model=popularity is fitted by fit=solve; drop fit=gradient
fit=solve | model=mf is fitted by fit=gradient; drop fit=solve
split.validation=none | nothing to stop early on … fit.patience=null
data=table | data.path is needed and was not given. Type data.path=
task=evaluate | run is needed and was not given. Type run=
task=evaluate run=null | Type run=FOLDER
task=evaluate run=nowhere | nowhere is not the folder of a run … run=outputs/
task=recommend run=. | . is not the folder of a run
resume=nowhere | nowhere is not the folder of a run
run=nowhere | nowhere is not the folder of a run
k=5 | k is a key of task=recommend, which was not chosen. Type task=recommend k=5
seed=${foo} | seed: there is no key 'foo' to refer to
data.num_users=${oc.env:RECEXP_NOWHERE} | data.num_users: Environment variable 'RECEXP_NOWHERE' not found
model._target_=os.system | none of recexp's own classes … 'allow=[os]'
allow=os model._target_=os.system | none of recexp's own classes … 'allow=[os]'
allow=os | allow=os: expected a list of texts
model={_target_:os.system} | none of recexp's own classes
model._target_=recexp.facts.subprocess.run | recexp.facts.subprocess has no run for model
model._target_=recexp.facts._git | recexp.facts has no _git for model
model._target_=recexp.model.mf.MFF | recexp.model.mf has no MFF for model; there are MF
model._target_=recexp.loss.ce.CE | recexp.loss.ce has no CE for model
optimizer._target_=torch.optim.Admm | torch.optim has no Admm for optimizer; there are Adam,
optimizer._target_=torch.optim.sgd.os.system | none of recexp's own classes
+trainer.plugins=[{_target_:os.system}] | trainer.plugins[0]._target_=os.system is none of recexp's own
hydra.run.dir=file/below | the output folder file/below cannot be written (Not a directory). Type hydra.run.dir=FOLDER
-m hydra.sweep.dir=file/below seed=1 | file/below cannot be written … hydra.sweep.dir=FOLDER
-m model=mf,mff seed=1,2 | the grid's job model=mff seed=1 … there is no model 'mff' … Type model=mf.
seed=1,2 -m model=mf,mff | there is no model 'mff'
-m model=mf,popularity loss=ce | the grid's job model=popularity loss=ce … takes no loss
-m seed=1,x | seed=x: expected a whole number
-m seed=range(1,0) | there is no value in it. Type seed=A,B,C
-m seed=interval(1,3) | one by one; type seed=A,B,C
-m resume=outputs | outputs is not the folder of a run
--typo | unrecognized arguments: --typo … --hydra-help
-m --run | only one of --run, --multirun
--resolve | type --cfg job --resolve
--cfg nope | invalid choice: 'nope' … 'job'
--cfg job model=mff | there is no model 'mff'
--help model=mff | there is no model 'mff'
--config-name nope | there is no nope.yaml
--config-dir nope | --config-dir nope: there is no such folder
--config-path nope | --config-path nope: expected the absolute path of a folder
--experimental-rerun file | a pickle, which recexp never does
"""

TABLE = "data=table data.path=t.csv"
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
    (TABLE, "t has 1 user after data.filters; at least 2 are needed", "user,item\n1,2\n1,3\n1,4"),
    (TABLE, "t has 1 item after data.filters; at least 2 are needed", "user,item\n1,2\n2,2\n3,2"),
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
    ("loss=softmax negatives=observed", "Observed gives none. Type loss=ce", ""),
    ("refit=true split.validation=none fit.patience=null", "no validation. Type split.validation=next_to_last", ""),
    ("trainer.accelerator=mps", "finds no such device on this machine. Type trainer=cpu", ""),
    ("trainer.precision=foo", "trainer: Precision 'foo' is invalid. Allowed", ""),
    ("trainer.accelerator=foo", "invalid accelerator name … cpu", ""),
    ("-m seed=1,2 data=table data.path=missing.csv", "no file missing.csv", ""),
    ("allow=[nowhere] model._target_=nowhere.Model", "model: Error loading 'nowhere.Model'", ""),
]


def table(text: str) -> list[tuple[str, str]]:
    rows = [line.split(" | ") for line in text.strip().splitlines()]
    return [(typed, said) for typed, said in rows]


def words(typed: str) -> list[str]:
    return [typed] if typed.startswith(("=", "model={", "data.num_users=$", "+trainer.plugins")) else shlex.split(typed)


def contents(folder: Path) -> dict[str, str]:
    files = sorted(folder.rglob("*"))
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


def unchanged(run: Path) -> None:
    pass


POPULARITY = "recexp.model.popularity.Popularity"
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
    ("hydra.run.dir=run", "run holds a run … nothing is written over. Type resume=run", unchanged),
    ("hydra.sweep.dir=run -m seed=1,2", "run holds a run or a grid already … hydra.sweep.dir", unchanged),
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
