"""What decisions come to: the rows that people were shown, and what becomes of them.

A decision is about a content and a label as they were when the row was mined. Where a row has
another content or label by now, or is gone, somebody else was at work: writing is refused, or,
where asked, leaves those rows alone. Several rows may have one id: the shown one is written.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from deltalake import DeltaTable

from cluster.data.rows import Source, check
from relabel_service.errors import Conflict, InvalidInput, NotFound
from relabel_service.tables import delta
from relabel_service.tables.fingerprint import content_fingerprint
from relabel_service.tables.row_ids import row_ids
from relabel_service.tables.row_rules import broken_by, rules_of
from relabel_service.tasks import task_named
from relabel_service.tasks.base import Task

MADE_KEY = "relabel.made_by"  # commit metadata: the app_id of the write that made the version
MAX_NAMED = 3  # rows that an error names
KEEPING = ("OPTIMIZE", "DELETE", "VACUUM START", "VACUUM END")  # commits that replace no content
MAX_EARLIER = 10  # versions that are read for contents of which no fingerprint was kept
Refused = tuple[Mapping[str, Any], str]  # a decision, and why it is not written


class Action(StrEnum):
    """What a decision does to its row."""

    SET = "set"  # another label
    DROP = "drop"  # the row is in no later version
    WEIGHT = "weight"  # the row counts more or less in training


@dataclass(frozen=True)
class WriteConfig:
    """What to write.

    decisions: rows of votes.majority.DECISIONS, with `weight` where the action is WEIGHT.
    app_id: names the write; a second one of the same name changes nothing.
    policy: which rule decided, None where people did.
    weight_column: where weights go; made when the table has none.
    skip_changed: leave rows alone whose label changed meanwhile, or whose
    content the new label is incompatible with, rather than refuse.
    """

    source: Source
    decisions: Sequence[Mapping[str, Any]]
    app_id: str
    lineage_uri: str
    action: Action = Action.SET
    policy: str | None = None
    weight_column: str = "weight"
    skip_changed: bool = False


@dataclass(frozen=True)
class Updates:
    """One line a row to be written. keys: columns of the table that tell the row; values: columns,
    some perhaps new, and what they are to hold."""

    keys: pa.Table
    values: pa.Table


def plan(config: WriteConfig, source: Source) -> tuple[list[dict[str, Any]], Updates]:
    """The decisions that hold for a pinned source, and what to write.

    Raises Conflict, or InvalidInput when a new label is incompatible with its row's content or
    with a rule of the table.
    """
    task, table = task_named(source.task), delta.open_table(source.uri, source.version)
    schema, rules = pa.schema(table.schema().to_arrow()), rules_of(table)
    ids = {row_id for row in config.decisions for row_id in (row["id"], *(row.get("copies") or ()))}
    columns = schema.names if rules else source.columns
    present, repeated = _present(source, table, columns, ids)
    earlier = _earlier_contents(source, table, config.decisions)
    kept: list[tuple[dict[str, Any], list[Row]]] = []
    changed_meanwhile: list[Refused] = []
    incompatible: list[Refused] = []
    for decision in config.decisions:
        rows = _shown_rows(decision, present.get(decision["id"], []), task)
        if not isinstance(rows, str) and earlier.get(decision["id"], set()) - {rows[0].content}:
            rows = "had another content in an earlier version, and which was shown is not known"
        if isinstance(rows, str):
            changed_meanwhile.append((decision, rows))
            continue
        copies = _copies(decision, rows[0], present, task)
        rows += [row for of_copy in copies.values() for row in of_copy]
        held = {**decision, "copies": sorted(copies) or None}
        if config.action is Action.SET:
            try:
                held["new_label"] = _set_label(decision, rows, task, schema, source)
            except InvalidInput as error:
                incompatible.append((decision, error.violations[0].description))
                continue
        changed = config.action is not Action.SET or held["new_label"] != held["previous_label"]
        kept.append(({**held, "changed": changed, "num_rows": len(rows)}, rows))
    if config.action is Action.SET:
        kept, broken = _within_rules(source, schema, rules, kept)
        incompatible += broken
    if changed_meanwhile and not config.skip_changed:
        raise Conflict(_changed_message(source, changed_meanwhile))
    if incompatible and not config.skip_changed:
        raise InvalidInput.of("label", _incompatible_message(incompatible))
    touched = [(decision, rows) for decision, rows in kept if decision["changed"]]
    updates = _updates(config, source, schema, touched, repeated=repeated)
    return [decision for decision, _ in kept], updates


@dataclass
class Row:
    """A valid row of the table, and what becomes of it. own: its columns as they are.

    label: the text form, as decisions leave it.
    """

    content: str
    label_before: str
    label: str
    own: Mapping[str, Any]
    value: Any = None
    """What the label column is to hold; None until a decision sets it."""


def _present(
    source: Source, table: DeltaTable, columns: Sequence[str], ids: set[str]
) -> tuple[dict[str, list[Row]], bool]:
    """id -> its valid rows, of the rows that were decided; and whether an id has several rows,
    valid or not. columns: that are read of them."""
    wanted = None
    if source.id_column:
        wanted = _is_one_of(source, table, source.id_column, ids)
    rows: dict[str, list[Row]] = {}
    num_rows: Counter[str] = Counter()
    for batch in _batches(source, table, columns, where=wanted):
        own = pa.Table.from_batches([batch])
        checked = check(own, source=source).to_pylist()
        for row, of_row in zip(checked, own.to_pylist(), strict=True):
            if row["id"] not in ids:
                continue
            num_rows[row["id"]] += 1
            if row["fault"] is None:
                found = Row(row["content"], row["label"], row["label"], of_row)
                rows.setdefault(row["id"], []).append(found)
    return rows, any(number > 1 for number in num_rows.values())


def _earlier_contents(
    source: Source, table: DeltaTable, decisions: Sequence[Mapping[str, Any]]
) -> dict[str, set[str]]:
    """id -> contents it had, of decisions that do not say what was shown: those of an earlier
    release whose findings are gone. Without an id column contents are the ids."""
    ids = {row["id"] for row in decisions if row.get("fingerprint") is None}
    found: dict[str, set[str]] = {}
    if not ids or not source.id_column:
        return found
    replacing = [
        int(commit["version"])
        for commit in table.history()
        if commit["version"] > 0
        and MADE_KEY not in commit
        and commit.get("operation") not in KEEPING
        and commit.get("operationParameters", {}).get("mode") != "Append"
    ]
    for version in sorted(replacing, reverse=True)[:MAX_EARLIER]:
        try:
            before = delta.open_table(source.uri, version - 1)
            rows, _ = _present(source, before, source.columns, ids)
        except (NotFound, InvalidInput, KeyError, pa.ArrowInvalid):
            continue  # cleaned up, vacuumed, or of other columns then
        for row_id, copies in rows.items():
            found.setdefault(row_id, set()).update(row.content for row in copies)
    return found


def _batches(
    source: Source,
    table: DeltaTable,
    columns: Sequence[str],
    *,
    where: pads.Expression | None = None,
) -> Iterator[pa.RecordBatch]:
    with delta.readable(source.uri):
        yield from delta.scanner(table, columns, where=where).to_batches()


def _is_one_of(source: Source, table: DeltaTable, column: str, ids: set[str]) -> pads.Expression:
    """Rows whose id row_ids writes so, told by the values in the column's own type."""
    kind = pa.schema(table.schema().to_arrow()).field(column).type
    wanted = pa.array(sorted(ids), pa.string())
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return pads.field(column).cast(pa.string()).isin(wanted)
    found = [
        batch[column].filter(
            pc.is_in(row_ids(pa.chunked_array([batch[column]])), wanted).combine_chunks()
        )
        for batch in _batches(source, table, [column])
    ]
    return pads.field(column).isin(pa.chunked_array(found, kind).unique())


