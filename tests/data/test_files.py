"""MovieLens, NCF and sequence files of a few lines."""

from dataclasses import replace

import pytest

from recexp.data.feature_files import FeatureFiles
from recexp.data.filters import Filters
from recexp.data.movielens import GENRES, MovieLens1M, MovieLens100K
from recexp.data.ncf import NCF
from recexp.data.sequence_file import SequenceFile
from recexp.errors import RecexpError
from recexp.types import PAD

NOTHING = Filters(min_rating=None, half_life=None, duplicates="keep", min_user=0, min_item=0)
BARE_IDS = FeatureFiles(users=None, items=None)
ML_1M = MovieLens1M("rating", None, NOTHING, BARE_IDS)
ML_100K = MovieLens100K(None, NOTHING, BARE_IDS)
TINY_NCF = NCF("tiny", "n.train", "n.test", "n.negative", "rating", NOTHING)
BARE = SequenceFile("s.txt", NOTHING)


@pytest.fixture
def movielens(write) -> None:
    write("ml-1m/ratings.dat", "9::30::5::978300760\n2::10::3::978300750\n9::10::4::978300755\n")
    write("ml-1m/users.dat", "2::F::1::10::48067\n9::M::56::16::01234\n5::M::25::3::99\n")
    write("ml-1m/movies.dat", "10::Amélie: a Story (2001)::Comedy|Romance\n30::Untitled::War\n".encode("latin-1"))
    write("ml-100k/u.data", "9\t1\t5\t978300760\n2\t2\t3\t978300750\n")
    write("ml-100k/u.user", "2|24|M|technician|85711\n9|53|F|other|T8H1N\n")
    flags = [
        "|".join("1" if genre in wanted else "0" for genre in GENRES) for wanted in (["War", "Drama"], ["unknown"])
    ]
    films = f"1|Café (1995)|01-Jan-1995||http://x|{flags[0]}\n2|unknown||||{flags[1]}\n"
    write("ml-100k/u.item", films.encode("latin-1"))


def test_movielens_1m(movielens: None) -> None:
    dataset = ML_1M.load()
    assert dataset.users.rows() == [(2, "F", 1, "10", "48067"), (9, "M", 56, "16", "01234")]
    expected = [(10, "Amélie: a Story", ["Comedy", "Romance"], 2001), (30, "Untitled", ["War"], None)]
    assert dataset.items.select("item", "title", "genres", "year").rows() == expected
    assert dataset.interactions.label.tolist() == [3, 4, 5]


def test_movielens_100k(movielens: None) -> None:
    dataset = ML_100K.load()
    assert dataset.users.rows() == [(2, 24, "M", "technician", "85711"), (9, 53, "F", "other", "T8H1N")]
    expected = [(1, "Café", ["Drama", "War"], 1995), (2, "unknown", ["unknown"], None)]
    assert dataset.items.select("item", "title", "genres", "year").rows() == expected
    assert dataset.interactions.label.tolist() == [1, 1]


def test_gzip_and_plain_are_the_same_data(movielens: None, raw, write) -> None:
    plain = ML_1M.load().sha256
    for path in list((raw / "ml-1m").iterdir()):
        write(f"ml-1m/{path.name}.gz", path.read_bytes())
        path.unlink()
    assert ML_1M.load().sha256 == plain


def test_feature_files_complain_too(movielens: None, write) -> None:
    write("ml-1m/users.dat", "2::F::1::10::48067\n9::M::old::16::1\n")
    with pytest.raises(RecexpError, match=r"^ml-1m/users\.dat line 2: age old; expected years\.$"):
        ML_1M.load()
    write("ml-100k/u.item", "1|Cafe (1995)\n")
    with pytest.raises(RecexpError, match=r"^ml-100k/u\.item line 1: 2 fields; expected 24 "):
        ML_100K.load()


@pytest.fixture
def ncf(write) -> None:
    write("n.train", "0\t4\t5\t30\n0\t3\t4\t30\n0\t2\t3\t10\n2\t0\t2\t5\n")
    write("n.test", "0\t1\t5\t40\n2\t3\t1\t50\n")
    write("n.negative", "(0,1)\t5\t1\t0\n(2,3)\t1\t2\t7\n")


def test_ncf_keeps_the_numbers(ncf: None) -> None:
    dataset = TINY_NCF.load()
    assert (dataset.num_users, dataset.num_items) == (3, 8)
    assert dataset.items["item"].to_list() == list(range(8))
    assert dataset.negatives is not None and dataset.part is not None
    assert dataset.negatives.tolist() == [[5, PAD, 0], [PAD] * 3, [1, 2, 7]]
    assert dataset.part.tolist() == [0, 0, 0, 2, 0, 2]
    assert dataset.interactions.item.tolist() == [2, 3, 4, 1, 0, 3]  # 4 stands before 3: newest first
    assert dataset.interactions.label.tolist() == [3, 4, 5, 5, 2, 1]


def test_ncf_without_negatives(ncf: None) -> None:
    dataset = replace(TINY_NCF, negatives=None).load()
    assert dataset.negatives is None
    assert dataset.num_items == 5


def test_ncf_complaints(ncf: None, write) -> None:
    write("n.negative", "(0,1)\t5\t1\t0\n(2,2)\t1\t2\t7\n")
    with pytest.raises(RecexpError, match=r"^n\.negative line 2: test pair \(2,2\); expected \(user,item\) as in"):
        TINY_NCF.load()
    write("n.negative", "(0,1)\t5\t1\t0\n(2,3)\t1\t2\n")
    with pytest.raises(RecexpError, match=r"^n\.negative line 2: 3 fields; expected 4"):
        TINY_NCF.load()
    write("n.train", "0\t4\t5\t30\n-1\t4\t5\t30\n")
    with pytest.raises(RecexpError, match=r"^n\.train line 2: user -1; expected an id from 0"):
        TINY_NCF.load()
    with pytest.raises(RecexpError, match=r"no file gone.*not downloaded.*neural_collaborative_filtering"):
        replace(TINY_NCF, train="gone").load()


def test_both_forms_of_sequences_are_the_same_data(write) -> None:
    write("s.txt", "2 10\n2 9\n1 9\n1 9\n1 11\n")
    pairs = BARE.load()
    write("s.txt", "1 9 9 11\n2 10 9\n")
    assert BARE.load().sha256 == pairs.sha256
    assert pairs.interactions.item.tolist() == [0, 0, 2, 1, 0]
    assert pairs.interactions.time.tolist() == [0, 1, 2, 0, 1]
    assert pairs.name == "s"


def test_sequence_complaints(write) -> None:
    write("s.txt", "1 2 3\n4\n")
    with pytest.raises(RecexpError, match=r"^s\.txt line 2: item is missing; expected an id\.$"):
        BARE.load()
    write("s.txt", "1 2\n" * 100 + "1 2 3\n")
    with pytest.raises(RecexpError, match=r"^s\.txt line 101: 3 fields; expected 2 \(user, item\) separated by ' '"):
        BARE.load()
    write("s.txt", "")
    with pytest.raises(RecexpError, match=r"^s\.txt is empty"):
        BARE.load()
