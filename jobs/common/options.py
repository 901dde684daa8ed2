"""Command-line options that several jobs share."""

from typing import Annotated

import pyarrow.parquet as pq
import typer
from deltalake import write_deltalake

from cluster.data.rows import Source, latest
from cluster.io.folder import Folder
from cluster.training.model_store import Manifest
from cluster.versions.merge import Consensus
from relabel_service.tables.delta import is_delta
from relabel_service.tasks import TASKS, task_named

Dataset = Annotated[
    str, typer.Option(help="parquet or Delta: local path or object-store URL", show_default=False)
]
TaskName = Annotated[str, typer.Option("--task", help=f"one of {', '.join(TASKS)}")]
ContentColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--content-column",
        "--text-column",
        "--image-column",
        "--audio-column",
        "--tokens-column",
        help="column of what is labelled; again for more; the task's usual when left out",
        show_default=False,
    ),
]
LabelColumn = Annotated[str, typer.Option(help="column of the human label")]
IdColumn = Annotated[
    str | None,
    typer.Option(help="column of the row's id; made from the content when left out"),
]
WeightColumn = Annotated[
    str | None,
    typer.Option(help="column of how much a row counts in training; all alike when left out"),
]
ReviewedWeight = Annotated[
    float,
    typer.Option(help="times that a row counts in training which people have decided; 1: as any"),
]
Version = Annotated[
    int | None, typer.Option("--version", help="Delta version; the latest when left out")
]
Folds = Annotated[int, typer.Option("--folds", help="models that each leave one part out")]
NumWorkers = Annotated[int, typer.Option(help="processes that share the work")]
UseGpu = Annotated[bool, typer.Option("--use-gpu", help="one GPU a worker")]
CpusPerGpu = Annotated[
    int, typer.Option(help="CPUs that keep each GPU busy: they encode and decode ahead of it")
]
Top = Annotated[int | None, typer.Option(help="keep this many of the worst")]
Budget = Annotated[str | None, typer.Option(help="keep this share of the rows: 5% or 0.05")]
Threshold = Annotated[float | None, typer.Option(help="keep suspicion of at least this, in [0, 1]")]
Disagreement = Annotated[
    str | None,
    typer.Option(help="signal to rank by (gap, bleu_distance, ...); the task's suspicion if out"),
]
HowDecided = Annotated[
    Consensus,
    typer.Option(
        "--consensus",
        help="majority of the votes, or crowdlab: weighed by the model and each labeler's quality",
    ),
]
Audit = Annotated[
    int,
    typer.Option(
        "--audit", help="random rows among those not suspicious, that tell how many errors are left"
    ),
]
LabelConfidenceUri = Annotated[
    str | None,
    typer.Option(
        "--label-confidence", help="folder of how likely each label is right, mine to train"
    ),
]
UseFeedback = Annotated[
    bool,
    typer.Option(help="let what people have answered so far have a say in the ranking"),
]
Seed = Annotated[int, typer.Option(help="makes folds, models and draws repeatable")]
Encoder = Annotated[
    str | None,
    typer.Option(
        help="network whose embeddings are a second view of each row: Hugging Face id or local path"
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Hugging Face id or local path; the built-in model when left out"),
]


def source_of(
    dataset: str,
    *,
    task: str,
    content_columns: list[str] | None,
    label_column: str,
    id_column: str | None,
    version: int | None,
    weight_column: str | None = None,
) -> Source:
    """The data set the options name, pinned. Raises as cluster.data.rows.latest."""
    columns = tuple(content_columns or task_named(task).content_columns)
    return latest(Source(dataset, task, columns, label_column, id_column, version, weight_column))


def like_trained(
    manifest: Manifest, dataset: str, *, label_column: str | None = None, version: int | None = None
) -> Source:
    """Another data set, or version, with the columns of the training's. Pinned."""
    trained = manifest.source
    return latest(
        Source(
            dataset,
            trained.task,
            trained.content_columns,
            label_column or trained.label_column,
            trained.id_column,
            version,
        )
    )


def versioned(dataset: str, out: str) -> str:
    """The data set itself where it is Delta; else a copy under `out`, made once."""
    if is_delta(dataset):
        return dataset
    copy = Folder(out).address("dataset")
    if not is_delta(copy):
        write_deltalake(copy, pq.read_table(dataset))
    return copy
