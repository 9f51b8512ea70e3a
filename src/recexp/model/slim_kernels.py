"""Non-negative elastic net on a Gram matrix: coordinate descent with covariance updates on a growing working set.

    min_w 1/2 |a - A w|^2 + l1 |w|_1 + l2/2 |w|^2,   w >= 0,   given G = A'A, q = A'a and norm = |a|^2

Friedman, Hastie & Tibshirani, JSS 2010, section 2.2 (covariance updates). The working set holds the weights in use and
the best of those that want to be; only its part of G is copied to where the cache is, swept, and the whole gradient is
brought up to date after each round. Stops when the duality gap certifies the objective to a relative `tol`.

All that is compiled is in this one file: numba's cache looks at the caller's file only. Callers drop the GIL.
Loops stand where NumPy has a word for them: numba compiles those at once, and needs seconds for each such word.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.sparse import csr_array

ABSENT = -1
NEVER = np.float32(-1e30)
"""The gradient of a weight that must stay 0."""
FIRST = 64
"""Weights that enter in the first round; later rounds at most double the working set."""
INNER = np.float32(0.03)
"""A round lowers the gap within its working set to this part of the gap of the whole."""
SKIPPED = np.float32(0.5)
"""A weight that adds less to the gap than this part of its share of the goal stays: a sweep of such ends the round."""


class Rows(NamedTuple):
    """The rows of a sparse matrix, as compiled code takes them: row r is `start[r]` up to `start[r + 1]`.

    Shape:
        start [R + 1] int64 · column [n] int32 · value [n] float32.
    """

    start: np.ndarray
    column: np.ndarray
    value: np.ndarray

    @staticmethod
    def of(matrix: csr_array) -> Rows:
        return Rows(
            matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data.astype(np.float32, copy=False)
        )


class Matrix(NamedTuple):
    """A both ways: the items of a user, the users of an item."""

    by_user: Rows
    by_item: Rows

    @staticmethod
    def of(matrix: csr_array) -> Matrix:
        return Matrix(Rows.of(matrix), Rows.of(matrix.T.tocsr()))

    @property
    def num_items(self) -> int:
        return len(self.by_item.start) - 1


class Penalty(NamedTuple):
    """The problem's settings: l1, l2 · at most `max_iter` sweeps · objective within `tol` (relative) of the least."""

    l1: np.float32
    l2: np.float32
    max_iter: int
    tol: float


@njit(nogil=True, cache=True)
def minimize(gram_II, q, norm, w, local, penalty):  # type: ignore[no-untyped-def]
    """Solve for w [I] in place, from the w given; `local` is room to work in, returned for the next call."""
    diagonal = np.diag(gram_II)
    members = best(w, len(w))
    c = gradient(gram_II, q, w, members)
    local = gathered(gram_II, members, 0, local)
    left = penalty.max_iter
    while left > 0:
        gap, objective = certificate(w, c, q, norm, penalty)
        goal = penalty.tol * objective
        if gap <= goal:
            break
        known = len(members)
        members = recruited(members, w, c, diagonal, penalty)
        local = gathered(gram_II, members, known, local)
        until = max(INNER * gap, 0.3 * goal) if penalty.l2 > 0 else penalty.tol * goal
        left -= sweep_members(gram_II, members, local, w, c, (until, left), penalty)
    return local


@njit(nogil=True, cache=True)
def gradient(gram_II, q, w, members):  # type: ignore[no-untyped-def]
    """`q - G w`, [I]."""
    c = q.copy()
    for i in members:
        subtract(c, w[i], gram_II[i], len(c))
    return c


@njit(nogil=True, cache=True)
def certificate(w, c, q, norm, penalty):  # type: ignore[no-untyped-def]
    """Duality gap and objective; the dual point is the residual, scaled into the feasible set where l2 is 0."""
    l1, l2 = penalty.l1, penalty.l2
    wq, wc, cost, top = 0.0, 0.0, 0.0, 0.0
    for i in range(len(w)):
        top = max(top, c[i])
        if w[i] > 0:
            wq += w[i] * q[i]
            wc += w[i] * c[i]
            cost += w[i] * (l1 + 0.5 * l2 * w[i])
    squared = norm - wq - wc
    scale = 1.0 if l2 > 0 or top <= l1 else l1 / top
    dual = scale * (norm - wq) - 0.5 * scale * scale * squared
    if l2 > 0:
        dual -= excess(c, l1) / (2 * l2)
    objective = 0.5 * squared + cost
    return objective - dual, objective


@njit(nogil=True, cache=True)
def excess(c, l1):  # type: ignore[no-untyped-def]
    """`sum (c - l1)_+^2`."""
    total = 0.0
    for i in range(len(c)):
        if c[i] > l1:
            total += (c[i] - l1) ** 2
    return total


