"""Command-line options that several jobs share, in groups.

A group is a frozen dataclass whose fields are options, with a method that turns them into what the
calls take. A job's main declares the group as a parameter:

    @app.command()
    @options.grouped
    def main(columns: options.ColumnOptions, engine: options.EngineOptions, out: str) -> None:
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Annotated, Any, get_type_hints

import pyarrow as pa
import typer

from cluster.data.rows import Source, latest, require_mergeable
from cluster.engine.workers import Workers
from cluster.inference.predict import Sampling
from cluster.io.folder import Folder
from cluster.io.tables import read_table
from cluster.mining.selection import Selection, parse_budget
from cluster.training.config import TrainConfig
from cluster.training.model_store import Manifest
from cluster.versions.merge import Consensus
from jobs.common.session import EngineName
from relabel_service.errors import InvalidInput
from relabel_service.media import prefixes
from relabel_service.tables import delta
from relabel_service.tables.delta import is_delta
from relabel_service.tasks import TASKS, task_named

Dataset = Annotated[
    str, typer.Option(help="parquet or Delta: local path or object-store URL", show_default=False)
]
DeltaDataset = Annotated[
    str, typer.Option(help="Delta table: local path or object-store URL", show_default=False)
]
TaskName = Annotated[str, typer.Option("--task", help=f"one of {', '.join(TASKS)}")]
Version = Annotated[
    int | None, typer.Option("--version", help="Delta version; the latest when left out")
]
WeightColumn = Annotated[
    str | None,
    typer.Option(help="column of a row's weight in training; all weigh the same when left out"),
]
ReviewedWeight = Annotated[
    float,
    typer.Option(help="weight in training of rows that people have decided; 1: as any other row"),
]
Encoder = Annotated[
    str | None,
    typer.Option(help="network that makes embeddings of rows: Hugging Face id or local path"),
]
Predictions = Annotated[
    list[str] | None,
    typer.Option(
        "--predictions",
        help="table of class probabilities that another model gave the rows, by id; again for more",
        show_default=False,
    ),
]
PredictionsOnly = Annotated[
    bool,
    typer.Option(
        "--predictions-only", help="rank by the tables of --predictions alone, without our models"
    ),
]
SamplingOption = Annotated[
    Sampling, typer.Option("--sampling", help="by models that did or did not see the row")
]
Disagreement = Annotated[
    str | None,
    typer.Option(help="signal to rank by (gap, bleu_distance, ...); the task's suspicion if out"),
]
EachCopy = Annotated[
    bool,
    typer.Option(
        "--each-copy", help="ask about each of several rows of the same content and label"
    ),
]
ConsensusMethod = Annotated[
    Consensus,
    typer.Option(
        "--consensus",
        help="majority of the votes, or crowdlab: weighed by the model and each labeler's quality",
    ),
]
Audit = Annotated[
    int,
    typer.Option(
        "--audit", help="random rows that are not findings, to estimate how many errors are left"
    ),
]
LabelConfidenceUri = Annotated[
    str | None,
    typer.Option(
        "--label-confidence",
        help="folder of P(label is correct) of each row: written by mine, read by train",
    ),
]
UseFeedback = Annotated[
    bool, typer.Option(help="let the answers that people have given take part in the ranking")
]

MediaPrefix = Annotated[
    list[str] | None,
    typer.Option(
        "--media-prefix",
        help="folder or store under which addresses in rows are opened, beside the table's own; "
        "again for more",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class ColumnOptions:
    """The task, and the data set's columns."""

    task: TaskName = "text_classification"
    content_column: Annotated[
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
    ] = None
    label_column: Annotated[str, typer.Option(help="column of the human label")] = "label"
    id_column: Annotated[
        str | None,
        typer.Option(help="column of the row's id; made from the content when left out"),
    ] = None
    media_prefix: MediaPrefix = None

    def source(
        self,
        dataset: str,
        *,
        version: int | None = None,
        weight_column: str | None = None,
        copied_from: str | None = None,
    ) -> Source:
        """The data set, pinned to a version, known to take what will be decided.

        copied_from: where its rows come from; their addresses may lie there.
        Raises as cluster.data.rows.latest and require_mergeable.
        """
        near = prefixes.of_table(copied_from or dataset)  # here: workers may run in other folders
        content_columns = tuple(self.content_column or task_named(self.task).content_columns)
        source = Source(
            dataset,
            self.task,
            content_columns,
            self.label_column,
            self.id_column,
            version,
            weight_column,
            (*near, *prefixes.checked(self.media_prefix or ())),
        )
        return require_mergeable(latest(source))


