"""Counts of one campaign: items by state, results by labeler, and how far to believe them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, and_, case, func, select

from relabel_service.queue import campaigns
from relabel_service.queue import schema as db
from relabel_service.queue.campaigns import FINDING, GOLD

# An adjudicator outvotes any number of labelers.
ADJUDICATOR_WEIGHT = 10**6
AGREED_LABEL = func.coalesce(db.results.c.agreed_label, db.results.c.label)


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
    has_gold: bool = False
    """Then counts would tell a labeler which of its items they leave out."""


def report(connection: Connection, campaign: str, *, now: float) -> Report:
    """Raises NotFound. Reads all of the campaign's items and results once, and pairs of results."""
    present = campaigns.get(connection, campaign)
    states = _states(connection, campaign, now=now)
    by_state = {state: num for state, num, _ in states}
    num_leased = sum(num_leased for _, _, num_leased in states)
    tallies = _tallies(connection, campaign)
    counted = [tally for tally in tallies if tally.kind != GOLD]
    return Report(
        num_items=present.num_items,
        num_open=by_state.get("open", 0) + by_state.get("leased", 0) - num_leased,
        num_leased=num_leased,
        num_done=by_state.get("done", 0),
        num_skipped=by_state.get("skipped", 0),
        num_escalated=by_state.get("escalated", 0) + by_state.get("adjudicating", 0),
        num_results=sum(tally.num_results for tally in counted),
        num_changed=sum(tally.num_changed for tally in counted),
        labelers=_labelers(connection, campaign, tallies),
        agree=_agree(tallies),
        wrong=_wrong(connection, campaign),
        audit_population=present.settings.audit_population,
        has_gold=bool(present.settings.gold_uri),
    )


def _states(connection: Connection, campaign: str, *, now: float) -> list[tuple[str, int, int]]:
    """State, items, and those unfinished items with at least one labeler's lease in force."""
    row = db.queue.c
    is_leased = and_(row.state.in_(["open", "leased"]), row.leased_until > now)
    query = (
        select(row.state, func.count(), func.sum(case((is_leased, 1), else_=0)))
        .where(row.campaign == campaign, row.kind != GOLD)
        .group_by(row.state)
    )
    return [
        (state, int(num), int(num_leased)) for state, num, num_leased in connection.execute(query)
    ]


@dataclass(frozen=True)
class _Tally:
    """Results of one labeler in one role on one kind of item, shown or blind."""

    labeler: str
    role: str
    kind: str
    blind: bool
    num_results: int
    num_labels: int
    """Results with a label; the next three are among these."""
    num_changed: int
    num_gold_right: int
    num_accepted: int
    """That name the first suggestion."""
    num_acceptable: int
    """On items that have one."""


def _tallies(connection: Connection, campaign: str) -> list[_Tally]:
    item, result = db.items.c, db.results.c
    keys = (result.labeler, result.role, item.kind, result.blind)
    has_label = result.label.is_not(None)
    query = (
        select(
            *keys,
            func.count(),
            _number(has_label),
            _number(result.label != item.human_label),
            _number(item.gold_label == AGREED_LABEL),
            _number(result.label == item.suggestion),
            _number(and_(has_label, item.suggestion.is_not(None))),
        )
        .select_from(db.results)
        .join(db.items, and_(item.campaign == result.campaign, item.rank == result.rank))
        .where(result.campaign == campaign)
        .group_by(*keys)
    )
    return [
        _Tally(labeler, role, kind, blind, *map(int, numbers))
        for labeler, role, kind, blind, *numbers in connection.execute(query)
    ]


def _labelers(
    connection: Connection, campaign: str, tallies: Sequence[_Tally]
) -> dict[str, LabelerCounts]:
    agree = _agree_others(connection, campaign)
    counts = {}
    for name in sorted({tally.labeler for tally in tallies}):
        own = [tally for tally in tallies if tally.labeler == name]
        gold = [tally for tally in own if tally.kind == GOLD]
        counts[name] = LabelerCounts(
            num_results=sum(tally.num_results for tally in own),
            gold_right=Count(
                sum(tally.num_gold_right for tally in gold), sum(tally.num_labels for tally in gold)
            ),
            agree_others=agree.get(name, Count()),
        )
    return counts


def _agree_others(connection: Connection, campaign: str) -> dict[str, Count]:
    """By labeler: pairs of labels with others on the same item; num counts those that are equal."""
    result, others = db.results.c, db.results.alias("others")
    pairs = and_(
        others.c.campaign == result.campaign,
        others.c.rank == result.rank,
        others.c.labeler != result.labeler,
    )
    agreed = func.coalesce(others.c.agreed_label, others.c.label)
    query = (
        select(result.labeler, _number(agreed == AGREED_LABEL), func.count())
        .select_from(db.results.join(others, pairs))
        .where(result.campaign == campaign, result.label.is_not(None), others.c.label.is_not(None))
        .group_by(result.labeler)
    )
    return _counts(connection, query)


def _agree(tallies: Sequence[_Tally]) -> dict[bool, Count]:
    counts = {}
    for blind in (False, True):
        own = [
            tally
            for tally in tallies
            if (tally.kind, tally.role, tally.blind) == (FINDING, "labeler", blind)
        ]
        total = sum(tally.num_acceptable for tally in own)
        if total:
            counts[blind] = Count(sum(tally.num_accepted for tally in own), total)
    return counts


def _wrong(connection: Connection, campaign: str) -> dict[str, Count]:
    """By kind: items with a majority; num counts those whose majority is not the human label."""
    result, item = db.results.c, db.items.c
    weight = func.sum(case((result.role == "adjudicator", ADJUDICATOR_WEIGHT), else_=1))
    by_label = (
        select(
            item.kind,
            case((item.human_label != AGREED_LABEL, 1), else_=0).label("is_wrong"),
            weight.label("votes"),
            func.sum(weight).over(partition_by=result.rank).label("all_votes"),
        )
        .select_from(db.results)
        .join(db.items, and_(item.campaign == result.campaign, item.rank == result.rank))
        .where(result.campaign == campaign, item.kind != GOLD, result.label.is_not(None))
        .group_by(result.rank, AGREED_LABEL, item.kind, item.human_label)
        .subquery()
    )
    query = (
        select(by_label.c.kind, func.sum(by_label.c.is_wrong), func.count())
        .where(2 * by_label.c.votes > by_label.c.all_votes)
        .group_by(by_label.c.kind)
    )
    return _counts(connection, query)


def _number(condition: Any) -> Any:
    """How many rows meet the condition; null counts as not."""
    return func.sum(case((condition, 1), else_=0))


def _counts(connection: Connection, query: Select[Any]) -> dict[Any, Count]:
    return {key: Count(int(num), int(total)) for key, num, total in connection.execute(query)}
