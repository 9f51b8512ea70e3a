"""The study in its storage: opened, made once, and what it was begun with."""

from __future__ import annotations

import inspect
import random
import re
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalRedisBackend
from optuna.trial import FrozenTrial

from recexp.errors import RecexpError, nearest
from recexp.sweep import marks
from recexp.sweep.settings import Settings
from recexp.sweep.space import Space

BEGUN_WITH = "begun_with"
"""The attribute of a study that says what makes its trials comparable."""
PRUNER = "pruner"
OBJECTIVES = "objectives"
TRIES = 6
PATIENCE = 60
"""Seconds to wait for another worker that writes."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextmanager
def quietly() -> Iterator[None]:
    """Optuna says of half its samplers that they are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


@lru_cache(maxsize=4)
def opened(url: str) -> BaseStorage:
    """The storage at an address, once per process.

    Raises:
        RecexpError: it cannot be reached.
    """
    shown = re.sub(r"(?<=://)[^/@\s]+@", "", url)
    for left in reversed(range(TRIES)):
        try:
            return _open(url)
        except (ImportError, ValueError) as error:
            raise RecexpError(f"hydra.sweeper.storage={shown}: {error}") from error
        except Exception as error:  # several workers may be making the tables at once
            if not left:
                said = str(error.__cause__ or error).splitlines()[0]
                raise RecexpError(f"hydra.sweeper.storage={shown} cannot be reached: {said}") from error
            time.sleep(random.random() / 2)
    raise AssertionError


def _open(url: str) -> BaseStorage:
    scheme = urlparse(url).scheme
    if scheme == "journal":
        return JournalStorage(JournalFileBackend(str(_file(url))))
    if scheme == "redis":
        return JournalStorage(JournalRedisBackend(url))
    in_file = {"creator": partial(_sqlite, _file(url))}
    settings: dict[str, Any] = in_file if scheme == "sqlite" else {"pool_pre_ping": True}
    return optuna.storages.get_storage(RDBStorage(url, engine_kwargs=settings))


def _file(url: str) -> Path:
    """Of a storage that is one: sqlite:///relative and sqlite:////absolute as SQLAlchemy has it; journal:///absolute."""
    if url.startswith("sqlite"):
        return Path(url.partition("///")[2])
    return Path(re.sub("^/+", "/", url.partition("://")[2]))


def _sqlite(path: Path) -> sqlite3.Connection:
    """A write-ahead log: a kill loses nothing, readers never wait, a commit takes 1 ms instead of 30."""
    connection = sqlite3.connect(path, timeout=PATIENCE, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def load(url: str, name: str) -> optuna.Study:
    """A study that is there."""
    return optuna.load_study(study_name=name, storage=opened(url))


def begin(settings: Settings) -> optuna.Study:
    """The study of these settings, made if it is new, by whichever worker comes first."""
    for left in reversed(range(TRIES)):
        try:
            return optuna.create_study(
                study_name=settings.name,
                storage=opened(settings.storage),
                directions=settings.directions,
                pruner=made(settings.pruner, "pruners"),
                load_if_exists=True,
            )
        except (DuplicatedStudyError, StorageInternalError):
            if not left:
                raise
            time.sleep(random.random() / 2)
    raise AssertionError


def exists(settings: Settings) -> bool:
    """Whether there is a study already."""
    if settings.storage.startswith(("sqlite", "journal")) and not _file(settings.storage).exists():
        return False
    return settings.name in optuna.get_all_study_names(opened(settings.storage))


def made(node: dict[str, Any], module: str, **more: Callable[[], Any]) -> Any:
    """A sampler or pruner of Optuna.

    Args:
        module: samplers or pruners.
        more: makers of what is given where the class takes it and the config does not say it.
    Raises:
        RecexpError: there is no such class, or it takes no such settings.
    """
    own = {k: made(v, module) if isinstance(v, dict) and "_target_" in v else v for k, v in node.items()}
    target = str(own.pop("_target_", None))
    found = re.fullmatch(rf"optuna\.{module}\.([A-Z]\w*)", target)
    classes = [name for name in getattr(optuna, module).__all__ if name[0].isupper() and not name.startswith("Base")]
    what = f"hydra.sweeper.{module[:-1]}"
    if found is None or found[1] not in classes:
        like = nearest(target.rpartition(".")[2], classes)
        raise RecexpError(
            f"{what}._target_={target}: allowed are {', '.join(f'optuna.{module}.{n}' for n in like[:3])}, …"
        )
    kind = getattr(getattr(optuna, module), found[1])
    takes = inspect.signature(kind).parameters
    for key in own:
        if key not in takes:
            raise RecexpError(f"{what}.{key}: {found[1]} takes {', '.join(nearest(key, takes)) or 'no settings'}.")
    try:
        with quietly():
            return kind(**{key: make() for key, make in more.items() if key in takes and key not in own}, **own)
    except (TypeError, ValueError, ImportError) as error:
        raise RecexpError(f"{what}: {found[1]}: {error}") from error


def pruner(study: optuna.Study) -> BasePruner:
    """The pruner that the study was given."""
    made_pruner: BasePruner = made(study.user_attrs[PRUNER], "pruners")
    return made_pruner


class Sampling(BaseSampler):
    """Optuna's sampler, seeded anew for each trial, so that no two workers and no restart draw the same numbers.

    A sampler whose config names a seed keeps it: a grid or a sequence is shared by all workers.

    Args:
        node: the config of the sampler. worker: named on every trial before anything is drawn for it.
    """

    def __init__(self, node: dict[str, Any], seed: int, space: Space, worker: str) -> None:
        self.node, self.seed, self.space, self.worker = node, seed, space, worker
        self._own = self.of_trial(0)

    def of_trial(self, number: int) -> BaseSampler:
        """The sampler for one trial."""
        seed = random.Random(f"{self.seed}/{number}").getrandbits(32)
        sampler: BaseSampler = made(self.node, "samplers", seed=lambda: seed, search_space=self.space.grid)
        return sampler

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        for mark, value in ((marks.BEGAN, time.time()), (marks.WORKER, self.worker)):
            study._storage.set_trial_user_attr(trial._trial_id, mark, value)
        self._own = self.of_trial(trial.number)
        study.pruner.prune(study, trial)  # of no epoch: Hyperband's brackets, which samplers ask for, begin with this
        self._own.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._own.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._own.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._own.sample_independent(study, trial, param_name, param_distribution)
