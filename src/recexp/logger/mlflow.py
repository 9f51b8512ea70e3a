"""MLflow: a store of the run's own, or a tracking server."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import MLFlowLogger
from pytorch_lightning.utilities import rank_zero_only

from recexp.errors import RecexpError

ID = "recexp.id"
"""The tag by which a resumed run finds its MLflow run."""


class MLflow(MLFlowLogger):
    """One MLflow run per job; a resumed run goes on with its own.

    Metrics lose the characters that MLflow does not take: `val/ndcg@10` is `val/ndcg_at_10` there.

    Args:
        experiment_name: what the run belongs to.
        tracking_uri: of the server; null: files in `mlruns/` of the run's folder.
        save_dir: the run's folder.
    Raises:
        RecexpError: MLflow is not installed, or there is no such store.
    """

    def __init__(self, experiment_name: str, tracking_uri: str | None, save_dir: str) -> None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes 25 s to set up, for each run
        local = (Path(save_dir) / "mlruns").absolute().as_uri()
        try:
            super().__init__(experiment_name, run_name=Path(save_dir).name, tracking_uri=tracking_uri or local)
        except ModuleNotFoundError as error:
            raise RecexpError("logger=mlflow: MLflow is not installed. Type pip install 'recexp[mlflow]'.") from error

    @rank_zero_only
    def open(self, facts: Mapping[str, Any]) -> None:
        """Begin the MLflow run, or go on with it."""
        self.tags = {f"recexp.{key}": str(facts[key]) for key in ("id", "task", "study", "parent") if facts.get(key)}
        client = self._mlflow_client
        if experiment := client.get_experiment_by_name(self._experiment_name):
            found = client.search_runs([experiment.experiment_id], f"tags.`{ID}` = '{facts['id']}'")
            self._run_id = found[0].info.run_id if found else None

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log the config; MLflow takes no other one for a run that goes on."""
        if self._initialized or self._run_id is None:
            super().log_hyperparams(params)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics({_allowed(name): value for name, value in metrics.items()}, step)

    @rank_zero_only
    def log_outcome(self, facts: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """The metrics as they stand in the folder."""
        self.log_metrics(metrics, facts.get("steps", 0))

    @rank_zero_only
    def close(self, exit_code: int) -> None:
        """End the MLflow run: 0 finished, else failed."""
        self.finalize("failed" if exit_code else "success")


def _allowed(name: str) -> str:
    return name.replace("@", "_at_").replace(":", ".")
