"""One connection to the service: deadlines, retries, and gRPC's failures as RelabelErrors.

Owns who calls, and when a call is sent again. It knows no RPC: the client names the method.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc

from relabel_service.errors import Exhausted, NotFound, RelabelError, Unavailable
from relabel_service.v1 import relabel_service_pb2_grpc
from relabel_service.wire.errors import from_wire
from relabel_service.wire.metadata import APPLICATION, APPLICATION_KEY, LABELER_KEY, TOKEN_KEY

FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 5.0
# What Serve's proxy says until it has learned of the application (Ray 2.60); it soon will.
NOT_ROUTED = f"Application '{APPLICATION}' not found"

T = TypeVar("T")


class Channel:
    """Safe to use from several threads. token, labeler, tls, deadline_s: see client.Client."""

    def __init__(
        self,
        address: str,
        *,
        labeler: str,
        token: str,
        tls: bool,
        deadline_s: float,
        max_attempts: int,
    ) -> None:
        caller = (TOKEN_KEY, f"Bearer {token}") if token else (LABELER_KEY, labeler)
        self._metadata = (caller, (APPLICATION_KEY, APPLICATION))
        self._deadline_s = deadline_s
        self._max_attempts = max_attempts
        options = [("grpc.enable_retries", 0)]
        self._channel = (
            grpc.secure_channel(address, grpc.ssl_channel_credentials(), options=options)
            if tls
            else grpc.insecure_channel(address, options=options)
        )
        self._stub = relabel_service_pb2_grpc.RelabelServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._channel.close()

    def call(self, method: str, request: Any, *, extra_s: float = 0.0) -> Any:
        """The response. extra_s: added to the deadline of each attempt."""

        def attempt() -> Any:
            try:
                return getattr(self._stub, method)(
                    request, timeout=self._deadline_s + extra_s, metadata=self._metadata
                )
            except grpc.RpcError as error:
                raise _error(error) from error

        return self.with_retries(attempt)

    def stream(self, method: str, request: Any, *, extra_s: float | None = None) -> Iterator[Any]:
        """The responses as they come, not retried. extra_s: beyond deadline_s; None: no limit."""
        timeout_s = None if extra_s is None else self._deadline_s + extra_s
        call = getattr(self._stub, method)(request, timeout=timeout_s, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise _error(error) from error
        finally:
            call.cancel()

    def with_retries(self, attempt: Callable[[], T]) -> T:
        """UNAVAILABLE is retried with growing waits, RESOURCE_EXHAUSTED after what it says."""
        backoff_s = FIRST_BACKOFF_S
        for number in range(1, self._max_attempts + 1):
            try:
                return attempt()
            except (Unavailable, Exhausted) as failure:
                wait_s = backoff_s if isinstance(failure, Unavailable) else failure.retry_after_s
                if wait_s is None or number == self._max_attempts:
                    raise
            time.sleep(wait_s)
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
        raise AssertionError("unreachable")


def _error(error: Any) -> RelabelError:
    failure = from_wire(error)
    if isinstance(failure, NotFound) and (error.details() or "").startswith(NOT_ROUTED):
        return Unavailable(str(failure))
    return failure
