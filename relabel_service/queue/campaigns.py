"""Campaigns in the queue: create, fill, read, list, close, read the results."""

import json
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from relabel_service.errors import AlreadyExists, Conflict, NotFound, WrongState
from relabel_service.queue import schema as db
from relabel_service.queue import statements as sql
from relabel_service.tables.results import WITHDRAWN

STREAMED = 2000  # rows fetched at once while reading results
FINDING, AUDIT, GOLD = "finding", "audit", "gold"  # kinds of items
GOLD_SLOTS = 10**9
LEASE_BYTES = 48  # of a message, about, that are not its item's


@dataclass(frozen=True)
class Settings:
    """How a campaign leases its items. Kept as JSON: a new setting needs only a default."""

    votes_required: int = 1
    max_votes: int = 0
    min_agreement: float = 0.0
    lease_duration_s: float = 300.0
    skip_policy: str = "others"
    item_order: str = "worst_first"
    blind_share: float = 0.0
    gold_uri: str = ""
    gold_run_id: str = ""
    gold_rate: float = 0.0
    audit_uri: str = ""
    audit_run_id: str = ""
    audit_population: int = 0
    secret: str = ""  # what names and positions of mixed items are drawn from; never sent

    @property
    def mixes(self) -> bool:
        """Whether gold or audit items are among the findings, unmarked."""
        return bool(self.gold_uri or self.audit_uri)


KNOWN_SETTINGS = [setting.name for setting in fields(Settings)]


@dataclass(frozen=True)
class Campaign:
    """One findings run being worked through. Times in seconds since the epoch."""

    campaign: str
    task: str
    findings_uri: str
    run_id: str
    classes: tuple[str, ...]
    settings: Settings
    state: str
    create_time: float
    num_items: int
    num_imported: int
    findings_version: int
    revision: int = 1
    finalize_time: float | None = None
    results_uri: str | None = None
    incarnation: str | None = None
    """Tells campaigns of one id apart; None for those of earlier releases."""
    hides_suggestions: bool | None = None
    """Where gold or audit items are mixed in, and not each item has a suggestion that differs."""


def new_incarnation() -> str:
    return secrets.token_hex(8)


_COLUMNS = (
    "campaign", "task", "findings_uri", "run_id", "classes", "settings", "state", "create_time",
    "finalize_time", "results_uri", "revision", "num_items", "num_imported", "findings_version",
    "incarnation", "hides_suggestions",
)  # fmt: skip


def create(connection: Connection, campaign: Campaign) -> Campaign:
    """Store a campaign without its items. Raises AlreadyExists."""
    row = asdict(campaign)
    row |= {"classes": json.dumps(campaign.classes), "settings": json.dumps(row["settings"])}
    try:
        connection.execute(insert(db.campaigns).values(row))
    except IntegrityError:
        raise AlreadyExists(
            f"campaign {campaign.campaign!r} exists; choose another campaign_id"
        ) from None
    return campaign


def add_items(
    connection: Connection, campaign: Campaign, items: Sequence[Mapping[str, Any]]
) -> None:
    """Store items: the columns of db.items but the campaign, and their `sort_key`."""
    if not items:
        return
    names = [column.name for column in db.items.columns if column.name != "campaign"]
    rows = [{name: item[name] for name in names} for item in items]
    connection.execute(insert(db.items), [{"campaign": campaign.campaign, **row} for row in rows])
    connection.execute(insert(db.queue), [_queue_row(campaign, item) for item in items])


def add_imported(connection: Connection, campaign: Campaign, num: int) -> Campaign:
    """Count findings that are stored now."""
    num_imported = campaign.num_imported + num
    connection.execute(
        update(db.campaigns)
        .where(db.campaigns.c.campaign == campaign.campaign)
        .values(num_imported=num_imported)
    )
    return replace(campaign, num_imported=num_imported)


def start(connection: Connection, campaign: Campaign, *, num_items: int) -> Campaign:
    """The items are all there: lease them."""
    return _update(connection, campaign, state="active", num_items=num_items)


def get(connection: Connection, campaign: str) -> Campaign:
    """Raises NotFound."""
    rows = sql.CAMPAIGN(connection, {"campaign": campaign})
    return existing(from_columns(rows[0]) if rows else None, campaign)


