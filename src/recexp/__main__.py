"""`python -m recexp` and `recexp`. Light imports only: help, completion and mistakes never wait for torch."""

from __future__ import annotations

import os
import sys
import traceback
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recexp import command, config, desk
from recexp.errors import RecexpError
from recexp.store import home

OmegaConf.register_new_resolver("recexp.short_id", lambda: uuid.uuid4().hex[:6], use_cache=True, replace=True)
OmegaConf.register_new_resolver("recexp.home", lambda run: str(home(str(run))), replace=True)


def main() -> None:
    """The console script: exit status 0 done, 1 a run failed, 2 something impossible was asked."""
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR", "0") == "1"
    try:
        for folder in compose_and_run(sys.argv[1:]):
            print(folder)
    except RecexpError as error:
        if wants_traceback:
            traceback.print_exc()
        sys.stderr.write(f"recexp: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"recexp: stopped. {stop}".rstrip() + "\n")
        sys.exit(130)


def compose_and_run(arguments: Sequence[str]) -> list[Path]:
    """Compose the experiment that the arguments ask for and run its task; the folders it wrote, grid or not.

    Raises:
        RecexpError: something impossible was asked.
    """
    asked = command.read(arguments, config.folder())
    folders: list[Path] = []
    running = False

    @hydra.main(version_base="1.3", config_path=str(config.folder()), config_name="config")
    def job(composed: DictConfig) -> None:
        nonlocal running
        running = True
        folders.append(_execute(composed, arguments))
        running = False

    before = config.current()
    try:
        asked = asked.adding(config.choices_of_run(desk.readable(asked.overrides)))
        with _as_hydra_expects(asked.arguments):
            job()
        if config.current() is not before and config.in_study():
            return [config.study_folder()]
        running = True
        if len(folders) > 1:
            _compare(folders, asked)
        return folders
    except config.Refusal as refusal:
        if isinstance(refusal.error, RecexpError):
            raise refusal.error from None
        complaint = desk.explain(refusal.error, asked.of_job(refusal.overrides))
        what = "a trial would be" if config.in_study() else "the grid's job"
        where = f"{what} {' '.join(refusal.overrides)}: " if len(refusal.overrides) > 1 else ""
        raise RecexpError(f"{where}{complaint}") from None
    except BrokenPipeError:
        if running:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `--help | head` has read enough
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if running:
            raise
        raise desk.explain(error, asked) from error
    finally:
        config.forget(before)
    return folders


def _execute(composed: DictConfig, arguments: Sequence[str]) -> Path:
    from recexp.task import execute

    try:
        return execute(composed, arguments)
    except RecexpError as error:
        if config.in_study():
            raise  # one trial has failed, no more
        config.take_back_grid()
        raise config.Refusal(error) from error


def _compare(folders: Sequence[Path], asked: command.Command) -> None:
    from recexp.task.grid import compare

    compare(folders, [o.key_or_group for o in desk.readable(asked.overrides) if o.is_sweep_override()])


@contextmanager
def _as_hydra_expects(arguments: Sequence[str]) -> Iterator[None]:
    typed, before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [typed[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's own errors come to us instead of being printed
    try:
        yield
    finally:
        sys.argv = typed
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


if __name__ == "__main__":
    main()
