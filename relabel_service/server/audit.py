"""Who changed what: one line of JSON for every call that changes something, done or refused.

    {"time": "2026-11-29T21:30:00.123+00:00", "who": "ann", "on_behalf_of": "",
     "method": "SubmitResults", "campaign": "intents-1", "outcome": "OK", "request_id": "..."}

Never contents, labels, comments or tokens: nothing else of a request is read. `who` is empty where
the caller did not prove its name; `on_behalf_of` is for whom a frontend says it calls, whether it
may or not. That, request_id and campaign are cut to MAX_TEXT characters, as they may be anything.
"""

import asyncio
import json
import logging
import logging.handlers
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from relabel_service.errors import InvalidInput, RelabelError, reason_of
from relabel_service.server.validation import campaign_of
from relabel_service.v1 import relabel_service_pb2 as rpc

MAX_TEXT = 100
SERVICE = rpc.DESCRIPTOR.services_by_name["RelabelService"]
# Every change is sent with a request_id, but for the leases that a stream gives.
AUDITED = frozenset(
    method.name
    for method in SERVICE.methods
    if "request_id" in method.input_type.fields_by_name or method.name == "StreamLeases"
)

logger = logging.getLogger("ray.serve.audit")


def open_log(path: str) -> None:
    """From now on write the lines to a file; empty: to the replica's log, in Ray's log folder.

    The file may be renamed while it is written, as logrotate does: a new one is begun. Lines of
    several replicas do not mix. Raises InvalidInput where it cannot be written.
    """
    opened: list[logging.Handler] = []
    if path:
        try:
            Path(path).touch(mode=0o600)
            opened = [logging.handlers.WatchedFileHandler(path, encoding="utf-8")]
        except OSError as error:
            raise InvalidInput.of(
                "audit_log", f"{path!r} cannot be written ({error.strerror}); name another file"
            ) from error
    for earlier in logger.handlers[:]:
        logger.removeHandler(earlier)
        earlier.close()
    for handler in opened:
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    # Through Serve's logger, since what goes to standard error Serve looks for the caller of, line
    # by line (Ray 2.60): an eighth of a replica's time.
    logger.propagate = not opened
    logger.setLevel(logging.INFO)


def outcome_of(error: BaseException) -> str:
    """How a call ended that raised this, as the metrics and the audit lines name it."""
    if isinstance(error, RelabelError):
        return reason_of(type(error))
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "CANCELLED"
    return "INTERNAL"


def write(
    method: str,
    request: object,
    *,
    who: str,
    on_behalf_of: str = "",
    outcome: str,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """One line, where the method is among AUDITED. outcome: as metrics.METRICS has them."""
    if method not in AUDITED:
        return
    is_message = isinstance(request, Message)
    line: dict[str, Any] = {
        "time": clock().isoformat(timespec="milliseconds"),
        "who": who,
        "on_behalf_of": on_behalf_of[:MAX_TEXT],
        "method": method,
        "campaign": campaign_of(request)[:MAX_TEXT] if isinstance(request, Message) else "",
        "outcome": outcome,
        "request_id": str(getattr(request, "request_id", ""))[:MAX_TEXT] if is_message else "",
    }
    # As logger.info, which looks for the calling line first: a third of a short call's time.
    logger.handle(logging.LogRecord(logger.name, logging.INFO, "", 0, json.dumps(line), None, None))
