"""The log of what admins do, in the queue's database: written as calls are made, and read again."""

import base64
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from relabel_service.errors import Unavailable
from relabel_service.queue import admin_actions
from relabel_service.queue.admin_actions import AdminAction
from relabel_service.queue.store import Store
from relabel_service.server.audit import AUDITED, outcome_of
from relabel_service.server.auth import ADMIN, ALLOWED, Caller
from relabel_service.server.validation import DEFAULT_PAGE_SIZE, Checks, campaign_of
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.names import CAMPAIGNS
from relabel_service.wire.values import timestamp

LOGGED = frozenset(method for method, roles in ALLOWED.items() if roles == {ADMIN}) & AUDITED
MAX_TEXT = 200  # characters of one text of a request
MAX_LISTED = 20  # of a list
ELSEWHERE = ("name", "parent", "campaign_id", "request_id")  # in columns of their own

logger = logging.getLogger("ray.serve")


@contextmanager
def recorded(store: Store, method: str, request: Message, caller: Caller) -> Iterator[None]:
    """Within it, the call is made. Raises what writing to the store raises, before that.

    Where the end cannot be written, the call is what it is: its outcome stays empty in the log.
    """
    campaign = campaign_of(request)
    action = AdminAction(
        action=admin_actions.new_id(),
        time=0.0,
        who=caller.name,
        method=method,
        campaign=campaign,
        request_id=getattr(request, "request_id", "")[:MAX_TEXT],
        request=json.dumps(_summary(request), ensure_ascii=False),
    )
    with store.write_transaction() as (connection, now):
        admin_actions.begin(connection, AdminAction(**{**vars(action), "time": now}))
    outcome = "OK"
    try:
        yield
    except BaseException as error:
        outcome = outcome_of(error)
        raise
    finally:
        try:
            with store.write_transaction() as (connection, now):
                admin_actions.end(connection, action.action, outcome=outcome, now=now)
        except Unavailable as error:
            logger.warning("the end of %s is not in the log of admins: %s", method, error)


def _summary(request: Message) -> dict[str, Any]:
    fields = MessageToDict(request, preserving_proto_field_name=True)
    return {name: _cut(value) for name, value in fields.items() if name not in ELSEWHERE}


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cut(each) for name, each in value.items()}
    if isinstance(value, list):
        rest = [f"and {len(value) - MAX_LISTED} more"] if len(value) > MAX_LISTED else []
        return [*map(_cut, value[:MAX_LISTED]), *rest]
    if isinstance(value, str):
        # NUL cannot be stored; what stands before @ or after ? in an address may be a secret.
        value = value.replace("\x00", "")
        if "://" in value:
            value = re.sub(r"://[^/@]*@", "://***@", value).partition("?")[0]
        return value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}…"
    return value


class AdminLogRpcs:
    """Works on one queue database. Safe to call from several threads."""

    _store: Store

    def ListAdminActions(
        self, request: rpc.ListAdminActionsRequest, caller: Caller
    ) -> rpc.ListAdminActionsResponse:
        check = Checks()
        campaign = check.campaign_name("parent", request.parent) if request.parent else ""
        check.text("who", request.who)
        check.between("page_size", request.page_size, 0, None)
        before = _parsed(check, request.page_token)
        check.finish()
        size = min(request.page_size or DEFAULT_PAGE_SIZE, Checks.MAX_BATCH)
        start = request.start_time
        with self._store.read_transaction() as (connection, _):
            page = admin_actions.page(
                connection,
                campaign=campaign,
                among=caller.campaigns,
                since=start.seconds + start.nanos / 1e9,
                who=request.who,
                before=before,
                limit=size + 1,
            )
        shown = page[:size]
        return rpc.ListAdminActionsResponse(
            actions=map(_message, shown),
            next_page_token=_token(shown[-1]) if len(page) > size else "",
        )


def _message(action: AdminAction) -> rpc.AdminAction:
    return rpc.AdminAction(
        time=timestamp(action.time),
        who=action.who,
        method=action.method,
        campaign=CAMPAIGNS + action.campaign,
        request_id=action.request_id,
        request=action.request,
        outcome=action.outcome,
        end_time=None if action.end_time is None else timestamp(action.end_time),
    )


def _token(last: AdminAction) -> str:
    return base64.urlsafe_b64encode(f"{last.time!r} {last.action}".encode()).decode()


def _parsed(check: Checks, token: str) -> tuple[float, str] | None:
    """Time and action of the last one of the page before; a broken token goes to `check`."""
    if not token:
        return None
    try:
        time, action = base64.urlsafe_b64decode(token.encode("ascii")).decode().split(" ")
        return float(time), action
    except ValueError:
        check.broken("page_token", f"{token[:80]!r} is not a page token; send next_page_token")
        return None
