"""Approximate nearest neighbours of item vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recexp.errors import RecexpError

NAME = "items.usearch"
RECALL = 0.98
"""Share of the exact best items that the index must find."""


class Index:
    """An HNSW graph over item vectors, by usearch; a key is the dense id, the distance 1 - <q, i>.

    Malkov & Yashunin, "Efficient and Robust Approximate Nearest Neighbor Search Using Hierarchical Navigable Small
    World Graphs", TPAMI 2020.

    Args:
        graph: usearch's.
    """

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    @staticmethod
    def build(vectors_ID: np.ndarray) -> Index:
        """The index of all items."""
        graph = _usearch().Index(ndim=vectors_ID.shape[1], metric="ip", dtype="f32", connectivity=32, expansion_add=200)
        graph.add(np.arange(len(vectors_ID), dtype=np.uint64), vectors_ID, threads=1)
        return Index(graph)

    @staticmethod
    def load(folder: Path, expansion: int) -> Index:
        """The index that `save` wrote, looking so far around."""
        index = Index(_usearch().Index.restore(str(folder / NAME)))
        index.graph.expansion_search = expansion
        return index

    def save(self, folder: Path) -> None:
        """Write the graph."""
        self.graph.save(str(folder / NAME))

    def __len__(self) -> int:
        return len(self.graph)

    def best(self, vectors_BD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best items of each query and their scores, best first, [B, K] each."""
        found = self.graph.search(np.atleast_2d(vectors_BD), min(k, len(self)), threads=1)
        shape = (len(vectors_BD), -1)
        return found.keys.astype(np.int64).reshape(shape), 1 - found.distances.reshape(shape)

    def tune(self, vectors_BD: np.ndarray, exact_BK: np.ndarray) -> float:
        """Look further until the exact best items are found; the recall reached."""
        recall = 0.0
        for expansion in (64 << step for step in range(20)):
            self.graph.expansion_search = expansion
            recall = recall_of(self.best(vectors_BD, exact_BK.shape[1])[0], exact_BK)
            if recall >= RECALL or expansion >= len(self):
                break
        return recall


def recall_of(found_BK: np.ndarray, exact_BK: np.ndarray) -> float:
    """The share of the exact best items among those found."""
    hits = [len(np.intersect1d(found, exact)) for found, exact in zip(found_BK, exact_BK, strict=True)]
    return sum(hits) / exact_BK.size


def _usearch() -> Any:
    try:
        from usearch import index
    except ImportError as error:
        raise RecexpError("the index of items needs usearch. Type pip install 'recexp[export]'.") from error
    return index