def _shown_rows(decision: Mapping[str, Any], rows: Sequence[Row], task: Task) -> list[Row] | str:
    """The rows that people were shown by what they decided on, or why there is none.

    The label is asked as the row has it now, not as earlier decisions here leave it: one unit's
    decision may take a token from another unit, about which people then decided before.
    """
    if not rows:
        return f"was {decision['previous_label']!r} and is gone"
    of_content = [row for row in rows if _has_content(decision, row.content)]
    if not of_content:
        return "has another content"
    found = [row for row in of_content if _has_label(decision, row.label_before, task)]
    if not found:
        return f"was {decision['previous_label']!r} and is {of_content[0].label_before!r}"
    if len({row.content for row in found}) > 1:
        return f"is the id of {len(found)} rows of that label, and which was shown is not known"
    return found


def _copies(
    decision: Mapping[str, Any], shown: Row, present: Mapping[str, list[Row]], task: Task
) -> dict[str, list[Row]]:
    """id -> rows of the decision's copies that are still the same in content and label."""
    found = {
        row_id: [
            row
            for row in present.get(row_id, [])
            if row.content == shown.content and _has_label(decision, row.label_before, task)
        ]
        for row_id in decision.get("copies") or ()
    }
    return {row_id: rows for row_id, rows in found.items() if rows}


