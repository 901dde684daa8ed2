"""Errors of ours out of Ray's."""

from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import RayTaskError

from relabel_service.errors import RelabelError


@contextmanager
def own_errors() -> Iterator[None]:
    """Raises what a worker raised, where it is one of ours: Ray's own holds a traceback."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            inner = cause.cause if isinstance(cause, RayTaskError) else None
            for candidate in (cause, inner):
                if isinstance(candidate, RelabelError) and not isinstance(candidate, RayTaskError):
                    raise candidate from None
            cause = cause.__cause__ or cause.__context__
        raise
