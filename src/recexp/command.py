"""The command line as typed: Hydra's flags and the overrides, told apart before Hydra sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from recexp.errors import RecexpError

SEVERAL = ("logger", "experiment")
"""Groups of which several options go together, in a list."""

ONE_OF = ("run", "multirun", "cfg", "info", "shell_completion")


@dataclass(frozen=True)
class Command:
    """Flags, then overrides: in this order Hydra reads them all, in any other not.

    Args:
        conf: the folders that options are looked up in.
        config_name: of the primary config.
    """

    flags: tuple[str, ...]
    overrides: tuple[str, ...]
    multirun: bool
    conf: tuple[Path, ...]
    config_name: str

    @property
    def arguments(self) -> list[str]:
        """What Hydra gets."""
        return [*self.flags, *self.overrides]

    def adding(self, overrides: Sequence[str]) -> Command:
        """The command with more overrides."""
        return replace(self, overrides=(*self.overrides, *overrides))

    def of_job(self, overrides: Sequence[str]) -> Command:
        """The command that would run one job of a grid alone."""
        return replace(self, overrides=tuple(overrides)) if overrides else self


def read(arguments: Sequence[str], conf: Path) -> Command:
    """Tell flags from overrides.

    Raises:
        RecexpError: an unknown flag, flags that exclude each other, or one that recexp does not have.
    """
    parser: Any = get_args_parser()
    parser.error = _refuse
    flags = parser.parse_intermixed_args(list(arguments))
    if flags.experimental_rerun:
        _refuse(
            "--experimental-rerun loads a pickle, which recexp never does; type resume=RUN or task=evaluate run=RUN"
        )
    if sum(bool(getattr(flags, name)) for name in ONE_OF) > 1:
        _refuse("only one of --run, --multirun, --cfg, --info and --shell-completion can be given")
    if flags.resolve and not (flags.cfg or flags.help):
        _refuse("--resolve resolves what is shown; type --cfg job --resolve")
    rest = list(arguments)
    for override in flags.overrides:
        rest.remove(override)
    folders, name = _searched(flags, conf), flags.config_name or "config"
    if not any((folder / name).with_suffix(".yaml").is_file() for folder in folders):
        _refuse(f"--config-name {name}: there is no {name}.yaml in {' or '.join(str(folder) for folder in folders)}")
    return Command(tuple(rest), tuple(flags.overrides), flags.multirun, folders, name)


def _searched(flags: Any, conf: Path) -> tuple[Path, ...]:
    """The folders of options, the user's own first."""
    given = flags.config_path
    if given is not None and not (Path(given).is_absolute() and Path(given).is_dir()):
        _refuse(f"--config-path {given}: expected the absolute path of a folder; --config-dir adds one to recexp's own")
    own = [] if flags.config_dir is None else [Path(flags.config_dir).absolute()]
    if own and not own[0].is_dir():
        _refuse(f"--config-dir {flags.config_dir}: there is no such folder")
    return (*own, conf if given is None else Path(given))


def _refuse(message: str) -> NoReturn:
    raise RecexpError(f"{message[0].lower() + message[1:]}. Type python -m recexp --hydra-help to see all flags.")


def parsed(argument: str) -> Override:
    """One override.

    Raises:
        RecexpError: it cannot be read.
    """
    key, equals, value = argument.partition("=")
    if not argument.startswith("~") and not (key and equals):
        raise RecexpError(f"'{argument}' is no override. Type KEY=VALUE, without spaces around the equals sign.")
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException as error:
        hint = f"If it is one text with special characters, type '{key}=\"{value}\"', with both kinds of quotes"
        if value.startswith(("[", "{")):
            hint = "Type lists as 'KEY=[1,2]', in single quotes"
        raise RecexpError(f"'{argument}' cannot be read. {hint}.") from error
