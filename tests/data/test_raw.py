"""Finding files, and downloading an archive that lies on this disk."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from recexp.data.raw import Archive, find
from recexp.errors import RecexpError


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    path = tmp_path / "official.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("ml-9/ratings.dat", "1::2::3::4\n")
        opened.writestr("../../escaped", "out of the folder")
    return Archive(path.as_uri(), hashlib.md5(path.read_bytes()).hexdigest())


def test_download_unpacks_once_and_stays_inside(archive: Archive, tmp_path: Path) -> None:
    found = find("ml-9/ratings.dat", archive)
    assert found.content() == b"1::2::3::4\n"
    assert found.path.is_relative_to(tmp_path / "cache" / "raw")
    assert not list(tmp_path.glob("escaped"))
    assert not list(tmp_path.parent.glob("escaped"))
    (tmp_path / "official.zip").unlink()
    assert find("ml-9/ratings.dat", archive) == found


def test_wrong_checksum_keeps_nothing(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(RecexpError, match=r"md5 [0-9a-f]{32}, but the published one is 0"):
        find("ml-9/ratings.dat", Archive(archive.url, "0" * 32))
    assert not list((tmp_path / "cache" / "raw").iterdir())


def test_failed_download_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RecexpError, match=r"could not be fetched.*Set RECEXP_DATA to the folder that holds ml-9/a"):
        find("ml-9/a", Archive((tmp_path / "nowhere.zip").as_uri(), ""))


def test_download_that_is_no_zip(tmp_path: Path) -> None:
    page = tmp_path / "page.zip"
    page.write_text("<html>sign in</html>")
    with pytest.raises(RecexpError, match="could not be fetched"):
        find("ml-9/a", Archive(page.as_uri(), hashlib.md5(page.read_bytes()).hexdigest()))


def test_working_directory_then_data_folder(raw: Path, tmp_path: Path, write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("log.csv.gz", "far")
    assert find("log.csv").content() == b"far"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("near")
    assert find("log.csv").content() == b"near"
    monkeypatch.setenv("HOME", str(raw))
    assert find("~/log.csv").content() == b"far"


def test_missing_file_names_what_lies_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.csv").touch()
    (tmp_path / "zzz").touch()
    with pytest.raises(RecexpError, match=r"no file event\.csv .* holds events\.csv, zzz"):
        find("event.csv")


def test_damaged_gzip_is_named(write) -> None:
    whole = write("a.txt.gz", "text " * 100)
    whole.write_bytes(whole.read_bytes()[:-9])
    with pytest.raises(RecexpError, match=r"a\.txt\.gz: the gzip file is damaged"):
        find("a.txt").content()
