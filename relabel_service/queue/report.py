"""Counts of one campaign: where items stand, what labelers answered, how far to believe it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, and_, case, func, select

from relabel_service.queue import campaigns
from relabel_service.queue import schema as db
from relabel_service.queue.campaigns import FINDING, GOLD

# An adjudicator outvotes any number of labelers.
JUDGE_WEIGHT = 10**6


@dataclass(frozen=True)
class Count:
    """`num` of `total`."""

    num: int = 0
    total: int = 0


@dataclass(frozen=True)
class LabelerCounts:
    num_results: int
    gold_right: Count
    agree_others: Count


@dataclass(frozen=True)
class Report:
    """Counts of one moment; the five item counts add up to num_items. Gold is left out."""

    num_items: int
    num_open: int
    num_leased: int
    num_done: int
    num_skipped: int
    num_escalated: int
    num_results: int
    num_changed: int
    labelers: Mapping[str, LabelerCounts]
    agree: Mapping[bool, Count] = field(default_factory=dict)
    """Votes that name the first suggestion; by whether they were given without seeing it."""
    wrong: Mapping[str, Count] = field(default_factory=dict)
    """Decided items whose human label people found wrong; by the items' kind."""
    audit_population: int = 0


def report(connection: Connection, campaign: str, *, now: float) -> Report:
    """Raises NotFound."""
    present = campaigns.get(connection, campaign)
    row = db.queue.c
    by_state: dict[str, int] = dict(
        connection.execute(
            select(row.state, func.count())
            .where(row.campaign == campaign, row.kind != GOLD)
            .group_by(row.state)
        ).all()
    )
    num_leased = _num_leased(connection, campaign, now=now)
    labelers = _labelers(connection, campaign)
    return Report(
        num_items=present.num_items,
        num_open=by_state.get("open", 0) + by_state.get("held", 0) - num_leased,
        num_leased=num_leased,
        num_done=by_state.get("done", 0),
        num_skipped=by_state.get("skipped", 0),
        num_escalated=by_state.get("escalated", 0) + by_state.get("judging", 0),
        num_results=_num_results(connection, campaign),
        num_changed=_num_changed(connection, campaign),
        labelers=labelers,
        agree=_agree(connection, campaign),
        wrong=_wrong(connection, campaign),
        audit_population=present.settings.audit_population,
    )


def _num_leased(connection: Connection, campaign: str, *, now: float) -> int:
    """Unfinished items with at least one labeler's lease in force."""
    row = db.queue.c
    query = select(func.count()).where(
        row.campaign == campaign, row.state.in_(["open", "held"]), row.held_until > now
    )
    return int(connection.execute(query).scalar_one())


def _of_kind(campaign: str, kind: Any, *columns: Any) -> Select[Any]:
    """Results with their items."""
    item, result = db.items.c, db.results.c
    return (
        select(*columns)
        .select_from(db.results)
        .join(db.items, and_(item.campaign == result.campaign, item.rank == result.rank))
        .where(result.campaign == campaign, kind)
    )


def _num_results(connection: Connection, campaign: str) -> int:
    query = _of_kind(campaign, db.items.c.kind != GOLD, func.count())
    return int(connection.execute(query).scalar_one())


def _num_changed(connection: Connection, campaign: str) -> int:
    query = _of_kind(campaign, db.items.c.kind != GOLD, func.count()).where(
        db.results.c.label != db.items.c.human_label
    )
    return int(connection.execute(query).scalar_one())


def _labelers(connection: Connection, campaign: str) -> dict[str, LabelerCounts]:
    result, item = db.results.c, db.items.c
    totals: dict[str, int] = dict(
        connection.execute(
            select(result.labeler, func.count())
            .where(result.campaign == campaign)
            .group_by(result.labeler)
            .order_by(result.labeler)
        ).all()
    )
    right = _num_of(result.label == item.gold_label)
    gold = _counts(
        connection,
        _of_kind(campaign, item.kind == GOLD, result.labeler, *right)
        .where(result.label.is_not(None))
        .group_by(result.labeler),
    )
    others = db.results.alias("others")
    pairs = and_(
        others.c.campaign == result.campaign,
        others.c.rank == result.rank,
        others.c.labeler != result.labeler,
    )
    agree = _counts(
        connection,
        select(result.labeler, *_num_of(result.label == others.c.label))
        .select_from(db.results.join(others, pairs))
        .where(result.campaign == campaign, result.label.is_not(None), others.c.label.is_not(None))
        .group_by(result.labeler),
    )
    return {
        name: LabelerCounts(total, gold.get(name, Count()), agree.get(name, Count()))
        for name, total in totals.items()
    }


def _agree(connection: Connection, campaign: str) -> dict[bool, Count]:
    result, item = db.results.c, db.items.c
    agreeing = _num_of(result.label == item.suggestion)
    return _counts(
        connection,
        _of_kind(campaign, item.kind == FINDING, result.blind, *agreeing)
        .where(result.label.is_not(None), item.suggestion.is_not(None), result.role == "labeler")
        .group_by(result.blind),
    )


def _wrong(connection: Connection, campaign: str) -> dict[str, Count]:
    """Of the items with a majority, those whose majority is not the human label."""
    result, item = db.results.c, db.items.c
    weight = func.sum(case((result.role == "adjudicator", JUDGE_WEIGHT), else_=1))
    by_label = (
        _of_kind(
            campaign,
            item.kind != GOLD,
            item.kind,
            case((result.label != item.human_label, 1), else_=0).label("is_wrong"),
            weight.label("votes"),
            func.sum(weight).over(partition_by=result.rank).label("all_votes"),
        )
        .where(result.label.is_not(None))
        .group_by(result.rank, result.label, item.kind, item.human_label)
        .subquery()
    )
    query = (
        select(by_label.c.kind, func.sum(by_label.c.is_wrong), func.count())
        .where(2 * by_label.c.votes > by_label.c.all_votes)
        .group_by(by_label.c.kind)
    )
    return _counts(connection, query)


def _num_of(condition: Any) -> tuple[Any, Any]:
    return func.sum(case((condition, 1), else_=0)), func.count()


def _counts(connection: Connection, query: Select[Any]) -> dict[Any, Count]:
    return {key: Count(int(num), int(total)) for key, num, total in connection.execute(query)}
