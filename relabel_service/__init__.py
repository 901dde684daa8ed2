"""Contract, tables, lease queue, service and client of relabel-service.

The names below are the front door. They are loaded when first used, so that importing a
submodule stays cheap. Nothing here imports torch; only server/app.py imports Ray.
"""

from typing import TYPE_CHECKING

from relabel_service.lazy import attach

if TYPE_CHECKING:
    from relabel_service.client import Client as Client
    from relabel_service.decisions import accept as accept
    from relabel_service.decisions import confirm as confirm
    from relabel_service.decisions import escalate as escalate
    from relabel_service.decisions import relabel as relabel
    from relabel_service.decisions import skip as skip
    from relabel_service.errors import AlreadyExists as AlreadyExists
    from relabel_service.errors import Conflict as Conflict
    from relabel_service.errors import DeadlineExceeded as DeadlineExceeded
    from relabel_service.errors import Exhausted as Exhausted
    from relabel_service.errors import InvalidInput as InvalidInput
    from relabel_service.errors import NotFound as NotFound
    from relabel_service.errors import PermissionDenied as PermissionDenied
    from relabel_service.errors import RelabelError as RelabelError
    from relabel_service.errors import Unauthenticated as Unauthenticated
    from relabel_service.errors import Unavailable as Unavailable
    from relabel_service.errors import Violation as Violation
    from relabel_service.errors import WrongState as WrongState

EXPORTS = {
    "client": ("Client",),
    "decisions": ("accept", "confirm", "escalate", "relabel", "skip"),
    "errors": (
        "AlreadyExists",
        "Conflict",
        "DeadlineExceeded",
        "Exhausted",
        "InvalidInput",
        "NotFound",
        "PermissionDenied",
        "RelabelError",
        "Unauthenticated",
        "Unavailable",
        "Violation",
        "WrongState",
    ),
}
__getattr__, __dir__ = attach(__name__, EXPORTS)
