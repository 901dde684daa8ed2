"""True labels, where the data set has them: to measure with, and for simulated labelers."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pyarrow as pa

from cluster.data.rows import Source, check
from cluster.io.tables import read_table
from relabel_service.tasks.base import Task


def gold_labels(source: Source, column: str) -> dict[str, str]:
    """id -> label in the task's text form, read from `column` of a pinned source's valid rows."""
    source = replace(source, label_column=column)
    table = pa.concat_tables(read_table(source.uri, source.columns, version=source.version))
    checked: pa.Table = check(table, source=source)
    return {
        row["id"]: row["label"]
        for row in checked.select(["id", "label", "fault"]).to_pylist()
        if row["fault"] is None
    }


def wrong_keys(
    task: Task, labels: Mapping[str, str], gold: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Id and unit of each part of a label that is not the gold one. labels, gold: id -> label."""
    for row_id, label in labels.items():
        right = gold.get(row_id, label)
        for unit in task.units(sorted({*task.classes_in(label), *task.classes_in(right)})):
            if task.unit_label(label, unit) != task.unit_label(right, unit):
                yield row_id, unit
