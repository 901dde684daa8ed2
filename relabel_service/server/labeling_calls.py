"""LeaseItems and SubmitResults, made together with others' where that goes, and alone where not."""

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from google.protobuf.message import Message

from relabel_service.queue.together import ALONE, Alone
from relabel_service.server.auth import Caller
from relabel_service.server.idempotency import Sent
from relabel_service.server.lease_rpcs import check_lease, check_submission, role_of
from relabel_service.server.service import LeaseService
from relabel_service.server.together import Together
from relabel_service.server.validation import campaign_of
from relabel_service.v1 import relabel_service_pb2 as rpc

LONGEST_WAIT_S = 50.0  # of LeaseItems: gateways end what is silent for 60 s by default (nginx)

Key = tuple[str, str, str]  # method, campaign and role
Admit = Callable[[], Caller]
Response = tuple[Caller, Any]

logger = logging.getLogger("ray.serve")


class LabelingCalls:
    """Of one event loop."""

    def __init__(self, service: LeaseService, threads: ThreadPoolExecutor) -> None:
        """threads: for calls that are made alone."""
        self._service, self._threads = service, threads
        self._together: Together[Key, tuple[Any, Admit], Response | Exception | Alone] = Together(
            self._make_together
        )

    async def make(self, method: str, request: Any, admit: Admit) -> Response:
        """Who calls, and the response.

        admit: finds out who calls, and whether the caller may, and counts the call; raises what is
        wrong. It must not wait for anything, or others wait, too.
        """
        admit = functools.cache(admit)  # a call that comes out as ALONE is counted once, too
        if isinstance(request, Message):
            key = method, campaign_of(request), _role(request)
            made = await self._together.call(key, (request, admit), num_items=_num_items(request))
            if isinstance(made, tuple):
                return made
            if isinstance(made, Exception):
                raise made
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._make_alone, method, request, admit)

    def _make_alone(self, method: str, request: Any, admit: Admit) -> Response:
        caller = admit()
        if method == "LeaseItems":
            may_wait = wait_s(request) > 0
            return caller, self._service.LeaseItems(request, caller, may_wait=may_wait)
        return caller, self._service.SubmitResults(request, caller)

    def _make_together(
        self, key: Key, calls: Sequence[tuple[Any, Admit]]
    ) -> list[Response | Exception | Alone]:
        made: list[Response | Exception | Alone] = [ALONE for _ in calls]
        all_sent: dict[int, Sent] = {}
        for index, (request, admit) in enumerate(calls):
            try:
                all_sent[index] = _checked(request, admit())
            except Exception as error:  # raised to whoever called
                made[index] = error
        if not all_sent:
            return made
        method, campaign, _ = key
        lease, submit = self._service.lease_together, self._service.submit_together
        make = lease if method == "LeaseItems" else submit
        try:
            responses = make(campaign, [*all_sent.values()])
        except Exception as error:  # of one of them, or of the database: each is told its own
            logger.warning("%d calls are made each by itself: %s", len(all_sent), error)
            return made
        for (index, sent), response in zip(all_sent.items(), responses, strict=True):
            made[index] = (sent.caller, response) if isinstance(response, Message) else response
        return made


def _checked(request: Any, caller: Caller) -> Sent:
    if isinstance(request, rpc.LeaseItemsRequest):
        sent = Sent(request, caller, may_wait=wait_s(request) > 0)
        check_lease(sent)
        return sent
    check_submission(request)
    return Sent(request, caller)


def _role(request: Message) -> str:
    return role_of(request) if isinstance(request, rpc.LeaseItemsRequest) else ""


def _num_items(request: Any) -> int:
    is_lease = isinstance(request, rpc.LeaseItemsRequest)
    return max(1, request.max_items if is_lease else len(request.results))


def wait_s(request: rpc.LeaseItemsRequest) -> float:
    """How long it may wait here; whoever wants more asks again."""
    return min(float(request.wait.seconds + request.wait.nanos / 1e9), LONGEST_WAIT_S)
