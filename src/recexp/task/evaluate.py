"""task=evaluate: measure a finished run again, by another protocol or on other data."""

from __future__ import annotations

from omegaconf import DictConfig

from recexp.task import show
from recexp.task.job import Job
from recexp.task.run import Run


def evaluate(config: DictConfig, job: Job) -> None:
    """Test the run's model; a further protocol on the run's own test part is added to the run's metrics too."""
    run = Run(config.run, config)
    experiment = run.experiment
    with show.waiting("reading the data"):
        module = experiment.module(run.model, job.folder.checkpoints)
    identity = experiment.identity()
    job.begin(config, parent=run.facts.get("id"), **identity)
    job.log_with(experiment.loggers(job.folder.path))
    trainer = experiment.trainer(job.loggers)
    trainer.test(module, datamodule=experiment.data, verbose=False)
    result = module.results["test"]
    metrics = {f"test/{name}": value for name, value in {**result.metrics, **result.segments}.items()}
    metrics |= {f"popularity/{name}": value for name, value in experiment.popularity().items()}
    job.folder.write_table("per_user.parquet", result.per_user)
    job.finish(metrics, alarms=result.alarms)
    same_test = all(identity[part] == run.facts.get(part) for part in ("data", "split"))
    if same_test and identity["eval"]["name"] != run.facts["eval"]["name"]:
        name = identity["eval"]["name"]
        run.folder.update_metrics({f"test/{name}/{metric}": value for metric, value in result.metrics.items()})
    show.results(metrics, module.monitor.lstrip("-"), result.alarms)
