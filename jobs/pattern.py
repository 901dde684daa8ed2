"""Find the rows that are like a few bad cases, and put them before people, blind.

    python -m jobs.pattern --dataset data/train --findings data/findings --run-id late-refunds \\
        --case "refund has not arrived" --case "where is my money back" --label billing --top 200
    python -m jobs.pattern … --similarity-by regex --case "refund .*(late|arrived)" --label billing
    python -m jobs.pattern … --case-id row-17 --case-id row-90 --label billing --threshold 0.4
    python -m jobs.pattern … --cases bad.parquet --similarity-by embedding --model sentence-encoder

A campaign is made of the run as of any other, and merged by jobs.merge.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import typer

from cluster.data.rows import Source, latest, rows
from cluster.engine.base import Engine
from cluster.engine.devices import Workers
from cluster.inference.predict import InferenceConfig
from cluster.mining.selection import Selection, parse_budget
from cluster.similar.find import ExampleError, Pattern, find
from cluster.similar.similarity import Similarity
from jobs.common import options
from jobs.common.session import ray_session, run
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.tables.lineage import decided_keys
from relabel_service.tasks import task_named

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    dataset: options.Dataset,
    findings: Annotated[str, typer.Option(help="Delta table to write findings to")],
    run_id: Annotated[str, typer.Option(help="names this run; repeated, it tells what it told")],
    case: Annotated[
        list[str] | None,
        typer.Option(help="content of a bad case, or an expression; again for more"),
    ] = None,
    case_id: Annotated[
        list[str] | None,
        typer.Option(help="row of the data set that is a bad case; again for more"),
    ] = None,
    label: Annotated[str | None, typer.Option(help="right label of these cases")] = None,
    new_class: Annotated[
        bool, typer.Option("--new-class", help="the right label may be one that no row has yet")
    ] = False,
    cases: Annotated[
        str | None,
        typer.Option(help="table of bad cases: the content and label columns, labels right"),
    ] = None,
    similarity_by: Annotated[
        Similarity, typer.Option(help="what makes rows alike")
    ] = Similarity.TOKENS,
    model: Annotated[
        str | None, typer.Option(help="encoder for embeddings: Hugging Face id or local path")
    ] = None,
    task: options.TaskName = "text_classification",
    content_column: options.ContentColumns = None,
    label_column: options.LabelColumn = "label",
    id_column: options.IdColumn = None,
    version: options.Version = None,
    top: options.Top = None,
    budget: options.Budget = None,
    threshold: options.Threshold = None,
    lineage: Annotated[
        str | None, typer.Option(help="lineage table; labels decided there are not asked again")
    ] = None,
    num_workers: options.NumWorkers = 1,
    use_gpu: options.UseGpu = False,
    cpus_per_gpu: options.CpusPerGpu = 1,
) -> None:
    """Search; prints JSON."""
    source = options.source_of(
        dataset,
        task=task,
        content_columns=content_column,
        label_column=label_column,
        id_column=id_column,
        version=version,
    )
    selection = Selection(
        top=top, budget=parse_budget(budget) if budget else None, threshold=threshold
    )
    with ray_session() as engine:
        known = [
            *_typed(source, case or [], label, similarity_by),
            *_of_rows(engine, source, case_id or [], label),
            *(_of_table(engine, source, cases) if cases else []),
        ]
        found = find(
            Pattern(
                source=source,
                cases=tuple(known),
                similarity_by=similarity_by,
                findings_uri=findings,
                run_id=run_id,
                selection=selection,
                model=model,
                inference=InferenceConfig(workers=Workers(num_workers, use_gpu, cpus_per_gpu)),
                decided=decided_keys(lineage),
                new_classes=new_class,
            ),
            engine,
        )
    print(json.dumps(asdict(found), indent=2))


def _typed(
    source: Source, given: Sequence[str], label: str | None, similarity_by: Similarity
) -> list[ExampleError]:
    """Cases given by their content, or as expressions."""
    found = []
    for text in given:
        content = text
        if similarity_by is not Similarity.REGEX:
            content = task_named(source.task).read_content({source.content_columns[0]: text})
        found.append(ExampleError(content, _right(source, label, content), text))
    return found


def _of_rows(
    engine: Engine, source: Source, ids: Sequence[str], label: str | None
) -> list[ExampleError]:
    """Cases that are rows of the data set. Raises NotFound naming those that are not there."""
    if not ids:
        return []
    wanted = pa.array(ids, pa.string())

    def keep(batch: pa.Table) -> pa.Table:
        return batch.filter(
            pc.and_(batch["fault"].is_null(), pc.is_in(batch["id"], value_set=wanted))
        )

    found = rows(engine, source).map(keep).to_table().to_pylist()
    contents = {row["id"]: row["content"] for row in found}
    if missing := [name for name in ids if name not in contents]:
        raise NotFound(
            f"{source.uri!r} has no fit row {', '.join(map(repr, missing))}; name rows by their id"
        )
    return [ExampleError(contents[one], _right(source, label, contents[one]), one) for one in ids]


def _of_table(engine: Engine, source: Source, uri: str) -> list[ExampleError]:
    """Cases of a table of their own. Raises InvalidInput naming the first unfit row's fault."""
    table = latest(replace(source, uri=uri, version=None))
    found = rows(engine, table).to_table().to_pylist()
    for row in found:
        if row["fault"]:
            raise InvalidInput.of("cases", f"{uri!r}, row {row['id']!r}: {row['fault']}")
    return [ExampleError(row["content"], row["label"], row["id"]) for row in found]


def _right(source: Source, label: str | None, content: str) -> str:
    if label is None:
        raise InvalidInput.of("label", "is not given; say which label is right for the bad cases")
    return task_named(source.task).read_label(label, content)


if __name__ == "__main__":
    run(app)
