"""What a labeler does with leases: extend them, release them, or submit a result.

A lease is the fenced right to submit a result on an item. A result is accepted only from a
lease that nobody superseded, checked in the transaction that stores it: so each slot is filled
at most once (Kleppmann, "How to do distributed locking", 2016, on fencing tokens), and a slow
labeler whose item nobody else took loses nothing.

Whoever changes an item's leases or results first locks its row in `queue`, and stores its
state last. Each step is one statement for the whole request (statements.py).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import Connection

from relabel_service.errors import InvalidInput
from relabel_service.queue import item_leases, lease_groups
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.item_leases import ItemLease
from relabel_service.queue.item_updates import (
    RoleDecision,
    changed,
    group_items,
    in_groups,
    stored_results,
    update,
)
from relabel_service.queue.lease import is_blind
from relabel_service.queue.together import ALONE, Alone
from relabel_service.tasks import task_named
from relabel_service.tasks.agreement import agreed_labels

TAKES_RESULTS = ("active", "paused")  # states of a campaign


class Result(NamedTuple):
    """One submitted result. label is set with the decision relabel and only then.

    replaces: it takes the place of the one that was accepted under the token before.
    seconds_spent: by the labeler; None where that is not known.
    """

    token: str
    decision: str
    label: str | None
    comment: str
    replaces: bool = False
    seconds_spent: float | None = None


@dataclass(frozen=True)
class Submission:
    """The results of one request."""

    labeler: str
    results: Sequence[Result]


@dataclass(frozen=True)
class _Locked:
    """Items of a labeler's tokens, locked, and what those tokens may still do."""

    rows: dict[int, Any]
    """Those whose lease is still live, or whose result may be replaced, by rank."""
    ranks: dict[str, int]
    """Of the tokens whose leases are live."""
    leases: dict[int, ItemLease]
    """The labeler's live leases by rank."""
    answered: dict[str, tuple[int, str]]
    """Rank, and role in which the result was given, of the tokens under which one was accepted."""

    @property
    def leased(self) -> dict[str, tuple[int, str]]:
        """Rank and role of the tokens whose leases are live."""
        return {token: (rank, self.leases[rank].role) for token, rank in self.ranks.items()}


def extend(
    connection: Connection,
    campaign: Campaign,
    tokens: Sequence[str],
    *,
    labeler: str,
    duration_s: float,
    now: float,
) -> dict[str, float]:
    """New expiry of each lease that is still live and the labeler's; the others are left out."""
    if campaign.state not in TAKES_RESULTS:
        return {}
    locked = _lock(connection, campaign, tokens, labeler=labeler)
    expire_time = now + duration_s
    for group in group_items(connection, campaign, locked.rows.values()):
        group.leases[labeler] = replace(
            group.leases[labeler], expire_time=expire_time, is_expired=False
        )
        update(connection, campaign, group, now=now)
    if locked.rows:
        lease_groups.extend(connection, locked.leases.values(), expire_time=expire_time)
    return dict.fromkeys(locked.ranks, expire_time)


def release(
    connection: Connection,
    campaign: Campaign,
    tokens: Sequence[str],
    *,
    labeler: str,
    delay_s: float = 0.0,
    now: float,
) -> int:
    """Return items without a result; how many leases were still live and the labeler's.

    The items are offered again when delay_s has passed.
    """
    locked = _lock(connection, campaign, tokens, labeler=labeler)
    for group in group_items(connection, campaign, locked.rows.values()):
        del group.leases[labeler]
        if delay_s:
            group.not_before = now + delay_s
        update(connection, campaign, group, now=now)
    if locked.rows:
        lease_groups.remove(connection, locked.leases.values())
        if delay_s:
            lease_groups.add_delay(
                connection, campaign, list(locked.leases), not_before=now + delay_s
            )
    return len(locked.ranks)


def submit_all(
    connection: Connection,
    campaign: Campaign,
    submissions: Sequence[Submission],
    *,
    waits: bool,
    now: float,
) -> list[list[str] | InvalidInput | Alone]:
    """Store the results whose leases are live; "accepted", "stale" or "closed" for each.

    submissions: of one labeler each. InvalidInput where a result does not suit its item: then none
    of the submission is stored. waits: for other transactions that have locked an item; otherwise
    its submission comes out as ALONE, as do those on an item of an earlier submission, and
    corrections.
    """
    if campaign.state not in TAKES_RESULTS:
        return [["closed"] * len(submission.results) for submission in submissions]
    all_locked = _lock_all(connection, campaign, submissions, waits=waits)
    outcomes: list[list[str] | InvalidInput | Alone] = []
    accepted: list[tuple[str, _Locked, list[dict[str, Any]]]] = []
    for submission, locked in zip(submissions, all_locked, strict=True):
        if locked is None:
            outcomes.append(ALONE)
            continue
        try:
            corrections = _result_rows(
                campaign, submission, locked.answered, locked, replaces=True, now=now
            )
            rows = _result_rows(
                campaign, submission, locked.leased, locked, replaces=False, now=now
            )
        except InvalidInput as error:
            outcomes.append(error)
            continue
        # First: those that come now are compared with labels as they stand.
        _replace(connection, campaign, corrections, locked, now=now)
        accepted.append((submission.labeler, locked, rows))
        outcomes.append(_statuses(submission, locked))
    _store(connection, campaign, accepted, now=now)
    return outcomes


