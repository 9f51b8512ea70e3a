"""The tasks, one file each, and what surrounds all of them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf, open_dict

from recexp import checks
from recexp.config import choices, complete, in_study, rank
from recexp.fit.heap import take_large_pages
from recexp.fit.prune import Prune
from recexp.store import Folder
from recexp.task.job import Job, running

if TYPE_CHECKING:
    from recexp.sweep.trial import Trial


def execute(composed: DictConfig, typed: Sequence[str]) -> Path:
    """Run the task that a job's config names, in the folder that Hydra made; the folder.

    Raises:
        RecexpError: it asks for something impossible; nothing is left behind.
    """
    quiet()
    take_large_pages()
    hydra = HydraConfig.get()
    in_sweep = hydra.mode == RunMode.MULTIRUN
    folder, trial = Folder(hydra.runtime.output_dir), _trial()
    job = Job(
        folder,
        study=Path(hydra.sweep.dir).name if in_sweep else None,
        resumed=bool(composed.get("resume")) or (trial is not None and (folder.checkpoints / "last.ckpt").exists()),
        typed=typed,
        choices=choices(hydra),
        callbacks=[Prune(trial.metric, trial.report)] if trial else [],
    )
    with running(job), trial.at_work() if trial and rank() == 0 else nullcontext():
        config = finished(composed, hydra) if in_sweep else composed
        get_method(config.task._target_)(config, job)
    return job.folder.path


def _trial() -> Trial | None:
    """Of a study, if the job is one; only then Optuna is loaded."""
    if not in_study():
        return None
    from recexp.sweep.trial import current

    return current()


def quiet() -> None:
    """Lightning's banners and tips say nothing of the experiment; its errors still come."""
    for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pytorch_lightning\.|lightning_fabric\.")


def finished(composed: DictConfig, hydra: HydraConf) -> DictConfig:
    """A sweep job's config, completed and checked: Hydra's hook before a folder is there for single runs only."""
    whole = OmegaConf.create({**composed, "hydra": hydra}, flags={"allow_objects": True})
    complete(whole)
    checks.refuse_impossible(whole)
    with open_dict(whole):
        del whole["hydra"]
    return whole
