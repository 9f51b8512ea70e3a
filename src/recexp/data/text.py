"""Text as tokens: words, or letter trigrams."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from recexp.errors import RecexpError, nearest


def words(texts: pl.Series) -> pl.Series:
    """Lower-case words of each text, a list of them; an empty one for null."""
    return texts.cast(pl.String).fill_null("").str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+")


def trigrams(texts: pl.Series) -> pl.Series:
    """Letter trigrams of each text's words between marks: `good` is #go goo ood od#.

    Huang et al., "DSSM", CIKM 2013, section 3.2 (word hashing).
    """
    marked = words(texts).to_frame("words").with_row_index("row").explode("words").drop_nulls()
    word, last = pl.format("#{}#", "words"), pl.col("words").str.len_chars()
    pieces = marked.select("row", word=word, start=pl.int_ranges(last)).explode("start")
    pieces = pieces.select("row", piece=pl.col("word").str.slice(pl.col("start"), 3))
    rows = pl.DataFrame({"row": pl.Series(range(len(texts)), dtype=pl.UInt32)})
    joined = rows.join(pieces.group_by("row", maintain_order=True).agg("piece"), on="row", how="left")
    return joined.sort("row")["piece"].fill_null([])


TOKENS: dict[str, Callable[[pl.Series], pl.Series]] = {"words": words, "trigrams": trigrams}


def tokenizer(name: str) -> Callable[[pl.Series], pl.Series]:
    """The way of cutting texts that a config names.

    Raises:
        RecexpError: there is no such way.
    """
    if name not in TOKENS:
        allowed = nearest(name, TOKENS)
        raise RecexpError(
            f"model.features.tokens={name} is unknown; allowed: {', '.join(allowed)}. "
            f"Type model.features.tokens={allowed[0]}"
        )
    return TOKENS[name]
