"""Compiled work side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

PIECES_PER_THREAD = 8
"""Pieces of work are uneven: several for each thread even them out."""


def num_pieces() -> int:
    """Into how many pieces work is best cut."""
    return PIECES_PER_THREAD * torch.get_num_threads()


def in_threads(work: Callable[[np.ndarray], Any], pieces: Sequence[np.ndarray]) -> list[Any]:
    """Results of work on each piece, in their order, by as many threads as torch has; the work drops the GIL."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(work, pieces))