@dataclass(frozen=True)
class SelectionOptions:
    """How many of the worst rows to keep."""

    top: Annotated[int | None, typer.Option(help="keep this many of the worst")] = None
    budget: Annotated[str | None, typer.Option(help="keep this share of the rows: 5% or 0.05")] = (
        None
    )
    threshold: Annotated[
        float | None, typer.Option(help="keep suspicion of at least this, in [0, 1]")
    ] = None

    def selection(self) -> Selection:
        share = parse_budget(self.budget) if self.budget else None
        return Selection(top=self.top, budget=share, threshold=self.threshold)


@dataclass(frozen=True)
class EngineOptions:
    """What runs the work, and how many processes share it."""

    engine: Annotated[
        EngineName,
        typer.Option(help="local: this process; ray: a Ray cluster; auto: ray where it pays"),
    ] = EngineName.AUTO
    num_workers: Annotated[int, typer.Option(help="processes that share the work")] = 1
    use_gpu: Annotated[bool, typer.Option("--use-gpu", help="one GPU a worker")] = False
    cpus_per_gpu: Annotated[
        int, typer.Option(help="CPUs that keep each GPU busy: they encode and decode ahead of it")
    ] = 1

    def workers(self) -> Workers:
        return Workers(self.num_workers, self.use_gpu, self.cpus_per_gpu)


@dataclass(frozen=True)
class TrainingOptions:
    """What is trained, and for how long."""

    model: Annotated[
        str | None,
        typer.Option(
            help="network to train: Hugging Face id or local path; the built-in one when left out"
        ),
    ] = None
    folds: Annotated[int, typer.Option(help="models that each leave one part out")] = 5
    epochs: Annotated[int | None, typer.Option(help="the model's default when left out")] = None
    tokenize: Annotated[
        str | None,
        typer.Option(
            help="how BLEU cuts texts into tokens: 13a, zh, char, … as sacrebleu names them; "
            "by their script when left out"
        ),
    ] = None
    seed: Annotated[int, typer.Option(help="makes folds, models and draws repeatable")] = 0

    def config(self, workers: Workers) -> TrainConfig:
        return TrainConfig(
            model=self.model,
            num_folds=self.folds,
            epochs=self.epochs,
            workers=workers,
            seed=self.seed,
            tokenize=self.tokenize,
        )


def grouped(function: Callable[..., None]) -> Callable[..., None]:
    """The function as typer reads it: a parameter that is a group becomes the group's options."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, tuple[type, list[str]]] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        kind = hints[parameter.name]
        if is_dataclass(kind):
            assert isinstance(kind, type)
            options = _options_of(kind)
            groups[parameter.name] = kind, [option.name for option in options]
            parameters += options
        else:
            parameters.append(
                parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY)
            )

    @functools.wraps(function)
    def call(**values: Any) -> None:
        built = {
            name: kind(**{option: values.pop(option) for option in options})
            for name, (kind, options) in groups.items()
        }
        function(**built, **values)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _options_of(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]


def like_trained(
    manifest: Manifest,
    dataset: str,
    *,
    gold_column: str | None = None,
    version: int | None = None,
    media_prefix: list[str] | None = None,
) -> Source:
    """Another data set, or version, with the columns and prefixes of the training's. Pinned.

    gold_column: of the true labels, where they are not in the training's label column.
    """
    trained = manifest.source
    source = Source(
        dataset,
        trained.task,
        trained.content_columns,
        gold_column or trained.label_column,
        trained.id_column,
        version,
        media_prefixes=(
            *prefixes.of_table(dataset),
            *trained.media_prefixes,
            *prefixes.checked(media_prefix or ()),
        ),
    )
    return with_labels(source, gold_column)


def with_labels(source: Source, gold_column: str | None) -> Source:
    """The source, pinned, its labels those of --gold-column where that is given."""
    if gold_column is None:
        return latest(source)
    return latest(replace(source, label_column=gold_column), label_option="--gold-column")


def versioned(dataset: str, out: str) -> str:
    """The data set itself where it is Delta; else a copy under `out`, made once.

    Raises InvalidInput naming the columns of types that Delta does not have.
    """
    if is_delta(dataset):
        return dataset
    copy = Folder(out).address("dataset")
    if not is_delta(copy):
        batches = read_table(dataset)
        schema = next(batches).schema
        if unknown := [field for field in schema if not delta.has_type(field)]:
            raise InvalidInput.of(
                "dataset",
                f"{dataset!r} is copied into a Delta table, which has no type for "
                + ", ".join(f"{field.name!r} ({field.type})" for field in unknown)
                + "; leave these columns out, or write them as texts or numbers",
            )
        from relabel_service.tables.formats import store  # half a second, only where needed

        rows = (batch for table in batches for batch in table.to_batches())
        store.write_table(pa.RecordBatchReader.from_batches(schema, rows), copy)
    return copy
