"""Items to hand over: a mine run's findings, or the rows of a table as they are labelled."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from relabel_service.errors import InvalidInput, NotFound
from relabel_service.media import prefixes
from relabel_service.tables import delta
from relabel_service.tables.formats.base import Table
from relabel_service.tables.row_ids import check_id_type, row_ids
from relabel_service.tasks import task_named
from relabel_service.tasks.base import Task
from relabel_service.tools.base import Handover
from relabel_service.v1 import items_pb2

INVALID = "rows are left out: they are not as the task needs them"


@dataclass(frozen=True)
class Columns:
    """The task of a table, and its columns. content: empty takes the task's usual ones. row_id:
    None names rows by their number, from 0."""

    task: str
    content: tuple[str, ...] = ()
    label: str = "label"
    row_id: str | None = None


def of_findings(
    uri: str, run_id: str, *, top: int | None = None, opened_under: Sequence[str] = ()
) -> Handover:
    """A run's findings, the worst first, at most `top`. Raises NotFound without such a run."""
    findings = delta.read_run(uri, run_id, num_rows=top)
    if not len(findings):
        raise InvalidInput.of("--run-id", f"{run_id!r} has no findings; there is nothing to export")
    first = findings.slice(0, 1).to_pylist()[0]
    opened = (*prefixes.of_table(uri), *opened_under)
    return Handover(first["task"], first["classes"] or (), _finding_items(findings), opened)


def _finding_items(findings: pa.Table) -> Iterator[items_pb2.Item]:
    for batch in findings.to_batches(max_chunksize=64):  # contents may be pictures
        for row in batch.to_pylist():
            task = task_named(row["task"])
            item = _item(task, row["id"], row["content"], row["human_label"])
            item.unit, item.reason = row["unit"] or "", row["reason"] or ""
            item.suspicion, item.rank = row["suspicion"], row["rank"]
            if row.get("preferred_label") is not None:
                item.preferred_label.CopyFrom(task.label_to_wire(row["preferred_label"]))
            for suggestion in row["suggestions"] or ():
                item.suggestions.add(
                    label=task.label_to_wire(suggestion["label"]),
                    probability=suggestion["probability"],
                )
            yield item


def of_table(
    table: Table, uri: str, columns: Columns, *, opened_under: Sequence[str] = ()
) -> Handover:
    """All rows of a table with their labels, in its order; rows that the task does not take are
    counted in the notes. Raises NotFound naming a column that the table lacks."""
    task = task_named(columns.task)
    content = columns.content or task.content_columns
    if not content:
        raise InvalidInput.of("--content-column", f"is needed: {columns.task} has no usual columns")
    wanted = [*content, columns.label, *([columns.row_id] if columns.row_id else [])]
    if missing := [name for name in wanted if name not in table.schema.names]:
        raise NotFound(
            f"{uri!r} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(table.schema.names)}: name its own with --content-column, --label-column "
            "and --id-column, or give the --run-id of findings"
        )
    if columns.row_id:
        check_id_type(columns.row_id, table.schema.field(columns.row_id).type)
    opened = (*prefixes.of_table(uri), *opened_under)
    notes: Counter[str] = Counter()
    return Handover(
        columns.task, (), _rows(table, task, content, columns, opened, notes), opened, notes
    )


def _rows(
    table: Table,
    task: Task,
    content: Sequence[str],
    columns: Columns,
    opened: Sequence[str],
    notes: Counter[str],
) -> Iterator[items_pb2.Item]:
    number = 0
    for batch in table.batches():
        ids: list[Any] = [None] * batch.num_rows
        if columns.row_id:
            ids = row_ids(pa.chunked_array([batch[columns.row_id]])).to_pylist()
        for row_id, row in zip(ids, batch.to_pylist(), strict=True):
            number += 1
            try:
                with prefixes.only_under(opened):
                    read = task.read_content({name: row[name] for name in content})
                    label = task.read_label(row[columns.label], read)
            except InvalidInput:
                notes[INVALID] += 1
                continue
            yield _item(task, str(number - 1) if row_id is None else row_id, read, label)


def _item(task: Task, row_id: str, content: str, label: str) -> items_pb2.Item:
    return items_pb2.Item(
        row_id=row_id,
        content=task.content_to_wire(content),
        human_label=task.label_to_wire(label),
    )
