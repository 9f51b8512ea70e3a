"""One table in every format, and what is said of a bad one."""

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from recexp.data.feature_files import FeatureFiles
from recexp.data.filters import Filters
from recexp.data.table import Table
from recexp.errors import RecexpError

NOTHING = Filters(min_rating=None, half_life=None, duplicates="keep", min_user=0, min_item=0)
TABLE = Table("log.csv", "uid", "sku", "ts", "w", None, "stars", [], NOTHING, FeatureFiles(None, None))
FRAME = pl.DataFrame(
    {"uid": [10, 9, 10], "sku": ["b", "a", "a"], "ts": [30, 10, 20], "w": [0.5, 1.0, 2.0], "stars": [1, 5, 3]}
)


def as_format(path: Path) -> None:
    kinds = {
        ".csv": FRAME.write_csv,
        ".jsonl": FRAME.write_ndjson,
        ".ndjson": FRAME.write_ndjson,
        ".parquet": FRAME.write_parquet,
    }
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if plain.suffix == ".tsv":
        FRAME.write_csv(plain, separator="\t")
    else:
        kinds[plain.suffix](plain)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()


@pytest.mark.parametrize(
    "name", ["a.tsv", "a.jsonl", "a.ndjson", "a.parquet", "a.csv.gz", "a.jsonl.gz", "a.parquet.gz"]
)
def test_all_formats_are_the_same_data(raw: Path, name: str) -> None:
    as_format(raw / "log.csv")
    as_format(raw / name)
    plain = TABLE.load()
    assert replace(TABLE, path=name).load().sha256 == plain.sha256
    assert replace(TABLE, path=name.removesuffix(".gz")).load().sha256 == plain.sha256
    assert plain.name == "log"
    assert plain.users["user"].to_list() == [9, 10]
    assert plain.items["item"].to_list() == ["a", "b"]
    log = plain.interactions
    assert [a.tolist() for a in (log.user, log.item, log.time, log.weight, log.label)] == [
        [0, 1, 1], [0, 0, 1], [10, 20, 30], [1, 2, 0.5], [5, 3, 1],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["5", "7.9"], [5, 7]),
        (["1970-01-02", "1970-01-03"], [86400, 172800]),
        (["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:01Z"], [0, 1]),
        (["1970-01-01 00:00:05", "1970-01-01 00:00:06.7"], [5, 6]),
    ],
)
def test_times(write, column: list[str], expected: list[int]) -> None:
    write("log.csv", f"uid,sku,ts\n1,2,{column[0]}\n2,3,{column[1]}\n")
    assert replace(TABLE, weight=None, label=None).load().interactions.time.tolist() == expected


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_parquet_times_of_any_unit(raw: Path, unit: str) -> None:
    frame = FRAME.with_columns(pl.from_epoch("ts").cast(pl.Datetime(unit)), day=pl.from_epoch("ts").cast(pl.Date))
    frame.write_parquet(raw / "log.parquet")
    table = replace(TABLE, path="log.parquet")
    assert table.load().interactions.time.tolist() == [10, 20, 30]
    assert replace(table, time="day").load().interactions.time.tolist() == [0, 0, 0]


WHEN = "2024-01-01 00:00:0"


@pytest.mark.parametrize(
    "times",
    [
        pl.Series([2.5, 1.9, 1.1]),
        pl.Series(["2.5", "1.9", "1.1"]),
        pl.Series([f"{WHEN}2", f"{WHEN}1.9", f"{WHEN}1.1"]),
        pl.Series([2000, 1900, 1100]).cast(pl.Datetime("ms")),
        pl.Series([2000000000, 1000000002, 1000000001]).cast(pl.Datetime("ns")),
    ],
)
def test_order_within_a_second(raw: Path, times: pl.Series) -> None:
    frame = pl.DataFrame({"uid": [1, 1, 1, 2], "sku": [10, 9, 8, 7], "ts": times.append(times[2:])})
    frame.write_parquet(raw / "log.parquet")
    dataset = replace(TABLE, path="log.parquet", weight=None, label=None).load()
    assert dataset.items["item"].to_numpy()[dataset.interactions.item].tolist() == [8, 9, 10, 7]


