"""Fills a campaign from its Delta tables: in a stream, in steps that may be repeated.

A step is one transaction, and the campaign's num_imported says which is next, so whoever comes
goes on where another was cut off (server/background.py). The
table's version is fixed when the campaign is made, so every reader sees the same rows.
"""

import random
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from relabel_service.errors import InvalidInput, NotFound
from relabel_service.queue import campaigns, progress
from relabel_service.queue.campaigns import AUDIT, FINDING, GOLD, Campaign
from relabel_service.queue.control_items import GOLD_LABEL, sample
from relabel_service.queue.findings_reader import FindingsRun
from relabel_service.queue.item_bytes import serialize_item, shown_suggestions
from relabel_service.queue.ordering import ALIKE_TOGETHER, Ordering, mixed_in
from relabel_service.queue.ordering_cache import OrderingCache
from relabel_service.queue.row_checks import (
    AGAIN,
    NOT_OF_THE_TASK,
    Faults,
    InvalidRows,
    check_columns,
    check_ranks,
    row_fault,
    value_fault,
)
from relabel_service.queue.store import Store
from relabel_service.tables import delta, preflight
from relabel_service.tables.fingerprint import content_fingerprint
from relabel_service.tasks import TASKS, task_named

_orderings = OrderingCache()  # of this process


def describe(findings_uri: str, run_id: str, *, item_order: str) -> dict[str, Any]:
    """What a campaign copies from its run: task, classes, num_items, findings_version.

    Raises NotFound when the table or the run is not there, InvalidInput when it is empty, its
    contents cannot be put in that order, or the table that it is about would not take what people
    decide.
    """
    if not delta.is_committed(findings_uri, run_id):
        raise NotFound(
            f"findings table {findings_uri!r} has no run {run_id!r}; use the one that mine printed"
        )
    findings = delta.open_table(findings_uri)
    preflight.require_origin_writable(findings, run_id)
    version = findings.version()
    run = FindingsRun(findings_uri, run_id, version)
    check_columns("campaign.findings_uri", findings_uri, run.schema)
    num_items = run.num_rows()
    first = run.first(["id", "task", "classes", "content"])
    if first is None:
        raise InvalidInput.of(
            "campaign.run_id",
            f"run {run_id!r} has no findings, so there is nothing to ask people about",
        )
    check_ranks("campaign.run_id", run.tables(["id", "rank"]), num_items)
    classes = [None] if first["classes"] is None else first["classes"]
    if first["task"] not in TASKS or None in (first["content"], *classes):
        raise InvalidInput.of(
            "campaign.run_id",
            f"row {first['id']!r}, the first of run {run_id!r}, has the task {first['task']!r} and "
            f"the classes {first['classes']}; {AGAIN}",
        )
    if (
        item_order == ALIKE_TOGETHER
        and task_named(first["task"]).compared_text(first["content"]) is None
    ):
        raise InvalidInput.of(
            "campaign.item_order",
            f"alike-together cannot compare contents of {first['task']} like the first; use "
            "worst-first or by-class",
        )
    return {
        "task": first["task"],
        "classes": tuple(first["classes"]),
        "num_items": num_items,
        "findings_version": version,
    }


def fill(store: Store, campaign: str, *, within_s: float) -> Campaign:
    """Take steps until the campaign is full or the time is up; the campaign as it is then.

    Where rows cannot be items, however often they are read, the campaign is closed and its
    operation says why. Raises NotFound when the campaign, or a table it names, is not there.
    """
    ends = time.monotonic() + within_s
    with store.read_transaction() as (connection, _):
        present = campaigns.get(connection, campaign)
    if present.state != "importing":
        return present
    run = FindingsRun(present.findings_uri, present.run_id, present.findings_version)
    ordering = _orderings.get(present, run, within_s=within_s)
    if ordering is None:
        return present
    end = 0
    try:
        for batch in run.batches():
            start, end = end, end + batch.num_rows
            # Steps of whoever was here before may have ended anywhere.
            while present.num_imported < end and present.state == "importing":
                present = _step(store, present, batch.slice(present.num_imported - start), ordering)
                if time.monotonic() > ends:
                    return present
        present = _finish(store, present, ordering)
    except InvalidRows as error:
        fault = _told(present, run, error, ends=ends)
        present = _end(store, present, InvalidInput.of("campaign.findings_uri", fault))
    _orderings.evict(present)
    return present