@njit(nogil=True, cache=True)
def promise(c, diagonal, penalty):  # type: ignore[no-untyped-def]
    """Twice what a weight of 0 could lower the objective by alone; 0 where it had better stay 0, [n] float32."""
    gain = np.zeros(len(c), np.float32)
    for i in range(len(c)):
        if c[i] > penalty.l1:
            gain[i] = (c[i] - penalty.l1) ** 2 / (diagonal[i] + penalty.l2)
    return gain


@njit(nogil=True, cache=True)
def recruited(members, w, c, diagonal, penalty):  # type: ignore[no-untyped-def]
    """The working set and the most promising of the others, behind it."""
    gain = promise(c, diagonal, penalty)
    for i in members:
        gain[i] = 0
    others = best(gain, max(FIRST, len(members)))
    joined = np.empty(len(members) + len(others), np.int32)
    for a in range(len(members)):
        joined[a] = members[a]
    for a in range(len(others)):
        joined[len(members) + a] = others[a]
    return joined


@njit(nogil=True, cache=True)
def best(gain, count):  # type: ignore[no-untyped-def]
    """Numbers of the `count` largest positive entries, ascending; fewer if there are not so many;
    of equal ones, the first."""
    positive, n = np.empty_like(gain), 0
    for i in range(len(gain)):
        if gain[i] > 0:
            positive[n] = gain[i]
            n += 1
    least = selected(positive, n - count, n) if n > count else np.float32(0)
    equal_ones = count
    for i in range(len(gain)):
        equal_ones -= gain[i] > least
    places, n = np.empty(min(count, n), np.int32), 0
    for i in range(len(gain)):
        equal_ones -= gain[i] == least
        if gain[i] > least or (gain[i] == least > 0 and equal_ones >= 0):
            places[n] = i
            n += 1
    return places


