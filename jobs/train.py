"""Train on a table's human labels, one model a fold and one on all rows.

    python -m jobs.train --dataset data/train.parquet --text-column text --label-column label \\
        --id-column id --out models/v1 --test data/test.parquet --gold-column gold
"""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cluster.engine.devices import Workers
from cluster.inference.evaluate import evaluate
from cluster.inference.predict import InferenceConfig
from cluster.training.config import TrainConfig
from cluster.training.train import train
from jobs.common import options
from jobs.common.session import ray_session, run
from relabel_service.errors import InvalidInput

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    dataset: options.Dataset,
    out: Annotated[str, typer.Option(help="folder of the training: local path or URL")],
    task: options.TaskName = "text_classification",
    content_column: options.ContentColumns = None,
    label_column: options.LabelColumn = "label",
    id_column: options.IdColumn = None,
    weight_column: options.WeightColumn = None,
    version: options.Version = None,
    model: options.Model = None,
    folds: options.Folds = 5,
    epochs: Annotated[int | None, typer.Option(help="the model's recipe when left out")] = None,
    batch_size: Annotated[int | None, typer.Option(help="rows a worker and step")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="highest of the schedule")] = None,
    num_workers: options.NumWorkers = 1,
    use_gpu: options.UseGpu = False,
    cpus_per_gpu: options.CpusPerGpu = 1,
    lineage: Annotated[
        str | None, typer.Option(help="lineage table, which tells what people have decided")
    ] = None,
    reviewed_weight: options.ReviewedWeight = 1.0,
    label_confidence: options.LabelConfidenceUri = None,
    max_failures: Annotated[int, typer.Option(help="dead workers replaced before giving up")] = 2,
    checkpoint_interval_s: Annotated[
        float, typer.Option(help="seconds of work that a dead worker may cost")
    ] = 60.0,
    seed: int = 0,
    test: Annotated[str | None, typer.Option(help="table to evaluate the model on")] = None,
    gold_column: Annotated[str, typer.Option(help="column of the true label there")] = "gold",
) -> None:
    """Train, and evaluate where a test table is given; prints JSON."""
    if reviewed_weight != 1 and lineage is None:
        raise InvalidInput.of("lineage", "is not given; --reviewed-weight needs the lineage table")
    settings = TrainConfig(
        model=model,
        num_folds=folds,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        workers=Workers(num_workers, use_gpu, cpus_per_gpu),
        lineage_uri=lineage,
        reviewed_weight=reviewed_weight,
        label_confidence_uri=label_confidence,
        max_failures=max_failures,
        checkpoint_interval_s=checkpoint_interval_s,
        seed=seed,
    )
    source = options.source_of(
        dataset,
        task=task,
        content_columns=content_column,
        label_column=label_column,
        id_column=id_column,
        version=version,
        weight_column=weight_column,
    )
    with ray_session() as engine:
        manifest = train(source, settings, out, engine)
        told: dict[str, Any] = {
            "out": out,
            "dataset_version": source.version,
            "num_rows": manifest.num_rows,
            "classes": manifest.classes,
            "runs": manifest.runs,
            "settings": asdict(settings),
        }
        if test is not None:
            scored = options.like_trained(manifest, test, label_column=gold_column)
            told |= evaluate(
                out, {"test": scored}, InferenceConfig(workers=settings.workers), engine
            )
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    run(app)
