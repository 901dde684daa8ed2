"""Train on a table's human labels, one model a fold and one on all rows.

    python -m jobs.train --dataset data/train.parquet --text-column text --label-column label \\
        --id-column id --out models/v1 --test data/test.parquet --gold-column gold
"""

import json
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from cluster.inference.evaluate import evaluate
from cluster.inference.predict import InferenceConfig
from cluster.training.model_store import ModelStore
from cluster.training.train import train
from jobs.common import options
from jobs.common.progress import counted
from jobs.common.session import run, session, warn
from jobs.common.tracking import DELTA_VERSION, TrackOption, tracked
from relabel_service.errors import InvalidInput

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
@options.grouped
def main(
    columns: options.ColumnOptions,
    training: options.TrainingOptions,
    engine: options.EngineOptions,
    dataset: options.Dataset,
    out: Annotated[str, typer.Option(help="folder of the training: local path or URL")],
    version: options.Version = None,
    weight_column: options.WeightColumn = None,
    batch_size: Annotated[int | None, typer.Option(help="rows a worker and step")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="highest of the schedule")] = None,
    lineage: Annotated[
        str | None, typer.Option(help="lineage table: which labels people have decided")
    ] = None,
    reviewed_weight: options.ReviewedWeight = 1.0,
    label_confidence: options.LabelConfidenceUri = None,
    max_failures: Annotated[int, typer.Option(help="dead workers replaced before giving up")] = 2,
    checkpoint_interval_s: Annotated[
        float, typer.Option(help="seconds of work that a dead worker may cost")
    ] = 60.0,
    test: Annotated[str | None, typer.Option(help="table to evaluate the model on")] = None,
    gold_column: Annotated[str, typer.Option(help="column of the true label there")] = "gold",
    track: TrackOption = None,
) -> None:
    """Train, and evaluate where a test table is given; prints JSON."""
    if reviewed_weight != 1 and lineage is None:
        raise InvalidInput.of("lineage", "is not given; --reviewed-weight needs the lineage table")
    workers = engine.workers()
    config = replace(
        training.config(workers),
        batch_size=batch_size,
        learning_rate=learning_rate,
        lineage_uri=lineage,
        reviewed_weight=reviewed_weight,
        label_confidence_uri=label_confidence,
        max_failures=max_failures,
        checkpoint_interval_s=checkpoint_interval_s,
    )
    source = columns.source(dataset, version=version, weight_column=weight_column)
    store = ModelStore(out)
    with (
        tracked(track, "train", out) as record,
        session(engine.engine, workers=workers) as running,
    ):
        record.parameters({"dataset": dataset, "task": source.task, **config.to_dict()})
        record.tags({DELTA_VERSION: source.version})
        with counted("train: models", config.num_folds + 1, lambda: len(store.finished_runs())):
            manifest = train(source, config, out, running)
        result: dict[str, Any] = {
            "out": out,
            "dataset_version": source.version,
            "num_rows": manifest.num_rows,
            "classes": manifest.classes,
            "runs": manifest.runs,
            "warnings": manifest.warnings,
            "settings": asdict(config),
        }
        if test is not None:
            tested = options.like_trained(manifest, test, gold_column=gold_column)
            inference = InferenceConfig(workers=workers)
            measured = evaluate(out, {"test": tested}, inference, running)
            result |= {name: one.to_dict() for name, one in measured.items()}
            for name, one in measured.items():
                record.metrics({f"{name}.{metric}": value for metric, value in one.metrics.items()})
        warn(manifest.warnings)
        print(json.dumps(result, indent=2), flush=True)
        record.metrics({"num_rows": manifest.num_rows})
        record.artifact("result.json", json.dumps(result, indent=2))


if __name__ == "__main__":
    run(app)
