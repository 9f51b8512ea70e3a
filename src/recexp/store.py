"""The run folder: written so that a kill at any moment leaves each file whole, read without trusting it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recexp.errors import RecexpError, nearest

if TYPE_CHECKING:
    import polars as pl
    from omegaconf import DictConfig
    from torch import nn

IDS = ("user", "trained", "item")
"""Columns of `ids.parquet`."""

VERSIONS, CURRENT, NEWS, LOCK = "versions", "current", "new.parquet", ".lock"
NEW_FEATURES = {"users": "new_users.parquet", "items": "new_items.parquet"}
"""Inside a run that was updated: the folder of its versions, the pointer to the one in use; a version's own events;
the file that one update at a time holds; tables of those who came with a version."""

SECRET = re.compile(
    r"password|passwd|secret|credential|(access|api|private)_?key|(^|_)(auth|api|access|bearer)_?token$", re.IGNORECASE
)
REMOVED = "(removed)"
LOGIN = re.compile(r"(?<=://)[^/@\s]+@")
"""Name and password inside an address."""


class Folder:
    """One run folder and its files, as section "What a run leaves" of the README lists them.

    Args:
        path: of the folder, made by Hydra.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def checkpoints(self) -> Path:
        """The folder of `best.ckpt` and `last.ckpt`."""
        return self.path / "checkpoints"

    def run(self) -> dict[str, Any]:
        """`run.json`, or nothing if there is none."""
        return self._json("run.json")

    def metrics(self) -> dict[str, float]:
        """`metrics.json`, or nothing if there is none."""
        return self._json("metrics.json")

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            content = json.loads(path.read_text()) if path.exists() else {}
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise RecexpError(f"{path} cannot be read ({error}); expected the JSON that a run wrote.") from error
        if not isinstance(content, dict):
            raise RecexpError(f"{path} holds a {type(content).__name__}; expected a JSON object.")
        return content

    def config(self) -> DictConfig:
        """`config.yaml`, resolved."""
        from omegaconf import DictConfig, OmegaConf
        from yaml import YAMLError

        path = self.path / "config.yaml"
        try:
            config = OmegaConf.load(path)
        except FileNotFoundError as error:
            raise RecexpError(
                f"{self.path} is not the folder of a run: there is no config.yaml in it. "
                "Type the folder that the run printed as its last line, such as run=outputs/DATE/TIME_MODEL_DATA_ID."
            ) from error
        except (YAMLError, UnicodeDecodeError, OSError) as error:
            raise RecexpError(f"{path} cannot be read as plain yaml: {str(error).splitlines()[0]}") from error
        if not isinstance(config, DictConfig):
            raise RecexpError(f"{path} is empty or no mapping; expected the config that a run wrote.")
        return self._with_own_news(config)

    def _with_own_news(self, config: DictConfig) -> DictConfig:
        """A version's config names the tables beside it; wherever the folder lies now, they lie there too."""
        data = config.get("data")
        new = data.get("new") if isinstance(data, Mapping) else None
        if isinstance(new, Mapping) and new.get("path") == NEWS and (self.path / NEWS).exists():
            config.data.new.path = str((self.path / NEWS).absolute())
            for side, name in NEW_FEATURES.items():
                if config.data.new.features[side] == name:
                    config.data.new.features[side] = str((self.path / name).absolute())
        return config

    def update_run(self, **facts: Any) -> None:
        """Add facts to `run.json`."""
        self._write_json("run.json", {**self.run(), **facts})

    def update_metrics(self, metrics: Mapping[str, float]) -> None:
        """Add metrics to `metrics.json`."""
        self._write_json("metrics.json", {**self.metrics(), **metrics})

    def write_drift(self, report: Mapping[str, Any]) -> None:
        """Write `drift.json`."""
        self._write_json("drift.json", report)

    def publish(self) -> None:
        """Make this finished version the one in use; until all of it is on disk, the one before is."""
        for path in (*self.path.rglob("*"), self.path, self.path.parent):
            _sync(path)
        run = Folder(home(self.path))
        run._write(CURRENT, f"{self.path.name}\n".encode())
        _sync(run.path)

    def forget_secrets(self, config: Mapping[str, Any]) -> None:
        """Take the secrets of the config, and logins in addresses, out of what Hydra wrote beside it."""
        for file in (self.path / ".hydra").glob("*.yaml"):
            before = file.read_text()
            text = LOGIN.sub("", before)
            for secret in secrets(config):
                text = text.replace(secret, REMOVED)
            if text != before:
                self._write(f".hydra/{file.name}", text.encode())

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write `config.yaml`, secrets removed."""
        from omegaconf import OmegaConf

        self._write("config.yaml", OmegaConf.to_yaml(OmegaConf.create(without_secrets(config))).encode())

    def write_table(self, name: str, table: pl.DataFrame) -> None:
        """Write a parquet file."""
        target = self.path / name
        table.write_parquet(_beside(target))
        _beside(target).replace(target)

    def write_model(self, model: nn.Module, users: pl.Series, trained: pl.Series, items: pl.Series) -> None:
        """Write `weights.safetensors`, and `ids.parquet` whose row number is the dense id.

        Args:
            trained: whether training saw the user.
        """
        import polars as pl
        from safetensors.torch import save

        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        sizes = {"num_users": str(len(users)), "num_items": str(len(items))}
        self._write("weights.safetensors", save(tensors, metadata=sizes))
        columns = [side.rename(name).to_frame() for name, side in zip(IDS, (users, trained, items), strict=True)]
        self.write_table("ids.parquet", pl.concat(columns, how="horizontal_extend"))

    def ids(self) -> tuple[pl.Series, pl.Series, pl.Series]:
        """Raw ids of users, whether training saw them, and raw ids of items, in order of their dense ids."""
        import polars as pl

        table = pl.read_parquet(self._finished("ids.parquet"))
        user, trained, item = (table[name].drop_nulls() for name in IDS)
        return user, trained, item

    def write_features(self, tensors: Mapping[str, Any], vocabulary: pl.DataFrame) -> None:
        """Write `features.safetensors`: what the model knows of users and items besides what it learned; and
        `vocabulary.parquet`, with which the same is known of those who come later."""
        from safetensors.torch import save

        self._write("features.safetensors", save(dict(tensors)))
        self.write_table("vocabulary.parquet", vocabulary)

    def vocabulary(self) -> pl.DataFrame | None:
        """The table of what was learned of features, if there is one."""
        import polars as pl

        path = self.path / "vocabulary.parquet"
        return pl.read_parquet(path) if path.exists() else None

    def features(self) -> dict[str, Any]:
        """Tensors of the features, none if the model looks at none."""
        return self._tensors("features.safetensors") if (self.path / "features.safetensors").exists() else {}

    def weights(self) -> dict[str, Any]:
        """Tensors of the model."""
        return self._tensors("weights.safetensors")

    def _tensors(self, name: str) -> dict[str, Any]:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(self._finished(name))
        except SafetensorError as error:
            raise RecexpError(f"{self.path / name} is damaged: {error}") from error

    def _finished(self, name: str) -> Path:
        path = self.path / name
        if not path.exists():
            status = self.run().get("status", "unknown")
            raise RecexpError(
                f"{self.path} has no {name}: its run did not finish (status: {status}). "
                f"Type resume={self.path} to finish it first."
            )
        return path

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        self._write(name, (json.dumps(content, indent=2, default=str) + "\n").encode())

    def _write(self, name: str, content: bytes) -> None:
        target = self.path / name
        with _beside(target).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _beside(target).replace(target)


def home(path: Path | str) -> Path:
    """The run that a version belongs to; any other folder is its own."""
    path = Path(path)
    whole = path.absolute()
    if whole.parent.name != VERSIONS or not (whole.parent.parent / "run.json").exists():
        return path
    return path.parent.parent if len(path.parts) > 2 else whole.parent.parent


def in_use(path: Path | str) -> Path:
    """The version that the pointer of an updated run names; any other folder is meant itself.

    Raises:
        RecexpError: the pointer names no version.
    """
    path = Path(path)
    pointer = path / CURRENT
    if not pointer.is_file():
        return path
    name = pointer.read_text(errors="replace").strip()
    versions = {version.name: version for version in (path / VERSIONS).glob("*")}
    if name not in versions or not _is_finished(versions[name]):
        there = sorted(name for name, version in versions.items() if _is_finished(version))
        raise RecexpError(
            f"{pointer} names the version {name[:80]!r}, and no finished one has this name; there are: "
            f"{', '.join(nearest(name, there)[:4]) or 'none'}. Write one of them into it, or remove it to go back to "
            "the run as it was fitted."
        )
    return versions[name]


def _is_finished(path: Path) -> bool:
    try:
        return bool(Folder(path).run().get("status") == "finished")
    except RecexpError:
        return False


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep others from updating a run meanwhile; ends with the process, however that ends.

    Raises:
        RecexpError: another process is at it.
    """
    import fcntl

    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)  # a file, open for writing: NFS locks nothing else
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecexpError(f"another update of {path} is under way; type the same again when it is done.") from error
        yield
    finally:
        os.close(lock)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def best_trial(path: Path) -> Path:
    """The folder of a study's best trial; of a run, its own."""
    file = path / "study.json"
    if not file.exists():
        return path
    best = json.loads(file.read_text())["best"]
    if not best:
        raise RecexpError(f"no trial of the study in {path} has finished; its trials.parquet says why.")
    return path / str(best[0]["number"])


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}")


def secrets(config: Any) -> set[str]:
    """Every value under a secret-looking key."""
    if isinstance(config, Mapping):
        own = {str(value) for key, value in config.items() if value and SECRET.search(str(key))}
        return own.union(*(secrets(value) for value in config.values()))
    return set().union(*(secrets(value) for value in config)) if isinstance(config, list) else set()


def without_secrets(config: Any) -> Any:
    """The config with every value under a secret-looking key replaced."""
    if isinstance(config, Mapping):
        return {
            key: REMOVED if value and SECRET.search(str(key)) else without_secrets(value)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [without_secrets(value) for value in config]
    return LOGIN.sub("", config) if isinstance(config, str) else config