def existing(present: Campaign | None, campaign: str) -> Campaign:
    """Raises NotFound where there is none."""
    if present is None:
        raise NotFound(f"no campaign {campaign!r}; list them with ListCampaigns")
    return present


def from_columns(row: Sequence[Any]) -> Campaign:
    """row: as the statements CAMPAIGN and OPENING give it."""
    return from_row(dict(zip(_COLUMNS, row, strict=True)))


def page(
    connection: Connection, *, after: str, limit: int, among: Collection[str] | None = None
) -> list[Campaign]:
    """Up to `limit` campaigns whose ids follow `after`, in the order of their ids.

    Without their classes, of which there may be many.
    """
    columns = [column for column in db.campaigns.columns if column.name != "classes"]
    query = (
        select(*columns, literal("[]").label("classes"))
        .where(db.campaigns.c.campaign > after)
        .order_by(db.campaigns.c.campaign)
        .limit(limit)
    )
    if among is not None:
        query = query.where(db.campaigns.c.campaign.in_(among))
    return [from_row(dict(row._mapping)) for row in connection.execute(query)]


def move(
    connection: Connection, campaign: str, *, to: str, among: Sequence[str], revision: int | None
) -> Campaign:
    """Change the state; from `to` itself it changes nothing.

    Raises NotFound, Conflict when the revision is another, WrongState from a state
    that is not `among` those allowed.
    """
    present = get(connection, campaign)
    if present.state == to:
        return present
    _check_revision(present, revision)
    if present.state not in among:
        raise WrongState(
            f"campaign {campaign!r} is {present.state}; it becomes {to} only from "
            + " or ".join(among)
        )
    return _update(connection, present, state=to)


def reopen(connection: Connection, campaign: str, *, revision: int | None) -> Campaign:
    """Lease items and take results again; of an active campaign it changes nothing.

    Raises NotFound, Conflict when the revision is another, WrongState where it is not closed, or
    its import was ended before all items were there.
    """
    present = get(connection, campaign)
    if present.state == "closed" and not _is_imported(connection, present):
        raise WrongState(
            f"campaign {campaign!r} was closed while it was importing, and has not all of its "
            "items; create another one"
        )
    return move(connection, campaign, to="active", among=["closed"], revision=revision)


def _is_imported(connection: Connection, present: Campaign) -> bool:
    """Audit and gold items come last, in the transaction that counts them among num_items."""
    row = db.queue.c
    query = (
        select(row.kind, func.count().label("num"))
        .where(row.campaign == present.campaign, row.kind != FINDING)
        .group_by(row.kind)
    )
    mixed = {row.kind: row.num for row in connection.execute(query)}
    are_mixed = bool(mixed) or not present.settings.mixes
    return are_mixed and present.num_imported + mixed.get(AUDIT, 0) == present.num_items


def begin_finalizing(
    connection: Connection, campaign: str, *, results_uri: str, revision: int | None
) -> Campaign:
    """Take no more results; `results_uri` is where they will be written.

    Called again with the same address it changes nothing. Raises NotFound,
    Conflict when the revision is another, WrongState when closed with another address.
    """
    present = get(connection, campaign)
    if present.state == "importing":
        raise WrongState(
            f"campaign {campaign!r} is importing; wait until it is active, or close it"
        )
    if present.state == "deleting":
        raise WrongState(f"campaign {campaign!r} is deleting; it publishes nothing any more")
    if present.state in ("active", "paused", "closed"):
        _check_revision(present, revision)
        return _update(connection, present, state="finalizing", results_uri=results_uri)
    if present.results_uri != results_uri:
        raise WrongState(
            f"campaign {campaign!r} was finalized to {present.results_uri!r}; read that"
        )
    return present


def mark_finalized(connection: Connection, campaign: str, *, now: float) -> Campaign:
    """Say that the results are published. Raises NotFound."""
    present = get(connection, campaign)
    if present.state != "finalizing":  # somebody else was first, or deletes it
        return present
    return _update(connection, present, state="finalized", finalize_time=now)


def num_results(connection: Connection, campaign: str) -> int:
    """How many rows `results` gives."""
    return latest_result(connection, campaign)[0]


