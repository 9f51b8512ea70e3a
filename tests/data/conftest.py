"""Files of a few lines in a folder of their own, and a cache that nobody else sees."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from recexp.data.filters import Filters

Write = Callable[[str, str | bytes], Path]


@pytest.fixture(autouse=True)
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that RECEXP_DATA points at; the cache is beside it."""
    folder = tmp_path / "raw"
    folder.mkdir()
    monkeypatch.setenv("RECEXP_DATA", str(folder))
    monkeypatch.setenv("RECEXP_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def write(raw: Path) -> Write:
    def write_file(name: str, content: str | bytes) -> Path:
        path = raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
        return path

    return write_file


@pytest.fixture
def everything() -> Filters:
    """Filters that let everything pass."""
    return Filters(min_rating=None, half_life=None, duplicates="keep", min_user=0, min_item=0)