def was_shown(decision: Mapping[str, Any], content: str, label: str, task: Task) -> bool:
    """Whether the decision is about a row of this content and label, as far as it says."""
    return _has_content(decision, content) and _has_label(decision, label, task)


def _has_content(decision: Mapping[str, Any], content: str) -> bool:
    fingerprint = decision.get("fingerprint")
    return fingerprint is None or content_fingerprint(content) == fingerprint


def _has_label(decision: Mapping[str, Any], label: str, task: Task) -> bool:
    return bool(task.unit_label(label, decision["unit"]) == decision["previous_label"])


def _set_label(
    decision: Mapping[str, Any], rows: Sequence[Row], task: Task, schema: pa.Schema, source: Source
) -> str:
    """Give the rows the new label; the unit's part of it as the column holds it.

    Raises InvalidInput when the label is incompatible with the content.
    """
    kind, unit = schema.field(source.label_column).type, decision["unit"]
    found = []
    for row in rows:
        label = task.with_unit_label(row.label, unit, decision["new_label"])
        value = task.write_label(label, row.content, row.own[source.label_column])
        if fault := task.incompatible_label(label, task.content_to_wire(row.content)):
            raise InvalidInput.of("label", fault)
        if (held := as_held(value, kind)) != value:
            value, label = held, task.read_label(held, row.content)
        found.append((row, label, value))
    for row, label, value in found:
        row.label, row.value = label, value
    return task.unit_label(found[0][1], unit)


def _within_rules(
    source: Source,
    schema: pa.Schema,
    rules: Mapping[str, str],
    decided: Sequence[tuple[dict[str, Any], list[Row]]],
) -> tuple[list[tuple[dict[str, Any], list[Row]]], list[Refused]]:
    """The decisions whose rows keep the table's rules; and the others, with the reason."""
    rows = {id(row): row for decision, of_it in decided if decision["changed"] for row in of_it}
    if not rules or not rows:
        return list(decided), []
    columns = {
        field.name: _column(
            [
                row.value if field.name == source.label_column else row.own[field.name]
                for row in rows.values()
            ],
            field.type,
        )
        for field in schema
    }
    broken = broken_by(pa.table(columns), rules)
    reasons = {row: broken[place] for place, row in enumerate(rows) if place in broken}
    kept: list[tuple[dict[str, Any], list[Row]]] = []
    left: list[Refused] = []
    for decision, of_it in decided:
        reason = next((reasons[id(row)] for row in of_it if id(row) in reasons), None)
        if reason is None:
            kept.append((decision, of_it))
        else:
            left.append((decision, reason))
    return kept, left


