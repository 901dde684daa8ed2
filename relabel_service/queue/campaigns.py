"""Campaigns in the queue: create, read, list, count, close."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from relabel_service.errors import AlreadyExists, Conflict, NotFound, WrongState
from relabel_service.queue import schema as db


@dataclass(frozen=True)
class Settings:
    """How a campaign hands out items. Kept as JSON: a new setting needs only a default."""

    votes_required: int = 1
    lease_duration_s: float = 300.0


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
    revision: int = 1
    finalize_time: float | None = None
    results_uri: str | None = None


@dataclass(frozen=True)
class Stats:
    """Counts of one moment; the five item counts add up to num_items."""

    num_items: int
    num_open: int
    num_leased: int
    num_done: int
    num_skipped: int
    num_escalated: int
    num_results: int
    num_changed: int
    labelers: tuple[tuple[str, int], ...]


def create(
    connection: Connection, campaign: Campaign, items: Iterable[Mapping[str, Any]]
) -> Campaign:
    """Store a campaign and its items. Raises AlreadyExists."""
    row = asdict(campaign)
    row |= {"classes": json.dumps(campaign.classes), "settings": json.dumps(row["settings"])}
    try:
        connection.execute(insert(db.campaigns).values(row))
    except IntegrityError:
        raise AlreadyExists(
            f"campaign {campaign.campaign!r} exists; choose another campaign_id"
        ) from None
    rows = [{**item, "campaign": campaign.campaign} for item in items]
    if rows:
        connection.execute(insert(db.items), rows)
        connection.execute(insert(db.queue), [_waiting(row) for row in rows])
    return campaign


def get(connection: Connection, campaign: str) -> Campaign:
    """Raises NotFound."""
    found = connection.execute(
        select(db.campaigns).where(db.campaigns.c.campaign == campaign)
    ).one_or_none()
    if found is None:
        raise NotFound(f"no campaign {campaign!r}; list them with ListCampaigns")
    return _campaign(found._mapping)


def page(
    connection: Connection, *, after: str, limit: int, among: Collection[str] | None = None
) -> list[Campaign]:
    """Up to `limit` campaigns whose ids follow `after`, in the order of their ids."""
    query = (
        select(db.campaigns)
        .where(db.campaigns.c.campaign > after)
        .order_by(db.campaigns.c.campaign)
        .limit(limit)
    )
    if among is not None:
        query = query.where(db.campaigns.c.campaign.in_(among))
    return [_campaign(row._mapping) for row in connection.execute(query)]


def stats(connection: Connection, campaign: str, *, now: float) -> Stats:
    """Raises NotFound."""
    num_items = get(connection, campaign).num_items
    row = db.queue.c
    by_state = _counts(
        connection,
        select(row.state, func.count()).where(row.campaign == campaign).group_by(row.state),
    )
    num_leased = _num_leased(connection, campaign, now=now)
    by_labeler = _counts(
        connection,
        select(db.results.c.labeler, func.count())
        .where(db.results.c.campaign == campaign)
        .group_by(db.results.c.labeler)
        .order_by(db.results.c.labeler),
    )
    return Stats(
        num_items=num_items,
        num_open=by_state.get("open", 0) + by_state.get("held", 0) - num_leased,
        num_leased=num_leased,
        num_done=by_state.get("done", 0),
        num_skipped=by_state.get("skipped", 0),
        num_escalated=by_state.get("escalated", 0),
        num_results=sum(by_labeler.values()),
        num_changed=_num_changed(connection, campaign),
        labelers=tuple(by_labeler.items()),
    )


def close(
    connection: Connection, campaign: str, *, results_uri: str, revision: int | None
) -> Campaign:
    """Take no more answers; `results_uri` is where they will be written.

    Called again with the same address it changes nothing. Raises NotFound,
    Conflict when the revision is another, WrongState when closed with another address.
    """
    present = get(connection, campaign)
    if present.state == "active":
        if revision is not None and revision != present.revision:
            raise Conflict(
                f"campaign {campaign!r} has changed (etag {present.revision}, not {revision}); "
                "get it again and decide anew"
            )
        return _update(connection, present, state="finalizing", results_uri=results_uri)
    if present.results_uri != results_uri:
        raise WrongState(
            f"campaign {campaign!r} was finalized to {present.results_uri!r}; read that"
        )
    return present


def mark_finalized(connection: Connection, campaign: str, *, now: float) -> Campaign:
    """Say that the results are published. Raises NotFound."""
    present = get(connection, campaign)
    if present.state == "finalized":
        return present
    return _update(connection, present, state="finalized", finalize_time=now)


def answers(connection: Connection, campaign: str) -> Sequence[Mapping[str, Any]]:
    """Every accepted result with its item's columns, worst item first."""
    query = (
        select(db.results, db.items)
        .join(db.items, (db.items.c.campaign == db.results.c.campaign)
              & (db.items.c.rank == db.results.c.rank))
        .where(db.results.c.campaign == campaign)
        .order_by(db.results.c.rank, db.results.c.submit_time)
    )  # fmt: skip
    return [
        {column.name: value for column, value in zip(query.selected_columns, row, strict=True)}
        for row in connection.execute(query)
    ]


def _campaign(row: Any) -> Campaign:
    classes = tuple(json.loads(row["classes"]))
    return Campaign(
        **{**row, "classes": classes, "settings": Settings(**json.loads(row["settings"]))}
    )


def _waiting(item: Mapping[str, Any]) -> dict[str, Any]:
    """The queue's row of an item that nobody has seen."""
    return {
        "campaign": item["campaign"],
        "rank": item["rank"],
        "place": item["rank"],
        "state": "open",
        "free_time": 0.0,
        "num_votes": 0,
        "num_skips": 0,
        "num_attempts": 0,
    }


def _update(connection: Connection, present: Campaign, **changes: Any) -> Campaign:
    connection.execute(
        update(db.campaigns)
        .where(db.campaigns.c.campaign == present.campaign)
        .values(revision=present.revision + 1, **changes)
    )
    return get(connection, present.campaign)


def _counts(connection: Connection, query: Any) -> dict[str, int]:
    return dict(connection.execute(query).all())


def _num_leased(connection: Connection, campaign: str, *, now: float) -> int:
    """Unfinished items with at least one lease in force."""
    lease, row = db.leases.c, db.queue.c
    query = (
        select(func.count(lease.rank.distinct()))
        .join(db.queue, (row.campaign == lease.campaign) & (row.rank == lease.rank))
        .where(lease.campaign == campaign, db.LIVE, lease.expire_time > now)
        .where(row.state.in_(["open", "held"]))
    )
    return int(connection.execute(query).scalar_one())


def _num_changed(connection: Connection, campaign: str) -> int:
    query = (
        select(func.count())
        .select_from(db.results)
        .join(
            db.items,
            (db.items.c.campaign == db.results.c.campaign) & (db.items.c.rank == db.results.c.rank),
        )
        .where(db.results.c.campaign == campaign, db.results.c.label != db.items.c.human_label)
    )
    return int(connection.execute(query).scalar_one())
