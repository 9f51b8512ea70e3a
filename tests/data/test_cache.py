"""Prepared data is used again, and made again when it is damaged."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recexp.data.base import prepare
from recexp.data.cache import cached
from recexp.data.filters import Filters
from recexp.data.raw import RawFile, find
from recexp.types import Dataset

NOTHING = Filters(min_rating=None, half_life=None, duplicates="keep", min_user=0, min_item=0)
EVENTS = pl.DataFrame({"user": range(50), "item": [i % 9 for i in range(50)], "time": range(50)})


class Kitchen:
    """Prepares the same toy dataset, and counts how often."""

    def __init__(self, file: RawFile) -> None:
        self.file, self.cooked = file, 0

    def cook(self) -> Dataset:
        self.cooked += 1
        films = pl.DataFrame({"item": range(9), "genres": [["a", "b"], ["c"], []] * 3, "title": list("abcdefghi")})
        dataset = prepare("toy", EVENTS, None, NOTHING, items=films)
        return replace(dataset, part=np.zeros(50, np.int8), negatives=np.full((50, 2), -1, np.int32))

    def serve(self, **config: object) -> Dataset:
        return cached([self.file], config, self.cook)


@pytest.fixture
def kitchen(write) -> Kitchen:
    write("toy.dat", "raw")
    return Kitchen(find("toy.dat"))


def entries(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "prepared").iterdir())


def test_second_time_is_the_same_without_work(kitchen: Kitchen) -> None:
    first, second = kitchen.serve(), kitchen.serve()
    assert kitchen.cooked == 1
    assert second.users.equals(first.users)
    assert second.items.equals(first.items)
    assert (second.name, second.sha256) == (first.name, first.sha256)
    for name, array in {**vars(first.interactions), "part": first.part, "negatives": first.negatives}.items():
        found = getattr(second.interactions, name, None) if name in vars(first.interactions) else getattr(second, name)
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype
        assert found.flags.writeable


def test_it_remembers_that_there_are_no_times(kitchen: Kitchen) -> None:
    def build() -> Dataset:
        return prepare("toy", EVENTS.drop("time"), None, NOTHING)

    assert [cached([kitchen.file], {}, build).timed for _ in range(2)] == [False, False]
    assert [kitchen.serve(other=1).timed for _ in range(2)] == [True, True]


def test_other_config_or_other_bytes_are_other_data(kitchen: Kitchen, write) -> None:
    kitchen.serve()
    kitchen.serve(label="rating")
    write("toy.dat", "other")
    kitchen.serve()
    assert kitchen.cooked == 3


@pytest.mark.parametrize("place", [0, 5, 0.3, 0.5, 0.7, 0.9, -30])
def test_flipped_byte_does_no_harm(kitchen: Kitchen, tmp_path: Path, place: float) -> None:
    first = kitchen.serve()
    (path,) = entries(tmp_path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 0xFF
    path.write_bytes(content)
    assert kitchen.serve().sha256 == first.sha256
    assert kitchen.serve().items.equals(first.items)


@pytest.mark.parametrize("left", [0, 10, 1000])
def test_cut_file_is_made_again(kitchen: Kitchen, tmp_path: Path, left: int, caplog: pytest.LogCaptureFixture) -> None:
    kitchen.serve()
    (path,) = entries(tmp_path)
    path.write_bytes(path.read_bytes()[:left])
    with caplog.at_level(logging.WARNING, "recexp"):
        kitchen.serve()
    assert "is damaged" in caplog.text
    kitchen.serve()
    assert kitchen.cooked == 2
    assert entries(tmp_path) == [path]


def test_cache_that_cannot_be_written_is_no_obstacle(kitchen: Kitchen, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert kitchen.serve().num_users == 50