def _statuses(submission: Submission, locked: _Locked) -> list[str]:
    replaced, answered = locked.answered.keys(), locked.ranks.keys()
    return [
        "accepted" if result.token in (replaced if result.replaces else answered) else "stale"
        for result in submission.results
    ]


def _store(
    connection: Connection,
    campaign: Campaign,
    accepted: Sequence[tuple[str, _Locked, list[dict[str, Any]]]],
    *,
    now: float,
) -> None:
    """Store results, and the states of their items. accepted: by labeler, rows of `results`."""
    results = [row for _, _, rows in accepted for row in rows]
    if not results:
        return
    leased = [locked.rows[rank] for _, locked, _ in accepted for rank in locked.leases]
    _set_agreed_labels(connection, campaign, results, leased)
    added = {
        row["rank"]: RoleDecision(row["role"], row["decision"], row["agreed_label"] or row["label"])
        for row in results
    }
    stored, changes = stored_results(connection, campaign, leased), []
    for labeler, locked, _ in accepted:
        for group in in_groups([locked.rows[rank] for rank in locked.leases], stored, added):
            del group.leases[labeler]
            changes.append(changed(campaign, group, now=now))
    sql.INSERT_RESULTS.later(connection, results)
    sql.update_items_later(connection, changes)
    lease_groups.remove(
        connection, [lease for _, locked, _ in accepted for lease in locked.leases.values()]
    )


def _replace(
    connection: Connection,
    campaign: Campaign,
    corrections: Sequence[dict[str, Any]],
    locked: _Locked,
    *,
    now: float,
) -> None:
    """Put corrections in the place of what they correct, and the items in the state that follows.

    corrections: rows of `results`. Whom a corrected label agreed with, or who agreed with it, is
    found anew.
    """
    if not corrections:
        return
    items = {row["rank"]: locked.rows[row["rank"]] for row in corrections}
    asked = {"campaign": campaign.campaign, "ranks": list(items)}
    sql.REPLACE_RESULTS(connection, corrections, **asked)
    if not task_named(campaign.task).agrees_by_equality:
        changes = []
        for rank, given in _given_labels(connection, campaign, items).items():
            agreed = _agreed_labels(campaign, items[rank], [result.label for result in given])
            changes += [
                {
                    "campaign": campaign.campaign,
                    "rank": rank,
                    "labeler": result.labeler,
                    "agreed_label": agreed_label,
                }
                for result, agreed_label in zip(given, agreed, strict=True)
                if agreed_label != result.agreed_label
            ]
        sql.SET_AGREED_LABELS(connection, changes, **asked)
    for group in group_items(connection, campaign, items.values()):
        update(connection, campaign, group, now=now)


def _lock(
    connection: Connection, campaign: Campaign, tokens: Collection[str], *, labeler: str
) -> _Locked:
    """The items of a labeler's tokens, which others' transactions may have to be waited for."""
    rank_and_group = lease_groups.look_up(connection, campaign, tokens, labeler=labeler)
    rows = _locked_rows(
        connection, campaign, {rank for rank, _ in rank_and_group.values()}, waits=True
    )
    return _locked(labeler, rank_and_group, {}, rows)


def _lock_all(
    connection: Connection, campaign: Campaign, submissions: Sequence[Submission], *, waits: bool
) -> list[_Locked | None]:
    """Of each submission; None where it is to be stored alone. All items are locked in one
    statement, in one order."""
    asked = [
        (each.labeler, [result.token for result in each.results if not result.replaces])
        for each in submissions
    ]
    looked_up = lease_groups.look_up_all(connection, campaign, asked)
    answered: list[dict[str, tuple[int, str]]] = []
    ranks_of: list[set[int] | None] = []
    ranks: set[int] = set()
    for submission, rank_and_group in zip(submissions, looked_up, strict=True):
        replaced = [result.token for result in submission.results if result.replaces]
        answered.append(_answered(connection, campaign, replaced, labeler=submission.labeler))
        own = {rank for rank, _ in [*rank_and_group.values(), *answered[-1].values()]}
        if not waits and (replaced or own & ranks):
            ranks_of.append(None)
            continue
        ranks_of.append(own)
        ranks |= own
    rows = _locked_rows(connection, campaign, ranks, waits=waits)
    return [
        _locked(
            submission.labeler, found, replaces, {rank: rows[rank] for rank in own & rows.keys()}
        )
        if own is not None and (waits or own <= rows.keys())
        else None
        for submission, found, replaces, own in zip(
            submissions, looked_up, answered, ranks_of, strict=True
        )
    ]


