"""Is the difference between two runs more than luck? Paired tests over users.

Smucker, Allan & Carterette, "A comparison of statistical significance tests for information retrieval evaluation",
CIKM 2007: randomization, paired t and bootstrap, over per-user values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy.stats

from recexp.errors import RecexpError, nearest

ROUNDS_AT_ONCE = 64


@dataclass(frozen=True)
class Comparison:
    """One run against another on the same users.

    Attributes:
        difference: mean of one minus mean of other; low, high: its bootstrap confidence interval.
        p_t, p_randomization: two-sided p-values of the paired t and of the randomization test.
    """

    difference: float
    low: float
    high: float
    p_t: float
    p_randomization: float


def paired(one: pl.DataFrame, other: pl.DataFrame, metric: str) -> np.ndarray:
    """The differences of two `per_user` tables, one per user.

    Raises:
        RecexpError: a table lacks the metric, or the users are not the same.
    """
    for table in (one, other):
        if metric not in table.columns[1:]:
            names = nearest(metric, table.columns[1:])
            raise RecexpError(f"'{metric}' is not in both runs; allowed are {', '.join(names)}")
    both = one.select("user", metric).join(other.select("user", pl.col(metric).alias("other")), on="user", how="inner")
    if not both.height == one.height == other.height:
        raise RecexpError(
            f"the runs asked {one.height} and {other.height} users, {both.height} of them the same; "
            "compare runs with the same data, split and eval"
        )
    differences = (both[metric] - both["other"]).to_numpy()
    return differences[~np.isnan(differences)]


def compare(differences: np.ndarray, rounds: int, level: float, rng: np.random.Generator) -> Comparison:
    """Both tests and the interval.

    Args:
        differences: one per user. rounds: of resampling [count]. level: of the interval, e.g. 0.95.
    """
    low, high = bootstrap(differences, rounds, level, rng)
    p_random = randomization(differences, rounds, rng)
    return Comparison(float(differences.mean()), low, high, paired_t(differences), p_random)


def paired_t(differences: np.ndarray) -> float:
    """Two-sided p of Student's paired t-test; 1 where nothing differs."""
    if not differences.any():
        return 1.0
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    t = np.divide(differences.mean(), error, out=np.array(np.inf), where=error > 0)
    return float(2 * scipy.stats.t.sf(np.abs(t), len(differences) - 1))


def randomization(differences: np.ndarray, rounds: int, rng: np.random.Generator) -> float:
    """Two-sided p: the share of random signs under which the mean is at least as far from 0 (this one counted in)."""

    def flipped(count: int) -> np.ndarray:
        return np.abs((rng.integers(0, 2, (count, len(differences)), dtype=np.int8) * 2 - 1) @ differences)

    found = abs(differences.sum())
    means = _resampled(flipped, rounds)
    return float((1 + (means >= found - 1e-12 * np.abs(differences).sum()).sum()) / (1 + rounds))


def bootstrap(values: np.ndarray, rounds: int, level: float, rng: np.random.Generator) -> tuple[float, float]:
    """The percentile interval of the mean over users, also for the values of a single run."""

    def drawn(count: int) -> np.ndarray:
        return values[rng.integers(0, len(values), (count, len(values)))].mean(axis=1)

    low, high = np.quantile(_resampled(drawn, rounds), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled(sample: Callable[[int], np.ndarray], rounds: int) -> np.ndarray:
    """So many rounds, a few at a time: memory stays small with many users."""
    return np.concatenate([sample(min(ROUNDS_AT_ONCE, rounds - at)) for at in range(0, rounds, ROUNDS_AT_ONCE)])
