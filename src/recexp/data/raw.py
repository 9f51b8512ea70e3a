"""Raw files: where they lie, what they hold, and how a public archive is fetched once."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from hydra.utils import to_absolute_path
from rich.console import Console
from rich.progress import wrap_file

from recexp.errors import RecexpError, nearest


def cache_folder() -> Path:
    """`$RECEXP_CACHE`, or `~/.cache/recexp`."""
    return Path(os.environ.get("RECEXP_CACHE") or "~/.cache/recexp").expanduser()


@dataclass(frozen=True)
class RawFile:
    """A file as the user knows it (`name`) and where it lies; `.gz` files read as if they were plain."""

    name: str
    path: Path

    def content(self) -> bytes:
        """All bytes, decompressed.

        Raises:
            RecexpError: the file cannot be read, or its gzip stream is damaged.
        """
        try:
            data = self.path.read_bytes()
            return gzip.decompress(data) if self.path.suffix == ".gz" else data
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise RecexpError(
                f"{self.path}: the gzip file is damaged ({error}); fetch or compress it again."
            ) from error
        except OSError as error:
            raise RecexpError(f"{self.path} cannot be read: {error.strerror}.") from error

    def digest(self) -> str:
        """SHA-256 of the bytes on disk."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Archive:
    """A zip file at its official address.

    Args:
        url: where it is published.
        md5: the checksum published beside it.
    """

    url: str
    md5: str

    def unpack(self, folder: Path) -> None:
        """Download, verify and unpack into `folder`; whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            archive = Path(temporary) / "archive.zip"
            self._download(archive)
            self._verify(archive)
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(Path(temporary) / "members")
            for member in (Path(temporary) / "members").iterdir():
                _publish(member, folder / member.name)

    def _download(self, target: Path) -> None:
        with urllib.request.urlopen(self.url, timeout=30) as response, target.open("wb") as out:
            total = int(response.headers.get("Content-Length") or 0)
            screen = Console(stderr=True)
            with wrap_file(response, total, description=self.url, console=screen, transient=True) as stream:
                shutil.copyfileobj(stream, out)

    def _verify(self, archive: Path) -> None:
        with archive.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != self.md5:
            raise RecexpError(
                f"{self.url}: md5 {found}, but the published one is {self.md5}; nothing was kept. Try again, "
                "or fetch it by other means and set RECEXP_DATA to the folder you unpack it in."
            )


def _publish(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        place = target / path.relative_to(source)
        if path.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)


def find(name: str, archive: Archive | None = None, hint: str = "") -> RawFile:
    """`name` or `name.gz` in the working directory, `$RECEXP_DATA` or the cache; else from its archive.

    Raises:
        RecexpError: it is nowhere, and there is no archive or it cannot be fetched.
    """
    found = _locate(name)
    if found is None and archive is not None:
        try:
            archive.unpack(cache_folder() / "raw")
        except (OSError, HTTPException, zipfile.BadZipFile) as error:
            raise _missing(name, f"{archive.url} could not be fetched ({error}); unpack it there yourself") from error
        found = _locate(name)
    if found is None:
        if any((folder / Path(name).expanduser()).is_dir() for folder in _folders()):
            raise RecexpError(f"{name} is a folder; expected a file. Type the path of one in it.")
        raise _missing(name, hint)
    return found


def _folders() -> list[Path]:
    given = os.environ.get("RECEXP_DATA")
    mine = [Path(to_absolute_path(str(Path(given).expanduser())))] if given else []
    return [Path(to_absolute_path(".")), *mine, cache_folder() / "raw"]


def _locate(name: str) -> RawFile | None:
    for folder in _folders():
        for ending in ("", ".gz"):
            path = folder / Path(name + ending).expanduser()
            if path.is_file():
                return RawFile(name, path)
    return None


def _missing(name: str, hint: str) -> RecexpError:
    beside = (_folders()[0] / Path(name).expanduser()).parent
    there = [p.name for p in beside.iterdir() if p.is_file()] if beside.is_dir() else []
    if Path(name).expanduser().is_absolute():
        near = f"; {beside} holds {', '.join(nearest(Path(name).name, there)[:5])}" if there else ""
        return RecexpError(f"no file {name} (or {name}.gz){near}. Type the path of one that there is.")
    places = "the working directory, $RECEXP_DATA" + ("" if os.environ.get("RECEXP_DATA") else " (not set)")
    message = f"no file {name} (or {name}.gz) in {places} or {cache_folder() / 'raw'}"
    message += f"; {hint}" if hint else ""
    message += f"; {beside} holds {', '.join(nearest(Path(name).name, there)[:5])}" if there and not hint else ""
    return RecexpError(message + f". Set RECEXP_DATA to the folder that holds {name}.")
