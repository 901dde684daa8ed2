"""Reads results tables: the answers of one campaign, of one of its incarnations.

A campaign's id may come again, in a queue that was made anew. Their answers lie in one table, and
are not votes on the same items, so nothing reads several together.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from relabel_service.errors import InvalidInput, NotFound
from relabel_service.tables import delta, schemas

FIRST = "first"  # names the incarnation without a name: that of releases that drew none
WITHDRAWN = (
    "withdrawn"  # decision of a row that says: the labeler's answers until then do not count
)


def of_incarnation(campaign: str, incarnation: str | None) -> pads.Expression:
    """The results of one campaign. incarnation: None for one of an earlier release."""
    field = pads.field("incarnation")
    is_it = field.is_null() if incarnation is None else field == incarnation
    return (pads.field("campaign") == campaign) & is_it


def read_results(uri: str, campaign: str, *, incarnation: str | None = None) -> pa.Table:
    """schemas.RESULTS of one incarnation, each labeler's latest on an item that was not withdrawn;
    none without any.

    incarnation: its name, or FIRST; may be left out where there is one. Raises NotFound when there
    is no such table or incarnation, InvalidInput listing them where there are several.
    """
    rows = read_columns(uri, schemas.RESULTS.names, where=pads.field("campaign") == campaign)
    latest = _latest(rows.filter(_chosen(rows, uri, campaign, incarnation)))
    decision = pc.field("decision")
    return latest.filter((decision != WITHDRAWN) | decision.is_null())


def read_columns(
    uri: str, names: Sequence[str], *, where: pads.Expression | None = None
) -> pa.Table:
    """These columns of schemas.RESULTS; null where a table of an earlier release lacks one.

    Raises NotFound when there is no such table.
    """
    table = delta.open_table(uri)
    present = {column.name for column in table.schema().fields}
    rows = delta.scanner(table, [name for name in names if name in present], where=where).to_table()
    for name in names:
        if name not in present:
            rows = rows.append_column(name, pa.nulls(len(rows), schemas.RESULTS.field(name).type))
    return rows.select(list(names))


def _chosen(rows: pa.Table, uri: str, campaign: str, incarnation: str | None) -> pc.Expression:
    column = pc.fill_null(rows["incarnation"], FIRST)
    present = pc.unique(column).to_pylist()
    if incarnation is None and len(present) > 1:
        raise InvalidInput.of(
            "incarnation",
            f"{uri!r} holds answers of {len(present)} incarnations of campaign {campaign!r}: "
            f"{_listed(rows, column)}; votes of several queues are not pooled: name one "
            "(--incarnation)",
        )
    if incarnation is not None and incarnation not in present:
        raise NotFound(
            f"{uri!r} holds no answers of incarnation {incarnation!r} of campaign {campaign!r}; "
            f"it holds {_listed(rows, column) or 'none at all'}"
        )
    return (
        pads.field("incarnation").is_null()
        if incarnation == FIRST
        else (
            pads.scalar(True) if incarnation is None else pads.field("incarnation") == incarnation
        )
    )


def _listed(rows: pa.Table, column: pa.ChunkedArray) -> str:
    """Each incarnation with its count and times, the earliest first."""
    of_each = pa.table({"incarnation": column, "time": rows["submit_time"]})
    groups = of_each.group_by("incarnation").aggregate(
        [("time", "count"), ("time", "min"), ("time", "max")]
    )
    return ", ".join(
        f"{row['incarnation']} ({row['time_count']} answers from {_minute(row['time_min'])} to "
        f"{_minute(row['time_max'])})"
        for row in groups.sort_by("time_min").to_pylist()
    )


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _latest(rows: pa.Table) -> pa.Table:
    """Without answers that the labeler gave again, as where a queue was restored in between."""
    keys = ["rank", "id", "unit", "labeler"]
    if len(rows.group_by(keys).aggregate([])) == len(rows):
        return rows
    order = pc.sort_indices(rows, [("submit_time", "ascending")]).to_pylist()
    pairs = list(zip(*(rows[name].to_pylist() for name in keys), strict=True))
    last: dict[tuple[Any, ...], int] = {pairs[index]: index for index in order}
    return rows.take(sorted(last.values()))