def _told(present: Campaign, run: FindingsRun, error: InvalidRows, *, ends: float) -> str:
    """What is wrong with all rows, as far as there is time to look at them."""
    faults, num_seen = Faults(), 0
    for batch in run.batches():
        for row in batch.to_pylist():
            if fault := row_fault(row, present.task):
                faults.add(row["id"], fault)
        num_seen += batch.num_rows
        if faults.num and time.monotonic() > ends:
            break
    if not faults.num:
        return error.violations[0].description  # of gold or audit items
    return faults.sentence(present.num_items, at_least=num_seen < present.num_items)


def _end(store: Store, present: Campaign, error: InvalidInput) -> Campaign:
    """The import is over, and says why."""
    with store.write_transaction(campaign=present.campaign, alone=True) as (connection, now):
        stored = campaigns.get(connection, present.campaign)
        if stored.state != "importing":
            return stored
        progress.record_failure(connection, present.campaign, error, now=now)
        return campaigns.move(
            connection, present.campaign, to="closed", among=["importing"], revision=None
        )


def _step(store: Store, present: Campaign, batch: pa.Table, ordering: Ordering) -> Campaign:
    """Store the next rows, unless somebody else has by now; the campaign as it is then."""
    items = [_item(present, row, FINDING, row["rank"], ordering(row)) for row in batch.to_pylist()]
    with store.write_transaction(campaign=present.campaign, alone=True) as (connection, _):
        stored = campaigns.get(connection, present.campaign)
        if stored.num_imported != present.num_imported or stored.state != "importing":
            return stored
        campaigns.add_items(connection, stored, items)
        return campaigns.add_imported(connection, stored, batch.num_rows)


def _finish(store: Store, present: Campaign, ordering: Ordering) -> Campaign:
    settings, num_findings = present.settings, present.num_items
    chance = random.Random(f"{present.campaign}/{settings.secret}")
    audit = sample(settings.audit_uri, settings.audit_run_id)
    gold = sample(settings.gold_uri, settings.gold_run_id)
    rows = [(row, AUDIT) for row in audit] + [(row, GOLD) for row in gold]
    with store.write_transaction(campaign=present.campaign, alone=True) as (connection, _):
        present = campaigns.get(connection, present.campaign)
        if present.state != "importing":
            return present
        items = []
        for rank, (row, kind) in enumerate(rows, num_findings):
            # Its sort key is that of a random finding, so it comes somewhere among them.
            beside = {**row, "rank": chance.randrange(num_findings)}
            sort_key = mixed_in(ordering(beside), settings.item_order)
            items.append(_item(present, row, kind, rank, sort_key))
        campaigns.add_items(connection, present, items)
        present = campaigns.start(connection, present, num_items=num_findings + len(audit))
    store.analyze()
    return present


def _item(
    campaign: Campaign, row: dict[str, Any], kind: str, rank: int, sort_key: int
) -> dict[str, Any]:
    """Raises InvalidRows where the row cannot be an item."""
    if fault := value_fault(row, campaign.task):
        raise _invalid(row, kind, fault)
    try:
        return _checked_item(campaign, row, kind, rank, sort_key)
    except NOT_OF_THE_TASK as error:
        fault = row_fault(row, campaign.task) or f"is not of {campaign.task}: {str(error)[:200]}"
        raise _invalid(row, kind, fault) from error


def _invalid(row: Mapping[str, Any], kind: str, fault: str) -> InvalidInput:
    return InvalidRows.of("campaign", f"{kind} row {row['id']!r} {fault}; {AGAIN}")


def _checked_item(
    campaign: Campaign, row: dict[str, Any], kind: str, rank: int, sort_key: int
) -> dict[str, Any]:
    suggestions = [(s["label"], s["probability"]) for s in row["suggestions"] or ()]
    shown = {
        **row,
        "rank": rank,
        "row_id": row["id"],
        "unit": row["unit"] or "",
        "suggestions": suggestions,
        "reason": row["reason"] or "",
    }
    item_bytes, hint_bytes = serialize_item(campaign, shown)
    return {
        "rank": rank,
        "kind": kind,
        "sort_key": sort_key,
        "row_id": shown["row_id"],
        "unit": shown["unit"],
        "human_label": row["human_label"],
        "suggestion": next((label for label, _ in shown_suggestions(campaign, shown)), None),
        "gold_label": row.get(GOLD_LABEL) if kind == GOLD else None,
        "fingerprint": content_fingerprint(row["content"]),
        "suspicion": row["suspicion"],
        "item_bytes": item_bytes,
        "hint_bytes": hint_bytes,
    }
