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
from typing import Any

from sqlalchemy import Connection

from relabel_service.errors import InvalidInput
from relabel_service.queue import item_leases, lease_groups
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.item_leases import ItemLease
from relabel_service.queue.item_updates import RoleDecision, group_items, update
from relabel_service.queue.lease import is_blind
from relabel_service.tasks import task_named
from relabel_service.tasks.agreement import agreed_labels

TAKES_RESULTS = ("active", "paused")  # states of a campaign


@dataclass(frozen=True)
class Result:
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


def submit(
    connection: Connection,
    campaign: Campaign,
    results: Sequence[Result],
    *,
    labeler: str,
    now: float,
) -> list[str]:
    """Store the results whose leases are live; "accepted", "stale" or "closed" for each.

    Raises InvalidInput when a result does not suit its item.
    """
    if campaign.state not in TAKES_RESULTS:
        return ["closed"] * len(results)
    locked = _lock(
        connection,
        campaign,
        [result.token for result in results if not result.replaces],
        labeler=labeler,
        answered=[result.token for result in results if result.replaces],
    )
    # First: those that come now are compared with labels as they stand.
    _replace(connection, campaign, results, locked, labeler=labeler, now=now)
    if locked.leases:
        leased_now = {
            token: (rank, locked.leases[rank].role) for token, rank in locked.ranks.items()
        }
        accepted = _result_rows(
            campaign, results, leased_now, locked, replaces=False, labeler=labeler, now=now
        )
        _set_agreed_labels(connection, campaign, accepted, locked)
        added = {
            row["rank"]: RoleDecision(
                row["role"], row["decision"], row["agreed_label"] or row["label"]
            )
            for row in accepted
        }
        leased = [locked.rows[rank] for rank in locked.leases]
        groups = group_items(connection, campaign, leased, added=added)
        sql.insert_results(connection, accepted)
        for group in groups:
            del group.leases[labeler]
            update(connection, campaign, group, now=now, later=True)
        lease_groups.remove(connection, locked.leases.values(), later=True)
    replaced, answered = set(locked.answered), set(locked.ranks)
    return [
        "accepted" if result.token in (replaced if result.replaces else answered) else "stale"
        for result in results
    ]


def _replace(
    connection: Connection,
    campaign: Campaign,
    results: Sequence[Result],
    locked: _Locked,
    *,
    labeler: str,
    now: float,
) -> None:
    """Put corrections in the place of what they correct, and the items in the state that follows.

    Whom a corrected label agreed with, or who agreed with it, is found anew.
    """
    rows = _result_rows(
        campaign, results, locked.answered, locked, replaces=True, labeler=labeler, now=now
    )
    if not rows:
        return
    sql.REPLACE_RESULT.each(connection, rows)
    ranks: list[int] = [row["rank"] for row in rows]
    _compare_again(connection, campaign, {rank: locked.rows[rank] for rank in ranks})
    for group in group_items(connection, campaign, [locked.rows[rank] for rank in ranks]):
        update(connection, campaign, group, now=now)


def _compare_again(connection: Connection, campaign: Campaign, rows: Mapping[int, Any]) -> None:
    """Set the agreed labels of all results on items. rows: the items', by rank."""
    task = task_named(campaign.task)
    if task.agrees_by_equality:
        return
    given: dict[int, list[Any]] = {rank: [] for rank in rows}
    values = {"campaign": campaign.campaign, "ranks": sorted(rows)}
    for result in sql.GIVEN_LABELS(connection, values):
        if result.label is not None:
            given[result.rank].append(result)
    changed = []
    for rank, item_results in given.items():
        known = [str(rows[rank].gold_label)] if rows[rank].gold_label is not None else []
        labels = [result.label for result in item_results]
        agreed = agreed_labels([*known, *labels], task.agree)[len(known) :]
        for result, earliest in zip(item_results, agreed, strict=True):
            agreed_label = None if earliest == result.label else earliest
            if agreed_label != result.agreed_label:
                changed.append(
                    {
                        "campaign": campaign.campaign,
                        "rank": rank,
                        "labeler": result.labeler,
                        "agreed_label": agreed_label,
                    }
                )
    if changed:
        sql.SET_AGREED_LABEL.each(connection, changed)


def _lock(
    connection: Connection,
    campaign: Campaign,
    tokens: Collection[str],
    *,
    labeler: str,
    answered: Collection[str] = (),
) -> _Locked:
    """The lock is granted before the leases are read: a slot that was leased anew meanwhile
    is seen. answered: tokens under which results are to be replaced; all items are locked in
    one statement, in one order."""
    rank_and_group = lease_groups.look_up(connection, campaign, tokens, labeler=labeler)
    locked = _Locked({}, {}, {}, {})
    if answered:
        values = {"campaign": campaign.campaign, "labeler": labeler, "tokens": list(answered)}
        for result in sql.RESULTS_BY_TOKEN(connection, values):
            locked.answered[result.token] = result.rank, result.role
    token_of = {pair: token for token, pair in rank_and_group.items()}
    ranks = {rank for rank, _ in token_of} | {rank for rank, _ in locked.answered.values()}
    if not ranks:
        return locked
    to_replace = {rank for rank, _ in locked.answered.values()}
    for row in sql.LOCK_ROWS(connection, {"campaign": campaign.campaign, "ranks": sorted(ranks)}):
        lease = item_leases.read(row.leases, row.expired_leases).get(labeler)
        token = token_of.get((row.rank, lease.group_id)) if lease else None
        if lease and token:
            locked.ranks[token], locked.leases[row.rank] = row.rank, lease
        if (lease and token) or row.rank in to_replace:
            locked.rows[row.rank] = row
    return locked


def _result_rows(
    campaign: Campaign,
    results: Sequence[Result],
    items: Mapping[str, tuple[int, str]],
    locked: _Locked,
    *,
    replaces: bool,
    labeler: str,
    now: float,
) -> list[dict[str, Any]]:
    """Rows of the table `results`, of corrections (replaces) or of the others. items: rank and role
    of the tokens under which one is taken."""
    rows = []
    for index, result in enumerate(results):
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
    connection: Connection, campaign: Campaign, accepted: Sequence[dict[str, Any]], locked: _Locked
) -> None:
    """Where labels may agree without being equal: by the labels that others gave before."""
    task = task_named(campaign.task)
    if task.agrees_by_equality:
        return
    earlier: dict[int, list[str]] = {
        rank: [str(row.gold_label)] if row.gold_label is not None else []
        for rank, row in locked.rows.items()
        if rank in locked.leases
    }
    values = {"campaign": campaign.campaign, "ranks": sorted(earlier)}
    for rank, _, _, label in sql.RESULTS(connection, values):
        earlier[rank] += [label] if label is not None else []
    for row in accepted:
        if row["label"] is not None:
            agreed = agreed_labels([*earlier[row["rank"]], row["label"]], task.agree)[-1]
            row["agreed_label"] = None if agreed == row["label"] else agreed


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
