"""The small tables that a campaign mixes in: gold items, and the audit sample."""

from collections.abc import Iterable
from typing import Any

from relabel_service.errors import InvalidInput, NotFound
from relabel_service.queue.campaigns import Settings
from relabel_service.tables import delta, schemas
from relabel_service.tasks import task_named

GOLD_LABEL = "gold_label"


def check_samples(settings: Settings, *, task: str, classes: Iterable[str]) -> None:
    """Look at the tables before the campaign is made, rather than stop its import.

    Raises InvalidInput naming the field: no such run, a missing column, a label of no class.
    """
    if settings.gold_uri:
        rows = _rows("campaign.gold", settings.gold_uri, settings.gold_run_id, [GOLD_LABEL])
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
        _rows("campaign.audit", settings.audit_uri, settings.audit_run_id, [])


def sample(uri: str, run_id: str) -> list[dict[str, Any]]:
    """All rows of a small table; none without an address."""
    return list(delta.read_run(uri, run_id).to_pylist()) if uri else []


def _rows(field: str, uri: str, run_id: str, extra: list[str]) -> list[dict[str, Any]]:
    # No preferred label: it would set these rows apart from the findings.
    optional = ("preferred_label", "copies")
    needed = [name for name in (*schemas.FINDINGS.names, *extra) if name not in optional]
    try:
        table = delta.read_run(uri, run_id)
    except NotFound as error:
        raise InvalidInput.of(f"{field}.uri", str(error)) from error
    if missing := sorted(set(needed) - set(table.column_names)):
        raise InvalidInput.of(
            f"{field}.uri",
            f"{uri!r} has no column {', '.join(missing)}; write the columns of the findings"
            + (f" and {GOLD_LABEL}" if extra else ""),
        )
    if not table.num_rows:
        raise InvalidInput.of(f"{field}.run_id", f"run {run_id!r} of {uri!r} has no rows")
    return list(table.select(["id", *extra]).to_pylist())
