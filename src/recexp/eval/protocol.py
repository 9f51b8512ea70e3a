"""The evaluation protocols: what is asked, against which candidates, and what is reported."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence

import numpy as np

from recexp.errors import RecexpError
from recexp.eval.evaluation import Evaluation, Frozen, Result
from recexp.eval.labels import LESS_IS_BETTER, POINTWISE, TWO_CLASSES, Labels, LabelSettings
from recexp.eval.metrics import RANKING, TIES, check_choice, check_cutoffs, check_depth, check_metrics
from recexp.eval.questions import Questions, ask, digest, distinct, unseen
from recexp.eval.rank import Hide, hide_nothing, hide_others, hide_seen
from recexp.eval.ranking import FullRanking, SampledRanking, Settings
from recexp.eval.sampling import draw, without_targets
from recexp.eval.segments import Segments
from recexp.eval.shown import SHOWN, Shown
from recexp.types import Dataset, Holdout, Split

SEEN: dict[str, Hide] = {"exclude": hide_seen, "include": hide_nothing}
WEIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"uniform": np.ones_like, "popularity": np.copy}
GIVEN = "given"

__all__ = ["Evaluation", "Full", "Pointwise", "Protocol", "Result", "Sampled"]


class Protocol(typing.Protocol):
    """What the three protocols have in common.

    Attributes:
        name: of the result's columns.
        batch_size: users per chunk [count].
    """

    name: str
    batch_size: int

    @property
    def monitor(self) -> str:
        """The metric that chooses the best model; a leading minus means that less is better."""
        ...

    def on(self, split: Split, holdout: Holdout, dataset: Dataset, seed: int) -> Evaluation:
        """Freeze candidates, popularity and segments for a hold-out."""
        ...


class Full:
    """Full: every target is ranked among all items of the catalogue.

    Krichene & Rendle, "On sampled metrics for item recommendation", KDD 2020, on why this is the protocol to trust.

    Args:
        name: of the result's columns.
        k: cut-offs [count].
        metrics: hr ndcg recall precision map mrr, coverage gini novelty popularity_bias intra_list_diversity.
        ties: expected (mean over all orders) | against (positives last) | for (positives first).
        seen: exclude | include the items of the user's history.
        batch_size: users per chunk [count].
        segments: head and tail, cold and warm.
    Raises:
        RecexpError: a metric or an option does not exist; a cut-off exceeds the catalogue.
    """

    def __init__(
        self,
        name: str,
        k: Sequence[int],
        metrics: Sequence[str],
        ties: str,
        seen: str,
        batch_size: int,
        segments: Segments,
    ) -> None:
        check_cutoffs(k)
        check_metrics(metrics, [*RANKING, *SHOWN], "full")
        check_choice("eval.ties", ties, TIES)
        check_choice("eval.seen", seen, SEEN)
        self.name, self.batch_size, self.seen = name, batch_size, seen
        self.settings = Settings(list(metrics), list(k), ties, segments)

    @property
    def monitor(self) -> str:
        """ndcg@10, or what comes closest among the metrics and cut-offs asked for."""
        return self.settings.monitor

    def on(self, split: Split, holdout: Holdout, dataset: Dataset, seed: int) -> FullRanking:
        """Freeze the questions."""
        ranked = dataset.num_items if holdout.candidates is None else len(holdout.candidates)
        check_depth(self.settings.k, ranked, "items that are ranked")
        asked = distinct(holdout.target, dataset.num_items)
        target = unseen(asked, holdout.history, dataset.num_items) if self.seen == "exclude" else asked
        questions = ask(target, split, holdout, dataset)
        notes = _dropped(len(asked) - len(target), len(asked))
        hide = SEEN[self.seen]
        if holdout.candidates is not None:
            notes.append(f"ranked among the {ranked:,} items that the split asks for")
            hide = hide_others(hide, holdout.candidates, dataset.num_items)
        frozen = Frozen(questions, self._digest(questions, holdout.candidates), notes)
        return FullRanking(frozen, self.settings, hide, self._shown(split, questions))

    def _digest(self, questions: Questions, candidates: np.ndarray | None) -> str:
        settings = ("full", self.settings.ties, self.seen, questions.dataset.num_items)
        frozen = [*_frozen(questions, self.settings.segments), *questions.asked_history()]
        return digest(*settings, *frozen, *([] if candidates is None else [candidates]))

    def _shown(self, split: Split, questions: Questions) -> Shown | None:
        metrics = [name for name in self.settings.metrics if name in SHOWN]
        shape = (len(questions.users), questions.dataset.num_items)
        return Shown(metrics, self.settings.k, split.train, shape) if metrics else None


class Sampled:
    """Sampled: every target is ranked among a few frozen negatives of its user; only comparable with itself.

    Negatives are items that the user has neither seen nor as a target. `given` ones belong to the test targets:
    other hold-outs (validation) get `num_negatives` uniform ones from the seed.

    Args:
        name: of the result's columns; never that of a full ranking.
        k: cut-offs [count].
        metrics: hr ndcg recall precision map mrr.
        ties: expected (mean over all orders) | against (positives last) | for (positives first).
        sampling: given | uniform | popularity (in proportion to train events).
        num_negatives: drawn per user [count].
        batch_size: users per chunk [count].
        segments: head and tail, cold and warm.
    Raises:
        RecexpError: a metric or an option does not exist; no negatives are given; a cut-off exceeds the candidates.
    """

    def __init__(
        self,
        name: str,
        k: Sequence[int],
        metrics: Sequence[str],
        ties: str,
        sampling: str,
        num_negatives: int,
        batch_size: int,
        segments: Segments,
    ) -> None:
        check_cutoffs(k)
        check_metrics(metrics, RANKING, "sampled")
        check_choice("eval.ties", ties, TIES)
        check_choice("eval.sampling", sampling, [GIVEN, *WEIGHTS])
        self.name, self.batch_size = name, batch_size
        self.sampling, self.num_negatives = sampling, num_negatives
        self.settings = Settings(list(metrics), list(k), ties, segments)

    @property
    def monitor(self) -> str:
        """ndcg@10, or what comes closest among the metrics and cut-offs asked for."""
        return self.settings.monitor

    def on(self, split: Split, holdout: Holdout, dataset: Dataset, seed: int) -> SampledRanking:
        """Freeze the questions and their negatives."""
        questions = ask(distinct(holdout.target, dataset.num_items), split, holdout, dataset)
        if self.sampling == GIVEN and holdout is split.test:
            candidates, notes = self._given(split, questions)
        else:
            candidates, notes = self._drawn(questions, seed)
        check_depth(self.settings.k, candidates.shape[1] + 1, "candidates (a positive and its negatives)")
        sha256 = digest("sampled", self.settings.ties, *_frozen(questions, self.settings.segments), candidates)
        return SampledRanking(Frozen(questions, sha256, notes), self.settings, candidates)

    def _given(self, split: Split, questions: Questions) -> tuple[np.ndarray, list[str]]:
        if split.negatives is None:
            raise RecexpError(
                f"eval.sampling=given, but data={questions.dataset.name} and its split bring no negatives; "
                "allowed are uniform, popularity; type eval.sampling=uniform"
            )
        given = split.negatives[questions.users]
        candidates = without_targets(given, questions)
        own = int((candidates != given).sum())
        return candidates, [f"{own:,} given negatives are targets of the same user: taken out"] if own else []

    def _drawn(self, questions: Questions, seed: int) -> tuple[np.ndarray, list[str]]:
        weigh = WEIGHTS.get(self.sampling, np.ones_like)
        drawn = draw(weigh(questions.popularity), questions, self.num_negatives, np.random.default_rng(seed))
        short = int((drawn < 0).any(axis=1).sum())
        return drawn, [f"{short:,} users have fewer than {self.num_negatives} unmet items"] if short else []


class Pointwise:
    """Pointwise: the score of every target against its label.

    Args:
        name: of the result's columns.
        metrics: auc (midranks), log_loss (score as a logit), rmse and mae (score as a rating).
        threshold: labels above it are positive for auc and log_loss [label].
        batch_size: users per chunk [count].
        segments: head and tail, cold and warm.
    Raises:
        RecexpError: a metric does not exist; the labels do not have two classes.
    """

    def __init__(
        self, name: str, metrics: Sequence[str], threshold: float, batch_size: int, segments: Segments
    ) -> None:
        check_metrics(metrics, POINTWISE, "pointwise")
        self.name, self.batch_size = name, batch_size
        self.settings = LabelSettings(list(metrics), threshold, segments)

    @property
    def monitor(self) -> str:
        """The first metric asked for."""
        first = self.settings.metrics[0]
        return f"-{first}" if first in LESS_IS_BETTER else first

    def on(self, split: Split, holdout: Holdout, dataset: Dataset, seed: int) -> Labels:
        """Freeze the questions."""
        questions = ask(holdout.target, split, holdout, dataset)
        self._check_classes(questions)
        frozen = _frozen(questions, self.settings.segments)
        return Labels(Frozen(questions, digest("pointwise", self.settings.threshold, *frozen)), self.settings)

    def _check_classes(self, questions: Questions) -> None:
        positives = int((questions.label > self.settings.threshold).sum())
        asked = [name for name in self.settings.metrics if name in TWO_CLASSES]
        if asked and positives in (0, len(questions.label)):
            low, high = questions.label.min(), questions.label.max()
            raise RecexpError(
                f"eval.metrics=[{','.join(asked)}] needs labels on both sides of "
                f"eval.threshold={self.settings.threshold:g}, "
                f"but those of data={questions.dataset.name} lie in {low:g}..{high:g}; "
                "type another eval.threshold=..., or eval=full for data without labels"
            )


def _frozen(questions: Questions, segments: Segments) -> list[float | np.ndarray]:
    frozen = [questions.users, questions.row, questions.item, questions.label]
    return [segments.head_share, segments.cold_below, *frozen]


def _dropped(count: int, total: int) -> list[str]:
    found = f"{count:,} of {total:,} targets are already in their user's history: not asked (eval.seen=exclude)"
    return [found] if count else []
