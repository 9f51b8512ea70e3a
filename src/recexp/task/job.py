"""One job's life in its folder: begun, then finished or failed, and never a half-written one."""

from __future__ import annotations

import logging
import signal
import threading
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.exceptions import SIGTERMException

from recexp import config, facts
from recexp.errors import RecexpError
from recexp.fit.prune import Pruned
from recexp.store import LOGIN, REMOVED, Folder, secrets

log = logging.getLogger("recexp")

TERMINATED = 143
"""The exit status of a process that SIGTERM ended, as shells say it."""


class Job:
    """What a task knows of the folder it works in.

    Args:
        folder: the job's own.
        choices: the option of each config group; that of `task` is the job's task.
        study: the sweep it belongs to, or None.
        resumed: whether the folder holds a run to go on with.
        typed: the arguments as they were typed.
        callbacks: of the trainer that fits.

    Attributes:
        rank: of this process among those of a trainer with several devices; only the first one writes.
        spent: by the sittings before this one, which a resumed run sums up [s].
    """

    def __init__(
        self,
        folder: Folder,
        choices: Mapping[str, Any],
        study: str | None,
        resumed: bool,
        typed: Sequence[str],
        callbacks: Sequence[Callback],
    ) -> None:
        self.folder = folder
        self.choices = {
            group: OmegaConf.to_object(choice) if OmegaConf.is_config(choice) else choice
            for group, choice in choices.items()
        }
        self.study = study
        self.resumed = resumed
        self.typed = typed
        self.callbacks = callbacks
        self.rank = config.rank()
        self.begun = False
        self.loggers: list[Any] = []
        self.spent = 0.0
        self._started = time.perf_counter()

    @property
    def leads(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def begin(self, composed: DictConfig, **identity: Any) -> None:
        """Everything asked for exists and makes sense: write who we are and with what config."""
        self.begun = True
        if not self.leads:
            return
        plain = OmegaConf.to_container(composed, resolve=True)
        assert isinstance(plain, dict)
        before = self.folder.run()
        resolved = {str(key): value for key, value in plain.items()}
        self.folder.write_config(resolved)
        self.folder.forget_secrets(resolved)
        known = facts.provenance([_without(secrets(resolved), word) for word in self.typed])
        sitting = {"started": _now(), "command": known["command"], "git": known["git"]}
        sittings = [*before.get("sittings", []), sitting]
        self.folder.update_run(
            id=before.get("id", uuid.uuid4().hex[:8]),
            task=self.choices["task"],
            choices=self.choices,
            study=self.study,
            status="running",
            reason=None,
            seed=composed.seed,
            sittings=sittings,
            started=sittings[0]["started"],
            **{**known, "command": sittings[0]["command"]},
            **identity,
        )

    def log_with(self, loggers: list[Any]) -> None:
        """Use these loggers, and close them at the end; who we are and the config are theirs too."""
        self.loggers = loggers
        for logger in loggers if self.leads else []:
            if hasattr(logger, "open"):
                logger.open(self.folder.run())
            logger.log_hyperparams(OmegaConf.to_container(self.folder.config()))

    def finish(self, metrics: Mapping[str, float], **more: Any) -> None:
        """The work is done and its results stand in the folder."""
        self._end(metrics, status="finished", **more)

    def prune(self, end: Pruned) -> None:
        """The work was ended early; what it found so far stands in the folder."""
        self._end(end.metrics, status="pruned", reason=str(end), epochs=end.epoch)

    def _end(self, metrics: Mapping[str, float], **more: Any) -> None:
        if not self.leads:
            return
        self.folder.update_metrics(metrics)
        seconds = round(self.spent + time.perf_counter() - self._started, 3)
        self.folder.update_run(finished=_now(), seconds=seconds, peak_memory_mb=facts.peak_memory_mb(), **more)
        for logger in self.loggers:
            with _forgiving(logger):
                _log_outcome(logger, self.folder.run(), self.folder.metrics())

    def fail(self, error: BaseException) -> None:
        """Say in the folder why there are no results; results that stand there stay."""
        if self.begun and self.leads and self.folder.run().get("status") != "finished":
            self.folder.update_run(status="failed", reason=_reason(error), finished=_now())

    def close(self, exit_code: int) -> None:
        """Close what stays open: one W&B run per job."""
        for logger in self.loggers:
            if hasattr(logger, "close"):
                with _forgiving(logger):
                    logger.close(exit_code)

    def discard(self) -> None:
        """If nothing was begun here, take away the empty folder that Hydra made."""
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
def _forgiving(logger: Any) -> Iterator[None]:
    """What a logger cannot do at the end is no failure of the run: its results stand in the folder."""
    try:
        yield
    except Exception as error:
        why = next(iter(str(error).splitlines()), "")
        log.warning("%s did not take the end of the run (%s: %s).", type(logger).__name__, type(error).__name__, why)


def _log_outcome(logger: Any, run: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    """To our own loggers as they wish; to others the test, behind the curves that Lightning drew."""
    if hasattr(logger, "log_outcome"):
        logger.log_outcome(run, metrics)
    else:
        logger.log_metrics({n: v for n, v in metrics.items() if n.startswith("test/")}, run.get("steps", 0))
        logger.finalize("success")


@contextmanager
def running(job: Job) -> Iterator[Job]:
    """A job that ends well, or says how it ended."""
    with _hearing():
        try:
            yield job
        except Pruned as end:
            job.prune(end)
            job.close(exit_code=0)
        except BaseException as error:
            ended = _as_it_was(error, job)
            job.fail(ended)
            job.close(exit_code=2 if isinstance(ended, RecexpError) else 1)
            job.discard()
            if ended is error:
                raise
            raise ended from None
        else:
            job.close(exit_code=0)


@contextmanager
def _hearing() -> Iterator[None]:
    """Lightning deafens the process to Ctrl-C once it was pressed; a notebook needs it again."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def _as_it_was(error: BaseException, job: Job) -> BaseException:
    """Ctrl-C and SIGTERM, which Lightning turns into exit statuses 1 and 0; the former with what to type."""
    if isinstance(error, SIGTERMException):
        return SystemExit(TERMINATED)
    if isinstance(error, SystemExit):
        error = error.__context__ if isinstance(error.__context__, KeyboardInterrupt) else error
    begun = job.choices["task"] == "fit" and any(job.folder.checkpoints.rglob("last.ckpt"))
    if isinstance(error, KeyboardInterrupt) and begun:
        return KeyboardInterrupt(f"Type python -m recexp resume={job.folder.path} to go on.")
    return error


def _without(secret: set[str], word: str) -> str:
    key, equals, value = word.partition("=")
    return f"{key}={REMOVED}" if equals and value.strip("'\"") in secret else LOGIN.sub("", word)


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SystemExit) and error.code == TERMINATED:
        return "terminated"
    return "".join(traceback.format_exception_only(error)).strip()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
