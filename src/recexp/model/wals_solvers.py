"""How the rows of a WALS sweep are solved: compiled loops on a CPU, padded batches on an accelerator.

Shapes: R rows solved at once · B of them in a padded batch · L events of the longest · K factors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from recexp.model import wals_kernels as kernels
from recexp.model.threads import in_threads, num_pieces

BATCH = 1 << 28
"""Numbers in the largest array of a padded batch."""


class Solver(Protocol):
    """Solves `(I + PᵀP) y = Pᵀr` for many rows, or comes nearer to it."""

    def kernel(self, *work: Any) -> None:
        """On a CPU: `work` is that of `kernels.exact`."""

    def batch(self, P_BLK: Tensor, r_BL: Tensor, y_BK: Tensor) -> Tensor:
        """On an accelerator: the new `y`, from the old one."""


class Cholesky:
    """Exact: 2/3 K³ + 2 L K² operations a row, or 2/3 L³ + 2 L² K where that is less."""

    def kernel(self, *work: Any) -> None:
        kernels.exact(*work)

    def batch(self, P_BLK: Tensor, r_BL: Tensor, y_BK: Tensor) -> Tensor:
        eye_KK = torch.eye(P_BLK.shape[2], dtype=P_BLK.dtype, device=P_BLK.device)
        factor_BKK = torch.linalg.cholesky(torch.baddbmm(eye_KK, P_BLK.mT, P_BLK))
        return torch.cholesky_solve(P_BLK.mT @ r_BL[:, :, None], factor_BKK)[:, :, 0]


class ConjugateGradient:
    """A few steps from where the row was: 4 L K operations each.

    Takács, Pilászy, Tikk, "Applications of the conjugate gradient method for implicit feedback collaborative
    filtering", RecSys 2011.
    Differs from the paper: preconditioned by the whole of the other side's Gram matrix, which the sweep diagonalizes.

    Args:
        num_steps: per row and sweep [count].
    """

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps

    def kernel(self, *work: Any) -> None:
        kernels.conjugate_gradient(*work, self.num_steps)

    def batch(self, P_BLK: Tensor, r_BL: Tensor, y_BK: Tensor) -> Tensor:
        def image(x_BK: Tensor) -> Tensor:
            return x_BK + (P_BLK.mT @ (P_BLK @ x_BK[:, :, None]))[:, :, 0]

        residual_BK = (P_BLK.mT @ r_BL[:, :, None])[:, :, 0] - image(y_BK)
        direction_BK, left_B1 = residual_BK, residual_BK.square().sum(1, keepdim=True)
        for _ in range(self.num_steps):
            image_BK = image(direction_BK)
            step_B1 = left_B1 / (direction_BK * image_BK).sum(1, keepdim=True).clamp(min=kernels.TINY)
            y_BK, residual_BK = y_BK + step_B1 * direction_BK, residual_BK - step_B1 * image_BK
            before_B1, left_B1 = left_B1, residual_BK.square().sum(1, keepdim=True)
            direction_BK = residual_BK + left_B1 / before_B1.clamp(min=kernels.TINY) * direction_BK
        return y_BK


@dataclass(frozen=True)
class Events:
    """What each row (a user, or an item) met: a sparse matrix of confidence weights, several events of a pair added."""

    matrix: csr_matrix

    @cached_property
    def root(self) -> np.ndarray:
        """√w of each event."""
        root: np.ndarray = np.sqrt(self.matrix.data)
        return root

    @cached_property
    def count(self) -> np.ndarray:
        """Events of each row."""
        count: np.ndarray = np.diff(self.matrix.indptr)
        return count

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """indptr, indices and √w, as the kernels take them."""
        return self.matrix.indptr, self.matrix.indices, self.root

    @staticmethod
    def of(row: np.ndarray, column: np.ndarray, weight: np.ndarray, shape: tuple[int, int], dtype: str) -> Events:
        """Events in any order; those that weigh nothing are none."""
        matrix = csr_matrix((weight.astype(dtype), (row, column)), shape)
        matrix.eliminate_zeros()
        return Events(matrix)

    def turned(self) -> Events:
        """The other side's."""
        return Events(self.matrix.T.tocsr())

    def padded(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns and √w of some rows, zero where a row is shorter, [B, L] each."""
        start_B1, count_B1 = self.matrix.indptr[rows][:, None], self.count[rows][:, None]
        place_BL = np.arange(max(count_B1.max(), 1))
        filled_BL = place_BL < count_B1
        place_BL = np.where(filled_BL, start_B1 + place_BL, 0)
        return np.where(filled_BL, self.matrix.indices[place_BL], 0), np.where(filled_BL, self.root[place_BL], 0)


class Sweep:
    """The equations of one side while the factors of the other stay as they are.

        (Vᵀ W V + a0 VᵀV + ridge I) x = Vᵀ W 1

    In the basis in which `VᵀV` is diagonal, and with its scale taken out, that is `(I + PᵀP) y = Pᵀ√W`: short rows
    have a small system of their own, and conjugate gradients need no Gram matrix and fewer steps.

    Args:
        other_JK: V. unobserved_weight: a0.
    """

    def __init__(self, other_JK: Tensor, unobserved_weight: float) -> None:
        values, vectors = torch.linalg.eigh((other_JK.T @ other_JK).cpu().double())
        spectrum = unobserved_weight * values
        floor = torch.finfo(other_JK.dtype).eps * spectrum.max()
        self.rotation_KK = vectors.to(other_JK)
        self.spectrum_K = spectrum.clamp(min=float(floor) + kernels.TINY).to(other_JK)
        self.other_JK = other_JK @ self.rotation_KK

    def solve(self, solver: Solver, events: Events, rows: np.ndarray, ridge_R: Tensor, old_RK: Tensor) -> Tensor:
        """New factors of some rows."""
        solve = self._on_cpu if _is_cpu(old_RK) else self._in_batches
        return solve(solver, events, rows, ridge_R, old_RK @ self.rotation_KK) @ self.rotation_KK.T

    def _on_cpu(self, solver: Solver, events: Events, rows: np.ndarray, ridge_R: Tensor, x_RK: Tensor) -> Tensor:
        X = _padded(x_RK)
        work = (rows, *events.arrays, *self._arrays, ridge_R.numpy(), X)
        in_threads(lambda places: solver.kernel(places, *work), shares(events.count[rows]))
        return torch.from_numpy(X[:, : x_RK.shape[1]])

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """V and the spectrum, as the kernels take them."""
        return _padded(self.other_JK), _padded(self.spectrum_K, 1.0)

    def _in_batches(self, solver: Solver, events: Events, rows: np.ndarray, ridge_R: Tensor, x_RK: Tensor) -> Tensor:
        for places in self._batches(events.count[rows], x_RK.shape[1]):
            index_BL, root_BL = (torch.from_numpy(a).to(x_RK.device) for a in events.padded(rows[places]))
            here = torch.from_numpy(places).to(x_RK.device)
            scale_BK = (self.spectrum_K + ridge_R[here][:, None]).rsqrt()
            P_BLK = self.other_JK[index_BL] * root_BL[:, :, None] * scale_BK[:, None]
            x_RK[here] = solver.batch(P_BLK, root_BL, x_RK[here] / scale_BK) * scale_BK
        return x_RK

    @staticmethod
    def _batches(count_R: np.ndarray, width: int) -> Iterator[np.ndarray]:
        """Rows of like length, as many as fit."""
        order, done = np.argsort(-count_R), 0
        while done < len(order):
            size = max(BATCH // (width * max(int(count_R[order[done]]), width)), 1)
            yield order[done : done + size]
            done += size


def _padded(tensor: Tensor, value: float = 0.0) -> np.ndarray:
    """With columns up to a whole number of tiles; a copy."""
    padded: np.ndarray = nn.functional.pad(tensor, (0, -tensor.shape[-1] % kernels.COLUMNS), value=value).numpy()
    return padded


def _is_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def shares(effort_R: np.ndarray) -> list[np.ndarray]:
    """Rows in pieces of like effort, the laborious ones first."""
    order = np.argsort(-effort_R)
    return [order[n :: num_pieces()] for n in range(min(num_pieces(), len(order)))]


def squared_error(events: Events, rows_RK: Tensor, columns_JK: Tensor) -> float:
    """`Σ w (1 - <row, column>)²` over all events."""
    if not _is_cpu(rows_RK):
        return _squared_error(events, rows_RK, columns_JK)
    X, V = rows_RK.numpy(), columns_JK.numpy()
    error = np.zeros(len(X))
    work = (np.arange(len(X)), *events.arrays, V, X, error)
    in_threads(lambda places: kernels.squared_error(places, *work), shares(events.count))
    return float(error.sum())


def _squared_error(events: Events, rows_RK: Tensor, columns_JK: Tensor) -> float:
    total, count = 0.0, torch.from_numpy(events.count)
    size = max(BATCH // rows_RK.shape[1], 1)
    row_N = torch.repeat_interleave(torch.arange(len(count)), count).split(size)
    column_N, weight_N = (torch.from_numpy(a).split(size) for a in (events.matrix.indices, events.matrix.data))
    for row, column, weight in zip(row_N, column_N, weight_N, strict=True):
        row, column, weight = (part.to(rows_RK.device) for part in (row, column, weight))
        total += float((weight * (1 - (rows_RK[row] * columns_JK[column]).sum(1)).square()).sum())
    return total
