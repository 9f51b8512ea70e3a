"""Feature tables of one's own, whatever the format, beside any events."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from recexp.data.feature_files import FeatureFiles
from recexp.data.filters import Filters
from recexp.data.table import Table
from recexp.errors import RecexpError
from recexp.types import Dataset

ROWS = pl.DataFrame({"item": [7, 8, 9], "tags": [["a"], ["a", "b"], []], "price": [1.5, 2.5, None]})
Write = Callable[[str, str | bytes], Path]


def load(filters: Filters, items: str) -> Dataset:
    return Table("e.csv", "user", "item", None, None, None, None, [], filters, FeatureFiles(None, items)).load()


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_lists_and_numbers_arrive(ending: str, write: Write, raw: Path, everything: Filters) -> None:
    write("e.csv", "user,item\n1,8\n2,7\n1,7\n")
    {"jsonl": ROWS.write_ndjson, "parquet": ROWS.write_parquet}[ending](raw / f"items.{ending}")
    items = load(everything, f"items.{ending}").items
    assert items.rows() == [(7, ["a"], 1.5), (8, ["a", "b"], 2.5)]


def test_csv_and_text_ids(write: Write, everything: Filters) -> None:
    write("e.csv", "user,item\n1,b\n2,a\n1,a\n")
    write("items.csv.gz", "item,price\nb,3\nz,1\n")
    assert load(everything, "items.csv").items.rows() == [("a", None), ("b", 3)]


def test_ids_of_a_csv_keep_their_zeros(write: Write, everything: Filters) -> None:
    write("e.csv", "user,item\n1,007\n2,7\n1,012\n")
    write("items.csv", "item,price\n007,3\n012,4\n7,5\n")
    assert load(everything, "items.csv").items.rows() == [("007", 3), ("012", 4), ("7", 5)]
    write("items.csv", "item\n")
    with pytest.raises(RecexpError, match=r"items\.csv has no rows; expected one for each item"):
        load(everything, "items.csv")


def test_another_table_is_another_dataset(write: Write, everything: Filters) -> None:
    write("e.csv", "user,item\n1,8\n2,7\n1,7\n")
    write("items.csv", "item,price\n7,3\n")
    one = load(everything, "items.csv")
    write("items.csv", "item,price\n7,4\n")
    assert load(everything, "items.csv").sha256 != one.sha256


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("items.csv", "sku,price\n7,3\n", "items.csv has no column 'item'.*it has: price, sku|sku, price"),
        ("items.csv", "item,price\n7,3\n7,4\n", "items.csv: item 7 has more than one row"),
        ("items.csv", "", "items.csv is empty"),
        ("items.csv", "item,price\n70,3\n", "none of the 2 items of the events is in the table.*7, 8.*70"),
        ("items.parquet", "hello", "items.parquet cannot be read as parquet"),
        ("items.jsonl", '{"item": 7', "items.jsonl cannot be read as jsonl"),
        ("items.xlsx", "hello", "unknown ending '.xlsx'; allowed"),
    ],
)
def test_bad_tables(name: str, content: str, complaint: str, write: Write, everything: Filters) -> None:
    write("e.csv", "user,item\n1,8\n2,7\n1,7\n")
    write(name, content)
    with pytest.raises(RecexpError, match=complaint):
        load(everything, name)


def test_missing_table(write: Write, everything: Filters) -> None:
    write("e.csv", "user,item\n1,8\n2,7\n1,7\n")
    with pytest.raises(RecexpError, match=r"no file itms\.csv"):
        load(everything, "itms.csv")
