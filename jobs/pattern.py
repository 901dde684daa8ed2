"""Find the rows that are similar to a few example errors, for people to label blind.

    python -m jobs.pattern --dataset data/train --findings data/findings --run-id late-refunds \\
        --case "refund has not arrived" --case "where is my money back" --label billing --top 200
    python -m jobs.pattern … --similarity-by regex --case "refund .*(late|arrived)" --label billing
    python -m jobs.pattern … --case-id row-17 --case-id row-90 --label billing --threshold 0.4
    python -m jobs.pattern … --cases bad.parquet --similarity-by embedding --encoder ID_OR_PATH

A campaign takes the run as any other, and jobs.merge merges its results.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console

from cluster.data.rows import Source, latest, rows
from cluster.engine.base import Engine
from cluster.inference.predict import InferenceConfig
from cluster.io.tables import count_rows
from cluster.similar.find import ExampleError, FindConfig, find
from cluster.similar.similarity import Similarity
from jobs.common import options
from jobs.common.progress import progress_on
from jobs.common.session import run, session
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.tables.lineage import decided_by_people
from relabel_service.tasks import task_named

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
@options.grouped
def main(
    columns: options.ColumnOptions,
    selection: options.SelectionOptions,
    engine: options.EngineOptions,
    dataset: options.Dataset,
    findings: Annotated[str, typer.Option(help="Delta table to write findings to")],
    run_id: Annotated[str, typer.Option(help="names this run; repeated, it prints its result")],
    case: Annotated[
        list[str] | None,
        typer.Option(help="content of an example error, or an expression; again for more"),
    ] = None,
    case_id: Annotated[
        list[str] | None,
        typer.Option(help="row of the data set that is an example error; again for more"),
    ] = None,
    label: Annotated[str | None, typer.Option(help="right label of these cases")] = None,
    new_class: Annotated[
        bool, typer.Option("--new-class", help="the right label may be one that no row has yet")
    ] = False,
    cases: Annotated[
        str | None,
        typer.Option(help="table of example errors: content and label columns, labels right"),
    ] = None,
    similarity_by: Annotated[
        Similarity, typer.Option(help="how similarity is measured")
    ] = Similarity.TOKENS,
    encoder: options.Encoder = None,
    version: options.Version = None,
    lineage: Annotated[
        str | None, typer.Option(help="lineage table: labels decided there are not findings")
    ] = None,
) -> None:
    """Search; prints JSON."""
    workers = engine.workers()
    source = columns.source(dataset, version=version)
    with session(engine.engine, workers=workers) as running:
        examples = [
            *_of_contents(source, case or [], label, similarity_by),
            *_of_rows(running, source, case_id or [], label),
            *(_of_table(running, source, cases) if cases else []),
        ]
        config = FindConfig(
            source=source,
            examples=tuple(examples),
            similarity_by=similarity_by,
            findings_uri=findings,
            run_id=run_id,
            selection=selection.selection(),
            encoder=encoder,
            inference=InferenceConfig(workers=workers),
            decided=decided_by_people(lineage),
            new_classes=new_class,
        )
        num_rows = count_rows(source.uri, source.version)
        with (
            progress_on(Console(stderr=True)) as progress,
            progress.step("pattern: rows", num_rows) as advance,
        ):
            result = find(config, running, on_rows=advance)
    print(json.dumps(asdict(result), indent=2))


def _of_contents(
    source: Source, texts: Sequence[str], label: str | None, similarity_by: Similarity
) -> list[ExampleError]:
    """Errors that are given by their content, or as expressions."""
    examples = []
    for text in texts:
        content = text
        if similarity_by is not Similarity.REGEX:
            content = task_named(source.task).read_content({source.content_columns[0]: text})
        examples.append(ExampleError(content, _right_label(source, label, content), text))
    return examples


def _of_rows(
    engine: Engine, source: Source, ids: Sequence[str], label: str | None
) -> list[ExampleError]:
    """Errors that are rows of the data set. Raises NotFound naming those that are not there."""
    if not ids:
        return []
    wanted = pa.array(ids, pa.string())

    def keep(batch: pa.Table) -> pa.Table:
        return batch.filter(
            pc.and_(batch["fault"].is_null(), pc.is_in(batch["id"], value_set=wanted))
        )

    kept = rows(engine, source).map(keep).to_table().to_pylist()
    contents: dict[str, set[str]] = {}  # an id may stand for several rows: all of them are meant
    for row in kept:
        contents.setdefault(row["id"], set()).add(row["content"])
    if missing := [row_id for row_id in ids if row_id not in contents]:
        raise NotFound(
            f"{source.uri!r} has no valid row {', '.join(map(repr, missing))}; name rows by id"
        )
    return [
        ExampleError(content, _right_label(source, label, content), row_id)
        for row_id in ids
        for content in sorted(contents[row_id])
    ]


def _of_table(engine: Engine, source: Source, uri: str) -> list[ExampleError]:
    """Errors of a table of their own. Raises InvalidInput naming the first invalid row's fault."""
    table = rows(engine, latest(replace(source, uri=uri, version=None))).to_table().to_pylist()
    for row in table:
        if row["fault"]:
            raise InvalidInput.of("cases", f"{uri!r}, row {row['id']!r}: {row['fault']}")
    return [ExampleError(row["content"], row["label"], row["id"]) for row in table]


def _right_label(source: Source, label: str | None, content: str) -> str:
    if label is None:
        raise InvalidInput.of("label", "is not given; say which label is right for these cases")
    return task_named(source.task).read_label(label, content)


if __name__ == "__main__":
    run(app)
