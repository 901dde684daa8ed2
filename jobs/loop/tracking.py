"""A loop as a tracker has it: a run with figures by version, and below it a run for each."""

from dataclasses import asdict

from jobs.common.tracking import DELTA_VERSION, TrackedRun
from jobs.loop.config import LoopConfig
from jobs.loop.rounds import Metrics, Round

FIGURES = ("num_wrong", "num_leased", "precision", "recall", "reviewed_weight")


def record_loop(record: TrackedRun, config: LoopConfig) -> None:
    """What was asked of the loop."""
    record.parameters(
        {
            "dataset": config.source.uri,
            "task": config.source.task,
            "num_rounds": config.num_rounds,
            "train_every": config.train_every,
            "votes_required": config.votes_required,
            "consensus": config.consensus.value,
            "encoder": config.encoder,
            "num_audit": config.num_audit,
            "selection": asdict(config.selection),
            "training": config.training.to_dict(),
        }
    )


def record_round(record: TrackedRun, number: int, one: Round) -> Round:
    """A version's figures, by its number on the loop's run; returns the round."""
    figures = flat_metrics(one.metrics) | {name: getattr(one, name) for name in FIGURES}
    if one.quality is not None:
        figures |= {
            "num_errors_found": one.quality.num_errors_found,
            "errors_per_minute": one.quality.errors_per_minute,
        }
    if one.merged is not None:
        figures["num_changed"] = one.merged.num_changed
    version = record.child(one.version, one.version)
    version.tags({DELTA_VERSION: one.delta_version})
    version.metrics(figures)
    record.metrics({"delta_version": one.delta_version, **figures}, step=number)
    record.tags({DELTA_VERSION: one.delta_version})  # of the last
    return one


def flat_metrics(metrics: Metrics) -> dict[str, float | None]:
    """Test and metric, such as test.accuracy -> value."""
    return {
        f"{test}.{name}": value
        for test, evaluation in metrics.items()
        for name, value in evaluation.metrics.items()
    }
