"""The SQL of leases: every statement by name, built once, so that a call only binds values.

Building a statement costs SQLAlchemy more than SQLite takes to run it. Parameters
are named in_ and to_, since a column's name is taken in an INSERT or UPDATE.
"""

from sqlalchemy import (
    BigInteger,
    Float,
    Integer,
    Text,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    select,
    update,
)

from relabel_service.queue import schema as db

_row, _item, _lease, _result = db.queue.c, db.items.c, db.leases.c, db.results.c
_campaign = bindparam("in_campaign", type_=Text)
_labeler = bindparam("in_labeler", type_=Text)
_now = bindparam("in_now", type_=Float)
_limit = bindparam("in_limit", type_=Integer)
_ranks = bindparam("in_ranks", expanding=True, type_=Integer)
_tokens = bindparam("in_tokens", expanding=True, type_=Text)
_state = bindparam("in_state", type_=Text)
_to_state = bindparam("to_state", type_=Text)

_standing = (
    _row.rank,
    _row.kind,
    _row.state,
    _row.not_before,
    _row.votes_needed,
    _row.num_votes,
    _row.num_skips,
    _row.num_attempts,
)

COUNT_HELD = (
    select(func.count())
    .select_from(db.leases)
    .where(_lease.campaign == _campaign, _lease.labeler == _labeler)
    .where(db.LIVE, _lease.expire_time > _now)
)

_due = (
    select(_row.rank)
    .where(_row.campaign == _campaign, _row.state == _state, _row.free_time <= _now)
    .order_by(_row.free_time)
    .limit(_limit)
    .with_for_update(skip_locked=True)
    .cte("due")  # evaluated once, which a subquery that locks need not be
)
# Lost, unless it was only kept back: the worst items still come first, but one that
# every labeler lets expire cannot keep the others waiting.
_lost = case(
    (_row.free_time > _row.not_before, bindparam("in_lost_places", type_=BigInteger)), else_=0
)
FREE_EXPIRED = (
    update(db.queue)
    .where(_row.campaign == _campaign, _row.rank.in_(select(_due.c.rank)))
    .values(state=_to_state, free_time=0.0, place=_row.place + _lost)
)

_holds = exists().where(
    and_(_lease.campaign == _row.campaign, _lease.rank == _row.rank),
    and_(_lease.labeler == _labeler, db.LIVE, _lease.expire_time > _now),
)
_answered = exists().where(
    and_(_result.campaign == _row.campaign, _result.rank == _row.rank),
    _result.labeler == _labeler,
)
# Items with a free slot for the labeler, in their places, locked.
FREE = (
    select(*_standing)
    .where(_row.campaign == _campaign, _row.state == _state, ~_holds, ~_answered)
    .order_by(_row.place, _row.rank)
    .limit(_limit)
    .with_for_update(skip_locked=True, of=db.queue)
)

# Items that the labeler's tokens were given for, locked in the order that everybody keeps.
LOCK = (
    select(*_standing)
    .where(_row.campaign == _campaign)
    .where(
        _row.rank.in_(
            select(_lease.rank).where(
                _lease.token.in_(_tokens),
                _lease.campaign == _campaign,
                _lease.labeler == _labeler,
            )
        )
    )
    .order_by(_row.rank)
    .with_for_update()
)

LIVE_LEASES = select(
    _lease.token, _lease.rank, _lease.labeler, _lease.role, _lease.expire_time
).where(_lease.campaign == _campaign, _lease.rank.in_(_ranks), db.LIVE)

RESULTS = select(_result.rank, _result.role, _result.decision, _result.label).where(
    _result.campaign == _campaign, _result.rank.in_(_ranks)
)

ITEMS = select(db.items).where(_item.campaign == _campaign, _item.rank.in_(_ranks))

LABELS = select(_item.rank, _item.row_id, _item.human_label, _item.suggestion).where(
    _item.campaign == _campaign, _item.rank.in_(_ranks)
)

GIVE = insert(db.leases)
ACCEPT = insert(db.results)

END = update(db.leases).where(_lease.token.in_(_tokens)).values(state=_to_state)

EXTEND = (
    update(db.leases)
    .where(_lease.token.in_(_tokens))
    .values(expire_time=bindparam("to_expire_time", type_=Float))
)

KEEP_BACK = (
    update(db.queue)
    .where(_row.campaign == _campaign, _row.rank.in_(_ranks))
    .values(not_before=bindparam("to_not_before", type_=Float))
)

SETTLE = (
    update(db.queue)
    .where(_row.campaign == _campaign, _row.rank.in_(_ranks))
    .values(
        state=_to_state,
        free_time=bindparam("to_free_time", type_=Float),
        votes_needed=bindparam("to_votes_needed", type_=Integer),
        num_votes=bindparam("to_num_votes", type_=Integer),
        num_skips=bindparam("to_num_skips", type_=Integer),
        num_attempts=_row.num_attempts + bindparam("in_attempts", type_=Integer),
    )
)
