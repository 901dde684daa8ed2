"""Fills a campaign from its Delta tables: in a stream, in steps that may be repeated.

Whoever waits for the campaign does the next steps, so there is no worker to die: a
step is one transaction, and the campaign's num_imported says which is next. The
table's version is fixed when the campaign is made, so every reader sees the same rows.
"""

import random
import time
from typing import Any

import pyarrow as pa

from relabel_service.errors import InvalidInput, NotFound
from relabel_service.queue import campaigns
from relabel_service.queue.campaigns import AUDIT, FINDING, GOLD, Campaign
from relabel_service.queue.control_items import GOLD_LABEL, sample
from relabel_service.queue.findings_reader import FindingsRun
from relabel_service.queue.item_bytes import item_parts
from relabel_service.queue.ordering import Placer
from relabel_service.queue.ordering_cache import Placers
from relabel_service.queue.store import Store
from relabel_service.tables import delta

_placers = Placers()  # of this process


def describe(findings_uri: str, run_id: str) -> dict[str, Any]:
    """What a campaign copies from its run: task, classes, num_items, findings_version.

    Raises NotFound when the table or the run is not there, InvalidInput when it is empty.
    """
    if not delta.is_committed(findings_uri, run_id):
        raise NotFound(
            f"findings table {findings_uri!r} holds no run {run_id!r}; give the run_id mine told"
        )
    version = delta.open_table(findings_uri).version()
    run = FindingsRun(findings_uri, run_id, version)
    first = run.first(["task", "classes"])
    if first is None:
        raise InvalidInput.of(
            "campaign.run_id", f"run {run_id!r} found nothing to ask people about"
        )
    return {
        "task": first["task"],
        "classes": tuple(first["classes"]),
        "num_items": run.num_rows(),
        "findings_version": version,
    }


def fill(store: Store, campaign: str, *, within_s: float) -> Campaign:
    """Take steps until the campaign is full or the time is up; the campaign as it is then.

    Raises NotFound when the campaign, or a table it names, is not there.
    """
    ends = time.monotonic() + within_s
    with store.reading() as (connection, _):
        present = campaigns.get(connection, campaign)
    if present.state != "importing":
        return present
    run = FindingsRun(present.findings_uri, present.run_id, present.findings_version)
    placer = _placers.get(present, run, within_s=within_s)
    if placer is None:
        return present
    end = 0
    for batch in run.batches():
        start, end = end, end + batch.num_rows
        # Steps of whoever was here before may have ended anywhere.
        while present.num_imported < end:
            present = _step(store, present, batch.slice(present.num_imported - start), placer)
            if time.monotonic() > ends:
                return present
    present = _finish(store, present, placer)
    _placers.forget(present)
    return present


def _step(store: Store, present: Campaign, batch: pa.Table, placer: Placer) -> Campaign:
    """Store the next rows, unless somebody else has by now; the campaign as it is then."""
    items = [_item(present, row, FINDING, row["rank"], placer(row)) for row in batch.to_pylist()]
    with store.writing(campaign=present.campaign, alone=True) as (connection, _):
        found = campaigns.get(connection, present.campaign)
        if found.num_imported != present.num_imported:
            return found
        campaigns.add_items(connection, found, items)
        return campaigns.imported(connection, found, batch.num_rows)


def _finish(store: Store, present: Campaign, placer: Placer) -> Campaign:
    settings, num_findings = present.settings, present.num_items
    chance = random.Random(f"{present.campaign}/{settings.secret}")
    audit = sample(settings.audit_uri, settings.audit_run_id)
    gold = sample(settings.gold_uri, settings.gold_run_id)
    rows = [(row, AUDIT) for row in audit] + [(row, GOLD) for row in gold]
    with store.writing(campaign=present.campaign, alone=True) as (connection, _):
        present = campaigns.get(connection, present.campaign)
        if present.state != "importing":
            return present
        items = []
        for number, (row, kind) in enumerate(rows, num_findings):
            like = {**row, "rank": chance.randrange(num_findings)}  # somewhere among the findings
            items.append(_item(present, row, kind, number, placer(like)))
        campaigns.add_items(connection, present, items)
        present = campaigns.start(connection, present, num_items=num_findings + len(audit))
    store.analyze()
    return present


def _item(
    campaign: Campaign, row: dict[str, Any], kind: str, rank: int, place: int
) -> dict[str, Any]:
    suggestions = [(one["label"], one["probability"]) for one in row["suggestions"] or ()]
    told = {
        **row,
        "rank": rank,
        "row_id": row["id"],
        "unit": row["unit"] or "",
        "suggestions": suggestions,
        "reason": row["reason"] or "",
    }
    item, hints = item_parts(campaign, told)
    return {
        "rank": rank,
        "kind": kind,
        "place": place,
        "row_id": told["row_id"],
        "unit": told["unit"],
        "human_label": row["human_label"],
        "suggestion": suggestions[0][0] if suggestions else None,
        "gold_label": row.get(GOLD_LABEL) if kind == GOLD else None,
        "suspicion": row["suspicion"],
        "item": item,
        "hints": hints,
    }
