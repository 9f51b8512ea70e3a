"""task=recommend: the best items for all or given users, as a parquet file."""

from __future__ import annotations

from omegaconf import DictConfig

from recexp.task import show
from recexp.task.exported import answers
from recexp.task.job import Job
from recexp.task.run import Run


def recommend(config: DictConfig, job: Job) -> None:
    """Write `recommendations.parquet`: user, item, rank, score."""
    run = Run(config.run, config)
    run.answers = answers(run, config.engine, config.export)
    with show.waiting("reading the data"):
        _ = run.experiment.data
    table = run.recommend(config.users, config.k, config.context)
    job.begin(config, parent=run.facts.get("id"), data=run.experiment.data.dataset.sha256)
    job.folder.write_table("recommendations.parquet", table)
    job.finish({}, notes=run.strangers)
    show.notes(run.strangers)
    show.console.print(table.head(config.k))
    show.console.print(f"{table.height:,} recommendations for {table['user'].n_unique():,} users")