def test_days_as_numbers_are_refused(write) -> None:
    write("log.csv", "uid,sku,ts\n1,2,20240103\n2,3,20240101\n")
    table = replace(TABLE, weight=None, label=None)
    with pytest.raises(RecexpError, match=r"^log\.csv: ts 20240103 looks like YYYYMMDD.*Write 2024-01-03\.$"):
        table.load()
    write("log.csv", "uid,sku,ts\n1,2,20240103\n2,3,21001232\n")
    assert table.load().interactions.time.tolist() == [20240103, 21001232]
    write("log.csv", "uid,sku,ts\n1,2,1970-08-24\n2,3,1970-08-25\n")
    assert table.load().interactions.time[0] == 20304000


@pytest.mark.parametrize("strange", [float("nan"), float("inf")])
def test_ids_that_are_no_numbers(raw: Path, strange: float) -> None:
    FRAME.with_columns(uid=pl.Series([1.0, strange, 2.0])).write_parquet(raw / "log.parquet")
    words = rf"^log\.parquet row 2: uid {strange}; expected an id, a finite number or text; correct it"
    with pytest.raises(RecexpError, match=words):
        replace(TABLE, path="log.parquet").load()


def test_ids_of_a_strange_type(raw: Path) -> None:
    FRAME.with_columns(uid=pl.Series([b"a", b"\xff", b"c"])).write_parquet(raw / "log.parquet")
    with pytest.raises(RecexpError, match=r"'uid' holds Binary from row 1 on; .* Write it as .* \(data\.user=\.\.\.\)"):
        replace(TABLE, path="log.parquet").load()


def test_only_named_columns_are_read(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FRAME.with_columns(text=pl.lit("long")).write_parquet(raw / "log[1].parquet")
    read, collect = [], pl.LazyFrame.collect

    def spy(frame: pl.LazyFrame) -> pl.DataFrame:
        read.append(frame.explain())
        return collect(frame)

    monkeypatch.setattr(pl.LazyFrame, "collect", spy)
    replace(TABLE, path="log[1].parquet").load()
    assert "PROJECT 5/6 COLUMNS" in read[0]
    assert "log[1].parquet" in read[0]


def test_rating_filters_and_label_is_learned(raw: Path) -> None:
    FRAME.with_columns(seen=pl.Series([0.9, 0.1, 0.5]), sku=pl.Series(["a", "a", "b"])).write_csv(raw / "log.csv")
    log = replace(TABLE, rating="stars", label="seen", filters=replace(NOTHING, min_rating=2)).load().interactions
    assert log.label.tolist() == pytest.approx([0.1, 0.5])
    log = replace(TABLE, filters=replace(NOTHING, min_rating=2)).load().interactions
    assert log.label.tolist() == [5, 3]


def test_weights_of_nothing_are_refused(raw: Path) -> None:
    FRAME.with_columns(w=pl.lit(0.0)).write_csv(raw / "log.csv")
    with pytest.raises(RecexpError, match=r"^log: no event weighs more than 0 .* the column of data\.weight"):
        TABLE.load()


def test_rating_filters_without_being_learned(raw: Path) -> None:
    pl.concat([FRAME, FRAME]).with_columns(stars=pl.Series([1, 5, 3, 4, 2, 1])).write_csv(raw / "log.csv")
    log = replace(TABLE, rating="stars", label=None, filters=replace(NOTHING, min_rating=3)).load().interactions
    assert log.label.tolist() == [1, 1, 1]
    assert log.time.tolist() == [10, 20, 30]


HEAD = "uid,sku,ts,w,stars\n"
ROW = "1,2,3,4,5\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (HEAD + ROW + "1,2,-4,4,5\n", "line 3: ts -4; expected seconds since 1970 or an ISO date."),
        (
            HEAD + ROW + "1,2,1600000000000,4,5\n",
            "line 3: ts 1600000000000; expected seconds since 1970 or an ISO date.",
        ),
        (HEAD + ROW + "1,2,soon,4,5\n", "line 3: ts soon; expected seconds since 1970 or an ISO date."),
        (HEAD + "1,2,soon,4,5\n", "line 2: ts soon; expected seconds since 1970 or an ISO date."),
        (HEAD + ROW + "1,2,3,-1,5\n", "line 3: w -1; expected a finite number, 0 or more."),
        (HEAD + ROW + "1,2,3,nan,5\n", "line 3: w nan; expected a finite number, 0 or more."),
        (HEAD + ROW + "1,2,3,4,inf\n", "line 3: stars inf; expected a finite number."),
        (HEAD + ROW + ",2,3,4,5\n", "line 3: uid is missing; expected an id."),
        (HEAD + ROW + "1,2,3\n", "line 3: w is missing; expected a finite number, 0 or more."),
        (HEAD + ROW + "\n" + ROW, "line 3: uid is missing; expected an id."),
        (HEAD + '"a\nb",2,3,4,5\n' + "1,,3,4,5\n", "line 4: sku is missing; expected an id."),
        (HEAD + ROW + "1,2,3,4,5,6\n", "line 3: 6 fields; expected 5 (uid, sku, ts, w, stars)."),
    ],
)
def test_malformed_csv(write, text: str, complaint: str) -> None:
    write("log.csv", text)
    with pytest.raises(RecexpError, match="^" + re.escape(f"log.csv {complaint}") + "$"):
        TABLE.load()


