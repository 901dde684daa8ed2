"""The small tables that a campaign mixes in: gold items, and the audit sample."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from relabel_service.errors import InvalidInput, NotFound
from relabel_service.queue.campaigns import Settings
from relabel_service.queue.findings_reader import FindingsRun
from relabel_service.queue.item_bytes import alternatives
from relabel_service.queue.row_checks import NOT_OF_THE_TASK, Faults, check_columns, row_fault
from relabel_service.tables import delta
from relabel_service.tasks import task_named

GOLD_LABEL = "gold_label"


def check_samples(settings: Settings, *, task: str, classes: Iterable[str]) -> None:
    """Look at the tables before the campaign is made, rather than stop its import.

    Raises InvalidInput naming the field: no such run, a missing column, a row that cannot be an
    item, a label of no class.
    """
    if settings.gold_uri:
        rows = _rows("campaign.gold", settings.gold_uri, settings.gold_run_id, task, [GOLD_LABEL])
        for row in rows:
            label = row[GOLD_LABEL]
            valid = label is not None and not task_named(task).label_fault(label, list(classes))
            if not valid:
                raise InvalidInput.of(
                    "campaign.gold.uri",
                    f"has {GOLD_LABEL} {label!r} in row {row['id']!r}, which is not a label of "
                    "the campaign; fix the row, or leave it out",
                )
    if settings.audit_uri:
        _rows("campaign.audit", settings.audit_uri, settings.audit_run_id, task, [])


def check_units(
    findings_uri: str, run_id: str, described: Mapping[str, Any], settings: Settings
) -> None:
    """Raises InvalidInput where gold or audit items have units and findings none, or the other way
    round: anybody would see which they are. described: as below."""
    if not settings.mixes:
        return
    run = FindingsRun(findings_uri, run_id, described["findings_version"])
    first = run.first(["unit"]) or {}
    for field, uri, of_run in _samples(settings):
        for row in sample(uri, of_run):
            if bool(row["unit"]) != bool(first["unit"]):
                raise InvalidInput.of(
                    f"campaign.{field}.uri",
                    f"row {row['id']!r} has the unit {row['unit']!r}, and the first finding "
                    f"{first['unit']!r}; give units where the findings have some, and only there",
                )


def _samples(settings: Settings) -> list[tuple[str, str, str]]:
    """Field, address and run of the tables that are mixed in."""
    tables = [
        ("gold", settings.gold_uri, settings.gold_run_id),
        ("audit", settings.audit_uri, settings.audit_run_id),
    ]
    return [table for table in tables if table[1]]


def hides_suggestions(
    findings_uri: str, run_id: str, described: Mapping[str, Any], settings: Settings
) -> bool:
    """Whether the campaign shows no suggestions: where gold or audit items are mixed in, and some
    item has none that differs from its human label (item_bytes.shown_suggestions).

    described: the campaign's task and findings_version. Reads no contents.
    """
    if not settings.mixes:
        return False
    columns, run = (
        ["human_label", "suggestions"],
        FindingsRun(findings_uri, run_id, described["findings_version"]),
    )
    samples = [delta.read_run(uri, of_run).select(columns) for _, uri, of_run in _samples(settings)]
    tables = chain(samples, run.tables(columns))
    return not all(_have_alternatives(described["task"], table) for table in tables)


def _have_alternatives(task: str, table: pa.Table) -> bool:
    rows = table.filter(pc.is_valid(table["human_label"])).combine_chunks()  # others are no items
    if not task_named(task).agrees_by_equality:
        return all(_has_alternative(task, row) for row in rows.to_pylist())
    suggestions = rows["suggestions"].combine_chunks()
    of_row = pc.list_parent_indices(suggestions)
    labels = pc.struct_field(pc.list_flatten(suggestions), "label")
    differ = pc.fill_null(
        pc.not_equal(labels, rows["human_label"].combine_chunks().take(of_row)), False
    )
    return len(pc.unique(of_row.filter(differ))) == len(rows)


def _has_alternative(task: str, row: Mapping[str, Any]) -> bool:
    try:
        suggestions = [(one["label"], one["probability"]) for one in row["suggestions"] or ()]
        return bool(alternatives(task, {**row, "suggestions": suggestions}))
    except NOT_OF_THE_TASK:
        return True  # not an item: the import says so


def sample(uri: str, run_id: str) -> list[dict[str, Any]]:
    """All rows of a small table; none without an address."""
    return list(delta.read_run(uri, run_id).to_pylist()) if uri else []


def _rows(field: str, uri: str, run_id: str, task: str, extra: list[str]) -> list[dict[str, Any]]:
    try:
        table = delta.read_run(uri, run_id)
    except NotFound as error:
        raise InvalidInput.of(f"{field}.uri", str(error)) from error
    check_columns(f"{field}.uri", uri, table.schema)
    if missing := sorted(set(extra) - set(table.column_names)):
        raise InvalidInput.of(
            f"{field}.uri", f"{uri!r} has no column {', '.join(missing)}; add it to the findings'"
        )
    if not table.num_rows:
        raise InvalidInput.of(f"{field}.run_id", f"run {run_id!r} of {uri!r} has no rows")
    rows, faults = list(table.to_pylist()), Faults()
    for row in rows:
        if fault := row_fault(row, task):
            faults.add(row["id"], fault)
    if faults.num:
        raise InvalidInput.of(f"{field}.uri", faults.sentence(len(rows)))
    return rows
