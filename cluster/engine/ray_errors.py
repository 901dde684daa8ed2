"""Errors of ours out of Ray's."""

from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import RayTaskError

from relabel_service.errors import RelabelError

ADVICE = "\nFailed to apply UDF transform"


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
                    raise _without_advice(candidate) from None
            cause = cause.__cause__ or cause.__context__
        raise


def _without_advice(error: RelabelError) -> RelabelError:
    """Without what Ray Data adds about retries (2.60)."""
    message, is_advised, _ = str(error).partition(ADVICE)
    if is_advised:
        error.args = (message,)
    return error
