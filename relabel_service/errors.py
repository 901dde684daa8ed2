"""What can go wrong, in one family.

    RelabelError
    |-- InvalidInput      the request or row breaks a rule      INVALID_ARGUMENT
    |-- NotFound          no such campaign                      NOT_FOUND
    |-- AlreadyExists     the name is taken                     ALREADY_EXISTS
    |-- Conflict          somebody else changed it first        ABORTED
    |-- WrongState        not possible in the present state     FAILED_PRECONDITION
    |-- Unauthenticated   the caller does not prove its name    UNAUTHENTICATED
    |-- PermissionDenied  the caller may not do this            PERMISSION_DENIED
    |-- Exhausted         the caller asks for too much          RESOURCE_EXHAUSTED
    |-- Unavailable       the service cannot be reached         UNAVAILABLE
    `-- DeadlineExceeded  the service did not answer in time    DEADLINE_EXCEEDED

wire/errors.py turns these into gRPC codes and back, for server/app.py and client.py alone.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass


class RelabelError(Exception):
    """Any error this package raises on purpose."""


@dataclass(frozen=True)
class Violation:
    """One broken rule: the field's path, and a sentence naming value, rule and next step."""

    field: str
    description: str


class InvalidInput(RelabelError):
    """The request or the row breaks a rule."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in self.violations))

    def __reduce__(self) -> tuple[type["InvalidInput"], tuple[tuple[Violation, ...]]]:
        # Pickle would call __init__ with the message; errors come from other processes, too.
        return type(self), (self.violations,)

    @classmethod
    def of(cls, field: str, description: str) -> "InvalidInput":
        return cls([Violation(field, description)])


class NotFound(RelabelError):
    """No such campaign, table or column."""


class AlreadyExists(RelabelError):
    """The name is taken."""


class Conflict(RelabelError):
    """Somebody else changed it first."""


class WrongState(RelabelError):
    """Not possible in the present state."""


class Unauthenticated(RelabelError):
    """The caller does not prove its name."""


class PermissionDenied(RelabelError):
    """The caller may not do this."""


class Exhausted(RelabelError):
    """The caller asks for too much. retry_after_s: when that passes with time."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Unavailable(RelabelError):
    """The service cannot be reached."""


class DeadlineExceeded(RelabelError):
    """The service did not answer in time."""


def reason_of(kind: type[RelabelError]) -> str:
    """The error's name in upper snake case, as google.rpc.ErrorInfo has it."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).upper()


def error_of(reason: str, message: str) -> RelabelError:
    """The error that reason_of named; a plain RelabelError where this version does not know it."""
    if reason == reason_of(InvalidInput):
        field, _, description = message.partition(": ")
        return InvalidInput.of(field, description)
    kinds = {reason_of(kind): kind for kind in RelabelError.__subclasses__()}
    return kinds.get(reason, RelabelError)(message)