def _answered(
    connection: Connection, campaign: Campaign, tokens: Sequence[str], *, labeler: str
) -> dict[str, tuple[int, str]]:
    """Rank and role of the results that were accepted under the tokens."""
    if not tokens:
        return {}
    values = {"campaign": campaign.campaign, "labeler": labeler, "tokens": tokens}
    rows = sql.RESULTS_BY_TOKEN(connection, values)
    return {row.token: (row.rank, row.role) for row in rows}


def _locked_rows(
    connection: Connection, campaign: Campaign, ranks: Collection[int], *, waits: bool
) -> dict[int, Any]:
    """The lock is granted before the leases are read: a slot that was leased anew meanwhile
    is seen. waits: otherwise those that others have locked are left out."""
    if not ranks:
        return {}
    lock = sql.LOCK_ROWS if waits else sql.LOCK_ROWS_TO_ANSWER
    values = {"campaign": campaign.campaign, "ranks": sorted(ranks)}
    return {row.rank: row for row in lock(connection, values)}


def _locked(
    labeler: str,
    rank_and_group: Mapping[str, tuple[int, str]],
    answered: dict[str, tuple[int, str]],
    rows: Mapping[int, Any],
) -> _Locked:
    """rank_and_group: by token, as lease_groups.look_up gives it. rows: locked, by rank."""
    locked = _Locked({}, {}, {}, answered)
    token_of = {pair: token for token, pair in rank_and_group.items()}
    to_replace = {rank for rank, _ in answered.values()}
    for rank, row in rows.items():
        lease = item_leases.read(row.leases, row.expired_leases).get(labeler)
        token = token_of.get((rank, lease.group_id)) if lease else None
        if lease and token:
            locked.ranks[token], locked.leases[rank] = rank, lease
        if (lease and token) or rank in to_replace:
            locked.rows[rank] = row
    return locked


def _result_rows(
    campaign: Campaign,
    submission: Submission,
    items: Mapping[str, tuple[int, str]],
    locked: _Locked,
    *,
    replaces: bool,
    now: float,
) -> list[dict[str, Any]]:
    """Rows of the table `results`, of corrections (replaces) or of the others. items: rank and role
    of the tokens under which one is taken."""
    rows, labeler = [], submission.labeler
    for index, result in enumerate(submission.results):
        if result.replaces != replaces or result.token not in items:
            continue
        rank, role = items[result.token]
        blind = is_blind(campaign, rank, labeler=labeler, role=role)
        rows.append(
            {
                "campaign": campaign.campaign,
                "rank": rank,
                "labeler": labeler,
                "token": result.token,
                "role": role,
                "blind": blind,
                "decision": result.decision,
                "label": _label(index, result, locked.rows[rank], blind=blind),
                "agreed_label": None,
                "comment": result.comment,
                "submit_time": now,
                "seconds_spent": result.seconds_spent,
            }
        )
    return rows


def _set_agreed_labels(
    connection: Connection,
    campaign: Campaign,
    accepted: Sequence[dict[str, Any]],
    items: Sequence[Any],
) -> None:
    """Where labels may agree without being equal: by the labels that others gave before. items:
    their rows."""
    if task_named(campaign.task).agrees_by_equality:
        return
    item_of = {item.rank: item for item in items}
    earlier = _given_labels(connection, campaign, item_of)
    for row in accepted:
        if row["label"] is not None:
            labels = [result.label for result in earlier.get(row["rank"], ())]
            labels.append(row["label"])
            row["agreed_label"] = _agreed_labels(campaign, item_of[row["rank"]], labels)[-1]


def _given_labels(
    connection: Connection, campaign: Campaign, ranks: Collection[int]
) -> dict[int, list[Any]]:
    """The stored results with a label, by rank, in the order in which they were given."""
    given: dict[int, list[Any]] = {}
    values = {"campaign": campaign.campaign, "ranks": sorted(ranks)}
    for result in sql.GIVEN_LABELS(connection, values):
        given.setdefault(result.rank, []).append(result)
    return given


def _agreed_labels(campaign: Campaign, item: Any, labels: Sequence[str]) -> list[str | None]:
    """What `agreed_label` is of each of an item's labels, in the order in which they were given."""
    known = [] if item.gold_label is None else [str(item.gold_label)]
    agreed = agreed_labels([*known, *labels], task_named(campaign.task).agree)[len(known) :]
    return [
        None if earliest == label else earliest
        for label, earliest in zip(labels, agreed, strict=True)
    ]


def _label(index: int, result: Result, row: Any, *, blind: bool) -> str | None:
    """The label that the decision stands for. Raises InvalidInput when the item has none."""
    if result.decision == "confirm":
        return str(row.human_label)
    if result.decision != "accept":
        return result.label
    if blind or row.suggestion is None:
        raise InvalidInput.of(
            f"results[{index}].decision",
            "accepts a suggestion, and the item has none; relabel it",
        )
    return str(row.suggestion)