def test_malformed_json_lines(write) -> None:
    good = json.dumps({"uid": 1, "sku": 2, "ts": 3, "w": 1, "stars": 5}) + "\n"
    table = replace(TABLE, path="log.jsonl")
    write("log.jsonl", good + "\n" + '{"uid": \n')
    with pytest.raises(RecexpError, match=r"log\.jsonl line 3: '\{\"uid\": '; expected a JSON object"):
        table.load()
    write("log.jsonl", good + "\n" + good.replace("3", "null"))
    with pytest.raises(RecexpError, match=r"^log\.jsonl line 3: ts is missing; expected seconds"):
        table.load()
    write("log.jsonl", good.replace("1", "[1, 2]", 1))
    with pytest.raises(RecexpError, match=r"column 'uid' holds List.*expected one value per row"):
        table.load()


def test_malformed_parquet(raw: Path) -> None:
    table = replace(TABLE, path="log.parquet")
    FRAME.with_columns(ts=pl.Series([1, 2, -3])).write_parquet(raw / "log.parquet")
    with pytest.raises(RecexpError, match=r"^log\.parquet row 3: ts -3; expected seconds"):
        table.load()
    (raw / "log.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(RecexpError, match=r"^log\.parquet cannot be read as parquet"):
        table.load()


def test_other_bad_files(write) -> None:
    write("log.csv", HEAD + ROW)
    with pytest.raises(RecexpError, match=r"has no column 'skus' \(data.item=skus\); it has: sku, "):
        replace(TABLE, item="skus").load()
    write("log.csv", b"uid,sku,ts,w,stars\n1,2,3,4,\xff\n")
    with pytest.raises(RecexpError, match=r"^log\.csv line 2: byte 0xff; expected UTF-8 text"):
        TABLE.load()
    for content in ("", "\n"):
        write("log.csv", content)
        with pytest.raises(RecexpError, match=r"log\.csv is empty"):
            TABLE.load()
    write("log.csv", HEAD)
    with pytest.raises(RecexpError, match="has 0 interactions"):
        TABLE.load()
    write("log.xls", "x")
    with pytest.raises(RecexpError, match=r"the ending '\.xls' is unknown; allowed: \."):
        replace(TABLE, path="log.xls").load()