@njit(nogil=True, cache=True)
def selected(values, place, n):  # type: ignore[no-untyped-def]
    """What would stand at a place were the first n values sorted, which are reordered (Hoare, CACM 1961)."""
    low, high = 0, n - 1
    while low < high:
        pivot, i, j = values[(low + high) // 2], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i, j = i + 1, j - 1
        if j < place < i:
            break
        low, high = (low, j) if place <= j else (i, high)
    return values[place]


@njit(nogil=True, cache=True)
def taken(values, places):  # type: ignore[no-untyped-def]
    """`values[places]`."""
    found = np.empty(len(places), np.float32)
    for a in range(len(places)):
        found[a] = values[places[a]]
    return found


@njit(nogil=True, cache=True)
def gathered(gram_II, members, known, local):  # type: ignore[no-untyped-def]
    """`G[members, members]` in the corner of `local`, which grows if it must; `known` rows are there already."""
    n = len(members)
    if n > len(local):
        larger = np.empty((2 * n, 2 * n), np.float32)
        for a in range(known):
            for b in range(known):
                larger[a, b] = local[a, b]
        local = larger
    for a in range(known, n):
        row, own = gram_II[members[a]], local[a]
        for b in range(n):
            own[b] = row[members[b]]
        for b in range(known):
            local[b, a] = own[b]
    return local


@njit(nogil=True, cache=True)
def sweep_members(gram_II, members, local, w, c, until, penalty):  # type: ignore[no-untyped-def]
    """Descend on the working set, then bring the gradient of all up to date; the number of sweeps made."""
    before, own_w, own_c = taken(w, members), taken(w, members), taken(c, members)
    sweeps = descend(local, own_w, own_c, until, penalty)
    for a in range(len(members)):
        if own_w[a] != before[a]:
            w[members[a]] = own_w[a]
            subtract(c, own_w[a] - before[a], gram_II[members[a]], len(c))
    return sweeps


@njit(nogil=True, cache=True)
def descend(gram_WW, w, c, until, penalty):  # type: ignore[no-untyped-def]
    """Sweep until the gap is at most `until[0]`, `until[1]` times at most; w and c are changed in place."""
    goal, most = until
    least = np.float32(SKIPPED * goal / len(w))
    for sweeps in range(1, most + 1):
        for i in range(len(w)):
            if share(w[i], c[i], gram_WW[i, i], penalty) > least:
                slope = c[i] - penalty.l1 - penalty.l2 * w[i]
                new = max(np.float32(0), w[i] + slope / (gram_WW[i, i] + penalty.l2))
                subtract(c, new - w[i], gram_WW[i], len(w))
                w[i] = new
        if local_gap(gram_WW, w, c, penalty) <= goal:
            return sweeps
    return most


@njit(nogil=True, cache=True)
def local_gap(gram_WW, w, c, penalty):  # type: ignore[no-untyped-def]
    """The duality gap within the working set."""
    gap = 0.0
    for i in range(len(w)):
        gap += share(w[i], c[i], gram_WW[i, i], penalty)
    return gap


@njit(nogil=True, cache=True)
def share(w, c, square, penalty):  # type: ignore[no-untyped-def]
    """One weight's share of the gap; where l2 is 0 that is infinite: what its step would gain, of second order."""
    pull = c - penalty.l1
    if pull <= 0:
        return w * (np.float32(0.5) * penalty.l2 * w - pull)
    slope = pull - penalty.l2 * w
    return slope * slope / (2 * (penalty.l2 if penalty.l2 > 0 else square))


@njit(nogil=True, cache=True, fastmath={"contract"})
def subtract(c, step, row, n):  # type: ignore[no-untyped-def]
    """`c -= step row`, the first n."""
    for k in range(n):
        c[k] -= step * row[k]


@njit(nogil=True, cache=True)
def solve_whole(gram_II, columns, begin, penalty, top_k):  # type: ignore[no-untyped-def]
    """Columns of W, [B, I], each against all items but itself."""
    weights_BI = np.zeros((len(columns), len(gram_II)), np.float32)
    local = np.empty((0, 0), np.float32)
    for b, j in enumerate(columns):
        w = weights_BI[b]
        for p in range(begin.start[j], begin.start[j + 1]):
            w[begin.column[p]] = begin.value[p]
        q = gram_II[j].copy()
        q[j] = NEVER
        local = minimize(gram_II, q, gram_II[j, j], w, local, penalty)
        keep(w, top_k)
    return np.empty((0, 0), np.int32), weights_BI


@njit(nogil=True, cache=True)
def solve_near(gram, columns, begin, num_neighbors, penalty, top_k):  # type: ignore[no-untyped-def]
    """Columns of W on their neighbours, [B, M]: which items, and their weights, ascending by item."""
    matrix, norm, head, head_gram = gram
    items_BM = np.zeros((len(columns), num_neighbors), np.int32)
    weights_BM = np.zeros((len(columns), num_neighbors), np.float32)
    everywhere = np.arange(len(norm)).astype(np.int32)
    place = np.full(len(norm), ABSENT, np.int32)
    row, local = np.zeros(len(norm), np.float32), np.empty((0, 0), np.float32)
    for b, j in enumerate(columns):
        row[:] = 0
        add_gram_row(j, matrix, everywhere, row)
        row[j] = 0
        near = best(promise(row, norm, penalty), num_neighbors)
        w = weights_BM[b, : len(near)]
        for a in range(len(near)):
            items_BM[b, a], place[near[a]] = near[a], a
        for p in range(begin.start[j], begin.start[j + 1]):
            if place[begin.column[p]] != ABSENT:
                w[place[begin.column[p]]] = begin.value[p]
        gram_MM = gram_among(near, place, matrix, head, head_gram)
        for i in near:
            place[i] = ABSENT
        local = minimize(gram_MM, taken(row, near), norm[j], w, local, penalty)
        keep(w, top_k)
    return items_BM, weights_BM


@njit(nogil=True, cache=True)
def gram_among(near, place, matrix, head, head_gram):  # type: ignore[no-untyped-def]
    """A'A among neighbours, [M, M]: looked up between heads, made where one of the two is none."""
    gram_MM = np.zeros((len(near), len(near)), np.float32)
    for a, i in enumerate(near):
        if head[i] == ABSENT:
            add_gram_row(i, matrix, place, gram_MM[a])
    for a, i in enumerate(near):
        if head[i] != ABSENT:
            for b, k in enumerate(near):
                gram_MM[a, b] = gram_MM[b, a] if head[k] == ABSENT else head_gram[head[i], head[k]]
    return gram_MM


@njit(nogil=True, cache=True)
def keep(w, top_k):  # type: ignore[no-untyped-def]
    """Set all but the largest `top_k` weights to 0."""
    if top_k < len(w):
        kept = best(w, top_k)
        values = taken(w, kept)
        w[:] = 0
        for a in range(len(kept)):
            w[kept[a]] = values[a]


@njit(nogil=True, cache=True)
def fill_gram(numbers, items, matrix, place, gram_II):  # type: ignore[no-untyped-def]
    for n in numbers:
        add_gram_row(items[n], matrix, place, gram_II[n])


@njit(nogil=True, cache=True)
def add_gram_row(item, matrix, place, row):  # type: ignore[no-untyped-def]
    """`row[place[k]] += (A'A)[item, k]` for every item k that has a place."""
    users, items = matrix.by_item, matrix.by_user
    for p in range(users.start[item], users.start[item + 1]):
        user, weight = users.column[p], users.value[p]
        for q in range(items.start[user], items.start[user + 1]):
            k = place[items.column[q]]
            if k != ABSENT:
                row[k] += weight * items.value[q]


@njit(nogil=True, cache=True)
def add_rows(numbers, left, right, out):  # type: ignore[no-untyped-def]
    """`out[r] += left[r] @ right` for some rows r."""
    for r in numbers:
        row = out[r]
        for p in range(left.start[r], left.start[r + 1]):
            i, weight = left.column[p], left.value[p]
            for q in range(right.start[i], right.start[i + 1]):
                row[right.column[q]] += weight * right.value[q]