def as_held(value: Any, kind: pa.DataType) -> Any:
    """The value as a label column of this type holds it: numbers rounded where it holds fewer
    decimals.

    Raises InvalidInput where it holds none such.
    """
    try:
        return _column([_rounded(value, kind)], kind)[0].as_py()
    except (pa.ArrowException, ArithmeticError, ValueError):
        raise InvalidInput.of(
            "label",
            f"{value!r} cannot be held by a label column of {kind}; give a label that can, or copy "
            "the rows into a table whose column holds texts",
        ) from None


def _rounded(value: Any, kind: pa.DataType) -> Any:
    if pa.types.is_struct(kind) and isinstance(value, Mapping):
        return {field.name: _rounded(value.get(field.name), field.type) for field in kind}
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and isinstance(value, list):
        return [_rounded(one, kind.value_type) for one in value]
    if isinstance(value, float) and pa.types.is_integer(kind):
        return round(value)
    if isinstance(value, float) and pa.types.is_decimal(kind):
        return round(Decimal(str(value)), kind.scale)
    return value


def _updates(
    config: WriteConfig,
    source: Source,
    schema: pa.Schema,
    touched: Sequence[tuple[Mapping[str, Any], Sequence[Row]]],
    *,
    repeated: bool,
) -> Updates:
    """What to write.

    repeated: whether ids stand for several rows; then content and label tell them, too.
    """
    weights: dict[int, float] = {}
    rows = {id(row): row for _, of_decision in touched for row in of_decision}
    for decision, of_decision in touched:
        for row in of_decision:
            weight = decision.get("weight") or 0.0
            weights[id(row)] = min(weight, weights.get(id(row), weight))
    keys = _keys(source, repeated=repeated)
    distinct = list({repr([row.own[name] for name in keys]): row for row in rows.values()}.values())
    telling = {
        name: _column([row.own[name] for row in distinct], schema.field(name).type) for name in keys
    }
    values = {}
    if config.action is Action.SET:
        kind = schema.field(source.label_column).type
        values[source.label_column] = _column([row.value for row in distinct], kind)
    if config.action is Action.WEIGHT:
        field = schema.get_field_index(config.weight_column)
        kind = schema.field(field).type if field >= 0 else pa.float64()
        of_rows = pa.array([weights[id(row)] for row in distinct])
        try:
            values[config.weight_column] = of_rows.cast(kind)
        except pa.ArrowException as error:
            raise InvalidInput.of(
                "weight_column",
                f"column {config.weight_column!r} of {source.uri!r} is of {kind}, which cannot "
                f"hold the weights ({error}); name another column, or one that is not there yet",
            ) from None
    return Updates(pa.table(telling), pa.table(values))


def _keys(source: Source, *, repeated: bool) -> list[str]:
    """Columns that tell a row from all others that are not the same."""
    names = [source.id_column] if source.id_column else list(source.content_columns)
    if repeated:
        names += [*source.content_columns, source.label_column]
    return list(dict.fromkeys(names))


def _column(values: Sequence[Any], column_type: pa.DataType) -> pa.Array:
    """Values in a column's own type."""
    if pa.types.is_nested(column_type):  # from empty lists alone no item type can be inferred
        return pa.array(values, column_type)
    return pa.array(values).cast(column_type)


def _changed_message(source: Source, rows: Sequence[Refused]) -> str:
    examples = "; ".join(f"{row['id']!r} {reason}" for row, reason in rows[:MAX_NAMED])
    return (
        f"{len(rows)} rows of {source.uri!r} are not as they were shown: {examples}; "
        "mine the present version and ask again, or leave these rows alone (--skip-changed)"
    )


def _incompatible_message(incompatible: Sequence[Refused]) -> str:
    examples = "; ".join(f"{row['id']!r}: {reason}" for row, reason in incompatible[:MAX_NAMED])
    return (
        f"{len(incompatible)} new labels are incompatible with their rows: {examples}; "
        "ask about these rows again, and leave them alone here (--skip-changed)"
    )