def latest_result(connection: Connection, campaign: str) -> tuple[int, float]:
    """How many rows `results` gives, and the last submit_time of them; 0 for none."""
    num, latest = 0, 0.0
    for table, time in ((db.results, "submit_time"), (db.withdrawn_results, "withdraw_time")):
        given = select(func.count(), func.coalesce(func.max(table.c[time]), 0.0))
        [(num_of_table, time_of_table)] = connection.execute(
            given.where(table.c.campaign == campaign)
        )
        num, latest = num + int(num_of_table), max(latest, float(time_of_table))
    return num, latest


def results(connection: Connection, campaign: str) -> Iterator[Mapping[str, Any]]:
    """Every accepted result with its item's columns, worst item first, as a stream; then those
    that were withdrawn, with the decision WITHDRAWN and, as submit_time, when they were."""
    item, names = db.items.c, [column.name for column in db.results.columns]
    of_item = ("kind", "row_id", "unit", "human_label", "gold_label", "suspicion", "fingerprint")
    withdrawn = {
        "decision": literal(WITHDRAWN).label("decision"),
        "submit_time": db.withdrawn_results.c.withdraw_time.label("submit_time"),
    }
    for table, other in ((db.results, {}), (db.withdrawn_results, withdrawn)):
        columns = [other.get(name, table.c[name]) for name in names]
        query = (
            select(*columns, *(item[name] for name in of_item))
            .join(db.items, (item.campaign == table.c.campaign) & (item.rank == table.c.rank))
            .where(table.c.campaign == campaign)
            .order_by(table.c.rank, columns[names.index("submit_time")])
        )
        yield from _streamed(connection, query)


def result_keys(connection: Connection, campaign: str) -> Iterator[tuple[int, str, float]]:
    """Rank, labeler and submit_time of every row that `results` gives, as a stream."""
    for table, time in ((db.results, "submit_time"), (db.withdrawn_results, "withdraw_time")):
        query = select(table.c.rank, table.c.labeler, table.c[time].label("time"))
        for row in _streamed(connection, query.where(table.c.campaign == campaign)):
            yield row["rank"], row["labeler"], row["time"]


def _streamed(connection: Connection, query: Select[Any]) -> Iterator[Mapping[str, Any]]:
    for row in connection.execute(query.execution_options(yield_per=STREAMED)):
        yield row._asdict()


def _check_revision(present: Campaign, revision: int | None) -> None:
    if revision is not None and revision != present.revision:
        raise Conflict(
            f"campaign {present.campaign!r} has changed (etag {present.revision}, not "
            f"{revision}); get it again and decide anew"
        )


def from_row(row: Mapping[str, Any]) -> Campaign:
    """Of the table `campaigns`, or of that of an earlier schema."""
    parsed = {"classes": _classes(row["classes"]), "settings": _settings(row["settings"])}
    return Campaign(**{**row, **parsed})


@lru_cache(maxsize=256)
def _classes(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


@lru_cache(maxsize=256)
def _settings(text: str) -> Settings:
    """What this release knows of them; the others, of a later release, stay in the database."""
    stored = json.loads(text)
    return Settings(**{name: stored[name] for name in KNOWN_SETTINGS if name in stored})


def _queue_row(campaign: Campaign, item: Mapping[str, Any]) -> dict[str, Any]:
    """The queue's row of an item that nobody has seen."""
    is_gold = item["kind"] == GOLD
    return {
        "campaign": campaign.campaign,
        "rank": item["rank"],
        "kind": item["kind"],
        "sort_key": item["sort_key"],
        "state": GOLD if is_gold else "open",
        "leased_until": 0.0,
        "not_before": 0.0,
        "votes_needed": GOLD_SLOTS if is_gold else campaign.settings.votes_required,
        "num_votes": 0,
        "num_skips": 0,
        "num_attempts": 0,
        "num_bytes": len(item["item_bytes"]) + len(item["hint_bytes"]) + LEASE_BYTES,
        "leases": "",
        "expired_leases": "",
    }


def _update(connection: Connection, present: Campaign, **changes: Any) -> Campaign:
    connection.execute(
        update(db.campaigns)
        .where(db.campaigns.c.campaign == present.campaign)
        .values(revision=present.revision + 1, **changes)
    )
    return get(connection, present.campaign)
