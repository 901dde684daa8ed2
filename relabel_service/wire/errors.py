"""Errors on the wire: the code and the google.rpc details of each, both ways.

Every refusal carries ErrorInfo (reason: the error's name in upper snake case);
a broken rule also carries BadRequest, and a limit that waiting lifts RetryInfo.
"""

from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from relabel_service.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    Exhausted,
    InvalidInput,
    NotFound,
    PermissionDenied,
    RelabelError,
    Unauthenticated,
    Unavailable,
    Violation,
    WrongState,
    reason_of,
)

DOMAIN = "relabel-service"
DETAILS_KEY = "grpc-status-details-bin"  # trailing metadata: a google.rpc.Status
INTERNAL_MESSAGE = "the service failed; its log says why"  # what callers see of our own faults
# gRPC takes 8 KiB of trailers by default; details travel in base64, the message percent-encoded.
MAX_MESSAGE = 600  # characters
MAX_DETAILS_BYTES = 4000

CODES: dict[type[RelabelError], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    Conflict: grpc.StatusCode.ABORTED,
    WrongState: grpc.StatusCode.FAILED_PRECONDITION,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
}
ERRORS = {code: kind for kind, code in CODES.items()}


def to_wire(error: RelabelError) -> tuple[grpc.StatusCode, str, bytes]:
    """The code, the message, and the value that goes under DETAILS_KEY."""
    code, message = CODES[type(error)], _short(str(error), MAX_MESSAGE)
    details = _details_of(error)
    while True:
        packed = [_packed(detail) for detail in details]
        status = Status(code=code.value[0], message=message, details=packed).SerializeToString()
        if len(status) <= MAX_DETAILS_BYTES:
            return code, message, status
        bad = details[-1]  # only violations can be so many
        assert isinstance(bad, BadRequest)
        del bad.field_violations[len(bad.field_violations) // 2 :]


def _details_of(error: RelabelError) -> list[Message]:
    details: list[Message] = [ErrorInfo(reason=reason_of(type(error)), domain=DOMAIN)]
    if isinstance(error, InvalidInput):
        violations = [
            BadRequest.FieldViolation(
                field=_short(violation.field, 100),
                description=_short(violation.description, 300),
            )
            for violation in error.violations
        ]
        details.append(BadRequest(field_violations=violations))
    if isinstance(error, Exhausted) and error.retry_after_s is not None:
        nanos = int(error.retry_after_s * 1e9)
        details.append(RetryInfo(retry_delay=Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)))
    return details


def from_wire(error: Any) -> RelabelError:
    """The error that a failed call (grpc.RpcError with its call's methods) stands for."""
    message = f"{error.details()} ({error.code().name})"
    details = _received(error)
    if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
        violations = [
            Violation(violation.field, violation.description)
            for bad in _unpacked(details, BadRequest)
            for violation in bad.field_violations
        ]
        return InvalidInput(violations or [Violation("request", error.details() or "refused")])
    if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
        waits = [info.retry_delay for info in _unpacked(details, RetryInfo)]
        after_s = waits[0].seconds + waits[0].nanos / 1e9 if waits else None
        return Exhausted(message, retry_after_s=after_s)
    return ERRORS.get(error.code(), RelabelError)(message)


def _received(error: Any) -> list[AnyMessage]:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            try:
                return list(Status.FromString(value).details)
            except DecodeError:
                return []  # another server's details, or a proxy's; the code still counts
    return []


def _unpacked(details: list[AnyMessage], kind: type[Any]) -> list[Any]:
    messages = []
    for detail in details:
        message = kind()
        if detail.Unpack(message):
            messages.append(message)
    return messages


def _packed(detail: Message) -> AnyMessage:
    message = AnyMessage()
    message.Pack(detail)
    return message


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
