"""recexp: declarative experiments for recommender systems.

>>> run = recexp.run("model=mf", "data=movielens_1m")
>>> run.metrics["test/ndcg@10"]
>>> recexp.load_run("outputs/…").recommend(users=[1, 2], k=10)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recexp.errors import RecexpError

if TYPE_CHECKING:
    from recexp.task.run import Run

__all__ = ["RecexpError", "load_run", "run"]


def run(*overrides: str) -> Run:
    """Do what `python -m recexp OVERRIDES` does, here, and return the run it wrote; of a study, its best trial.

    Raises:
        RecexpError: something impossible was asked, or no trial of a study finished.
    """
    from recexp.__main__ import compose_and_run
    from recexp.store import Folder, best_trial

    path = best_trial(compose_and_run(list(overrides))[-1])
    return load_run(path, allow=Folder(path).config().allow)


def load_run(path: Path | str, allow: Sequence[str] = ()) -> Run:
    """The run in a folder.

    Args:
        path: the last line that the run printed; if it was updated since, the version in use is loaded.
        allow: packages of your own that its config may name.
    Raises:
        RecexpError: the folder holds no run.
    """
    from recexp.checks import trusted
    from recexp.store import Folder, in_use
    from recexp.task.run import Run

    path = in_use(path)
    return Run(path, trusted(Folder(path).config(), allow))
