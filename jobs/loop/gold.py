"""True labels, where the data set has them: to measure with, and for simulated labelers.

Where an id stands for several rows, it is that of the row that mining keeps (cluster/data/rows.py),
and nobody answers from gold that differs between them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from cluster.data.rows import Source, check, kept_of_copies
from cluster.io.tables import read_table
from relabel_service.tasks.base import Task


def gold_labels(source: Source, column: str) -> dict[str, str]:
    """id -> label in the task's text form, read from `column` of the row that is kept for the id.

    source: pinned. Rows whose own label or that of `column` is invalid are left out.
    """
    found = {}
    for row_id, copies in _rows_by_id(source, column).items():
        row = kept_of_copies(copies)
        if row["gold"] is not None:
            found[row_id] = str(row["gold"])
    return found


def agreed_gold_labels(source: Source, column: str) -> dict[str, str]:
    """As gold_labels, without the ids whose rows have several labels in `column`: a later version
    may keep another of them."""
    return {
        row_id: str(copies[0]["gold"])
        for row_id, copies in _rows_by_id(source, column).items()
        if len({row["gold"] for row in copies}) == 1 and copies[0]["gold"] is not None
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


def _rows_by_id(source: Source, column: str) -> dict[str, list[dict[str, str | None]]]:
    """id -> its valid rows, each with `gold`: None where `column` is invalid."""
    on_gold = replace(source, label_column=column)
    rows: dict[str, list[dict[str, str | None]]] = {}
    columns = list(dict.fromkeys([*source.columns, column]))
    for batch in read_table(source.uri, columns, version=source.version):
        checked, gold = check(batch, source=source), check(batch, source=on_gold)
        for row, label, fault in zip(
            checked.select(["id", "label", "content", "fault"]).to_pylist(),
            gold["label"].to_pylist(),
            gold["fault"].to_pylist(),
            strict=True,
        ):
            if row["fault"] is None:
                row["gold"] = None if fault else label
                rows.setdefault(row["id"], []).append(row)
    return rows
