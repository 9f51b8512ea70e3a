"""MovieLens: star ratings of films, with times, films' titles and genres, and who the people are."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import polars as pl

from recexp.data.base import prepare
from recexp.data.cache import cached
from recexp.data.feature_files import FeatureFiles
from recexp.data.filters import Filters
from recexp.data.lines import RATING, SECONDS, Field, read_lines
from recexp.data.raw import Archive, RawFile, find
from recexp.types import Dataset

ML_1M = Archive("https://files.grouplens.org/datasets/movielens/ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906")
ML_100K = Archive("https://files.grouplens.org/datasets/movielens/ml-100k.zip", "0e33842e24a9c977be4e0107933c0723")

USER = Field("user", pl.Int64, "a whole number")
ITEM = Field("item", pl.Int64, "a whole number")
EVENT = (USER, ITEM, RATING, SECONDS)
AGE = Field("age", pl.Int64, "years", 0)
GENRES = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]

FACTS = ("name", "released_in", "rated", "released", "kinds", "director", "writers", "actors", "plot", "poster")
PLOTS_HINT = "it is movielens/ml-1m/movies_extrainfos.dat of https://github.com/hoyeoplee/MeLU"


def _text(name: str) -> Field:
    return Field(name, pl.String, "some text", 1)


def _events(file: RawFile, separator: str) -> pl.DataFrame:
    return read_lines(file, separator, EVENT).rename({"timestamp": "time"})


def _titled(items: pl.DataFrame) -> pl.DataFrame:
    """`Toy Story (1995)` -> title `Toy Story`, year 1995; a film without a year has null."""
    year = pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Int64)
    return items.with_columns(title=pl.col("title").str.replace(r"\s*\(\d{4}\)\s*$", ""), year=year)


def _plots(file: RawFile) -> pl.DataFrame:
    """Plot, director and actors of each film, null where the file says N/A."""
    facts = read_lines(file, "::", (ITEM, *(Field(name, pl.String, "any text", 0) for name in FACTS)))
    known = [pl.when(pl.col(name) != "N/A").then(name).alias(name) for name in ("plot", "director", "actors")]
    return facts.select("item", *known).with_columns(pl.col("director", "actors").str.split(", "))


@dataclass(frozen=True)
class MovieLens1M:
    """MovieLens 1M: 1,000,209 ratings by 6,040 people of 3,706 films, 2000-2003.

    Harper & Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 2015.
    Features: users gender, age [years, lower end of its bracket], occupation [code], zip; items title, year, genres.

    Args:
        label: `rating` learns the stars, null learns that a film was seen.
        plots: file of MeLU (Lee et al., KDD 2019), `movies_extrainfos.dat`, adds the items' columns plot, director and
            actors; null: none.
        features: tables of your own.
    """

    label: str | None
    plots: str | None
    filters: Filters
    features: FeatureFiles

    def load(self) -> Dataset:
        """Read, or download once from grouplens.org."""
        files = [find(f"ml-1m/{name}.dat", ML_1M) for name in ("ratings", "users", "movies")]
        files += [] if self.plots is None else [find(self.plots, hint=PLOTS_HINT)]
        every = [*files, *self.features.files()]
        return cached(every, {"movielens": "1m", **asdict(self)}, lambda: self._prepare(*files))

    def _prepare(self, ratings: RawFile, users: RawFile, movies: RawFile, plots: RawFile | None = None) -> Dataset:
        people = read_lines(users, "::", (USER, _text("gender"), AGE, _text("occupation"), _text("zip")), "latin-1")
        films = read_lines(movies, "::", (ITEM, _text("title"), _text("genres")), "latin-1")
        films = _titled(films).with_columns(pl.col("genres").str.split("|"))
        films = films if plots is None else films.join(_plots(plots), on="item", how="left", maintain_order="left")
        tables = self.features.tables(people, films)
        return prepare("movielens_1m", _events(ratings, "::"), self.label, self.filters, *tables)


@dataclass(frozen=True)
class MovieLens100K:
    """MovieLens 100K: 100,000 ratings by 943 people of 1,682 films, 1997-1998.

    Harper & Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 2015.
    Features: users age [years], gender, occupation, zip; items title, year, genres.

    Args:
        label: `rating` learns the stars, null learns that a film was seen.
        features: tables of your own.
    """

    label: str | None
    filters: Filters
    features: FeatureFiles

    def load(self) -> Dataset:
        """Read, or download once from grouplens.org."""
        files = [find(f"ml-100k/u.{name}", ML_100K) for name in ("data", "user", "item")]
        every = [*files, *self.features.files()]
        return cached(every, {"movielens": "100k", **asdict(self)}, lambda: self._prepare(*files))

    def _prepare(self, ratings: RawFile, users: RawFile, movies: RawFile) -> Dataset:
        people = read_lines(users, "|", (USER, AGE, _text("gender"), _text("occupation"), _text("zip")), "latin-1")
        dates = [Field(name, pl.String, "any text", 0) for name in ("release", "video", "url")]
        flags = [Field(genre, pl.Int64, "0 or 1", 0, 1) for genre in GENRES]
        films = read_lines(movies, "|", (ITEM, _text("title"), *dates, *flags), "latin-1")
        genres = [pl.when(pl.col(genre) == 1).then(pl.lit(genre)) for genre in GENRES]
        films = films.select("item", "title", genres=pl.concat_list(genres).list.drop_nulls())
        tables = self.features.tables(people, _titled(films))
        return prepare("movielens_100k", _events(ratings, "\t"), self.label, self.filters, *tables)
