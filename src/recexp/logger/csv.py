"""A plain csv file of everything that was logged."""

from __future__ import annotations

import csv
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger

NAME = "csv"
"""Of the folder in the run's folder."""


class CSV(CSVLogger):
    """`csv/metrics.csv`: a row for each time that something was logged, on disk at once; a resumed run adds to it.

    Args:
        save_dir: the run's folder.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir, name=NAME, version="", flush_logs_every_n_steps=1)
        path = Path(save_dir) / NAME / "metrics.csv"
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # a kill may have torn the last line
        rows = csv.DictReader(whole.splitlines())
        self._earlier = [{name: float(value) for name, value in row.items() if value} for row in rows]

    def open(self, facts: object) -> None:
        """Lightning's writer begins by deleting the file: give it the rows of the killed run."""
        for row in self._earlier:
            self.experiment.log_metrics(row, int(row["step"]))
        self.experiment.save()
