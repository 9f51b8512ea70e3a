"""One job's life in its folder: begun, then finished or failed, and never a half-written one."""

from __future__ import annotations

import os
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recexp import facts
from recexp.errors import RecexpError
from recexp.store import Folder


class Job:
    """What a task knows of the folder it works in.

    Args:
        folder: the job's own.
        choices: the option of each config group; that of `task` is the job's task.
        study: the sweep it belongs to, or None.
        resumed: whether the folder holds a run to go on with.
        typed: the arguments as they were typed.
    """

    def __init__(
        self, folder: Folder, choices: Mapping[str, Any], study: str | None, resumed: bool, typed: Sequence[str]
    ) -> None:
        self.folder = folder
        self.choices = {
            group: OmegaConf.to_object(choice) if OmegaConf.is_config(choice) else choice
            for group, choice in choices.items()
        }
        self.study = study
        self.resumed = resumed
        self.typed = typed
        self.begun = False
        self.loggers: list[Any] = []
        self._started = time.perf_counter()

    @property
    def leads(self) -> bool:
        """Whether this process writes: of several ranks, only the first does."""
        return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"

    def begin(self, config: DictConfig, **identity: Any) -> None:
        """Everything asked for exists and makes sense: write who we are and with what config."""
        self.begun = True
        if not self.leads:
            return
        plain = OmegaConf.to_container(config, resolve=True)
        assert isinstance(plain, dict)
        before = self.folder.run()
        self.folder.write_config({str(key): value for key, value in plain.items()})
        self.folder.update_run(
            id=before.get("id", uuid.uuid4().hex[:8]),
            task=self.choices["task"],
            choices=self.choices,
            study=self.study,
            status="running",
            reason=None,
            seed=config.seed,
            started=before.get("started", _now()),
            **facts.provenance(self.typed),
            **identity,
        )

    def log_with(self, loggers: list[Any]) -> None:
        """Use these loggers, and close them at the end; the config is theirs too."""
        self.loggers = loggers
        for logger in loggers:
            logger.log_hyperparams(OmegaConf.to_container(self.folder.config()))

    def finish(self, metrics: Mapping[str, float], **more: Any) -> None:
        """The work is done and its results stand in the folder."""
        if not self.leads:
            return
        self.folder.update_metrics(metrics)
        seconds = round(time.perf_counter() - self._started, 3)
        end = {"finished": _now(), "seconds": seconds, "peak_memory_mb": facts.peak_memory_mb()}
        self.folder.update_run(status="finished", **end, **more)
        for logger in self.loggers:
            if hasattr(logger, "log_outcome"):
                logger.log_outcome(self.folder.run(), self.folder.metrics())

    def fail(self, error: BaseException) -> None:
        """Say in the folder why there are no results."""
        reason = "".join(traceback.format_exception_only(error)).strip()
        if self.begun and self.leads:
            self.folder.update_run(status="failed", reason=reason, finished=_now())

    def close(self, exit_code: int) -> None:
        """Close what stays open: one W&B run per job."""
        for logger in self.loggers:
            if hasattr(logger, "close"):
                logger.close(exit_code)

    def discard(self) -> None:
        """Nothing was done here: take away the empty folder that Hydra made."""
        if self.begun or self.resumed or not self.leads:
            return
        for file in (self.folder.path / ".hydra").glob("*.yaml"):
            file.unlink()
        for folder in (self.folder.path / ".hydra", self.folder.path, *self.folder.path.parents[:2]):
            try:
                folder.rmdir()
            except OSError:
                break


@contextmanager
def running(job: Job) -> Iterator[Job]:
    """A job that ends well, or says how it ended."""
    try:
        yield job
    except RecexpError as error:
        job.fail(error)
        job.close(exit_code=2)
        job.discard()
        raise
    except BaseException as error:
        job.fail(error)
        job.close(exit_code=1)
        raise
    else:
        job.close(exit_code=0)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def here(path: Path) -> str:
    """The path as a person in this directory would type it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
