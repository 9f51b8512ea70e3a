"""Hard: what the model would recommend and the user did not take."""

from __future__ import annotations

import torch
from torch import Tensor

from recexp.errors import RecexpError
from recexp.negatives.base import Draws, Negatives, Score, row_users
from recexp.types import PAD, Candidates, Interactions, Log, Query

CHUNK = 512
"""Users mined at once; they share a pool."""


class Hard(Negatives):
    """Hard: some negatives are the items with the highest scores of a pool that the user has not met, the rest uniform.

        H_u = the num_kept items of P \\ D_u with the highest R(u, i) under the model of the epoch before

    Huang et al., "Embedding-based Retrieval in Facebook Search", KDD 2020, section 6.1 (offline hard negative mining).
    Differs from the paper: P is a new uniform pool for every 512 users and epoch, so an epoch costs at most
    |U| pool_size scores more; the first epoch, whose model knows nothing, takes the first of the pool.

    Args:
        num_negatives: items drawn for each positive [count].
        num_hard: of them, those drawn from H_u [count].
        num_kept: size of H_u [count].
        pool_size: size of P [count].
    Shape:
        positive [Q] -> items, valid [Q, 1 + num_negatives], the positive in column 0, then the hard ones; log_q None.
    Raises:
        RecexpError: more hard ones than negatives, or more kept than the pool holds.
    """

    hard: Tensor

    def __init__(self, num_negatives: int, num_hard: int, num_kept: int, pool_size: int) -> None:
        super().__init__()
        if not 1 <= num_hard <= num_negatives:
            raise RecexpError(
                f"negatives.num_hard={num_hard}: must be from 1 to negatives.num_negatives={num_negatives}. "
                f"Type negatives.num_hard={min(max(num_hard, 1), num_negatives)}, or negatives=uniform for none."
            )
        if not 1 <= num_kept <= pool_size:
            raise RecexpError(
                f"negatives.num_kept={num_kept}: must be from 1 to negatives.pool_size={pool_size}. "
                f"Type negatives.pool_size={max(num_kept, 1)}"
            )
        self.num_negatives, self.num_hard = num_negatives, num_hard
        self.num_kept, self.pool_size = num_kept, pool_size
        self.draws = Draws(num_negatives, "mask")
        self.register_buffer("hard", torch.empty(0, dtype=torch.int64), persistent=False)

    def prepare(self, interactions: Interactions, num_items: int) -> None:
        super().prepare(interactions, num_items)
        self.draws.prepare(interactions, num_items)
        num_users = int(interactions.user.max()) + 1
        offsets = torch.from_numpy(interactions.offsets(num_users))
        self.everybody = Query(torch.arange(num_users), Log.of(interactions), offsets[:-1], offsets[1:])
        self.hard = torch.full((num_users, self.num_kept), PAD, device=self.hard.device)

    @torch.no_grad()
    def refresh(self, score: Score, epoch: int, generator: torch.Generator) -> None:
        query = self.everybody.to(self.hard.device)
        for rows in torch.arange(len(query), device=self.hard.device).split(CHUNK):
            size = min(self.pool_size, self.num_items)
            pool_P = torch.randperm(self.num_items, generator=generator, device=rows.device)[:size]
            asked = Query(query.users[rows], query.log, query.start[rows], query.stop[rows])
            first = torch.arange(size, 0.0, -1, device=rows.device).expand(len(rows), -1)
            scores_BP = score(asked, pool_P).float() if epoch else first
            self.hard[rows, :size] = self._best(asked, scores_BP, pool_P)[:, : self.num_kept]

    def _best(self, query: Query, scores_BP: Tensor, pool_P: Tensor) -> Tensor:
        """The items of the pool with the highest scores that are not in the history, PAD behind, [B, kept]."""
        met_BP = self.draws.has_seen(query.users, pool_P.expand(len(query), -1))
        scores_BP = scores_BP.masked_fill(met_BP, -torch.inf)
        best_BK, place_BK = scores_BP.topk(min(self.num_kept, len(pool_P)), dim=1)
        return pool_P[place_BK].masked_fill(best_BK == -torch.inf, PAD)

    def forward(self, positive: Tensor, query: Query, generator: torch.Generator) -> Candidates:
        device, rows = positive.device, len(positive)
        easy = (rows, self.num_negatives - self.num_hard)
        easy_QN = torch.randint(self.num_items, easy, generator=generator, device=device)
        place_QH = torch.randint(self.num_kept, (rows, self.num_hard), generator=generator, device=device)
        return self.draws(positive, torch.cat([self.hard[row_users(query)].gather(1, place_QH), easy_QN], dim=1), query)
