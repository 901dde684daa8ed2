"""One connection to the service: deadlines, retries, and gRPC's failures as RelabelErrors.

Owns who calls, and when a call is sent again. It knows no RPC: the client names the method.
"""

import copy
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import grpc

from relabel_service.errors import Exhausted, NotFound, RelabelError, Unavailable
from relabel_service.v1 import relabel_service_pb2_grpc
from relabel_service.wire.credentials import Tls, check_token_is_safe
from relabel_service.wire.errors import from_wire
from relabel_service.wire.metadata import (
    APPLICATION,
    APPLICATION_KEY,
    LABELER_KEY,
    ON_BEHALF_OF_KEY,
    TOKEN_KEY,
)
from relabel_service.wire.reconnecting import SILENCE_S, Watchdog, reconnecting, wait_before

# What Serve's proxy says until it has learned of the application (Ray 2.60); it soon will.
NOT_ROUTED = f"Application '{APPLICATION}' not found"
RESET = ("RST_STREAM", "Stream removed")  # in details, of a stream that was cut off
# Begins what Serve's proxy says, with INTERNAL, of a call whose replica ended (Ray 2.60): ended by
# Serve since it does not reach its database, or killed.
REPLICA_ENDED = "The actor "
# In details, of what no gRPC server answered (grpcio 1.85).
GATEWAY_SAYS = "http2 header with status: "
TOO_LARGE, MAY_NOT = "413", ("401", "403")

T = TypeVar("T")


class Channel:
    """Safe to use from several threads. token, labeler, deadline_s: see client.Client."""

    def __init__(
        self,
        address: str,
        *,
        labeler: str,
        token: str,
        tls: Tls | None,
        allow_plaintext_token: bool,
        deadline_s: float,
        max_attempts: int,
    ) -> None:
        """Raises InvalidInput where a token would leave this machine in clear text unasked."""
        if token and tls is None and not allow_plaintext_token:
            check_token_is_safe(address)
        caller = (TOKEN_KEY, f"Bearer {token}") if token else (LABELER_KEY, labeler)
        self._metadata: tuple[tuple[str, str], ...] = (caller, (APPLICATION_KEY, APPLICATION))
        self._deadline_s = deadline_s
        self._max_attempts = max_attempts
        options = [("grpc.enable_retries", 0)]
        self._channel = (
            grpc.insecure_channel(address, options=options)
            if tls is None
            else grpc.secure_channel(address, tls.credentials(), options=options)
        )
        self._stub = relabel_service_pb2_grpc.RelabelServiceStub(self._channel)  # type: ignore[no-untyped-call]

        self._is_shared = False

    def on_behalf_of(self, labeler: str) -> "Channel":
        """The same connection, with calls for a labeler; it is this one's to close."""
        channel = copy.copy(self)
        channel._metadata = (*self._metadata, (ON_BEHALF_OF_KEY, quote(labeler, safe="@")))
        channel._is_shared = True
        return channel

    def close(self) -> None:
        if not self._is_shared:
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

    def stream(self, method: str, request: Any, *, extra_s: float) -> Iterator[Any]:
        """The responses as they come, not retried. extra_s: beyond deadline_s."""
        timeout_s = self._deadline_s + extra_s
        call = getattr(self._stub, method)(request, timeout=timeout_s, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise _error(error) from error
        finally:
            call.cancel()

    def follow(self, method: str, request: Any) -> Iterator[Any]:
        """The responses of a stream with heartbeats, which lasts as long as they come.

        Not retried. Raises Unavailable where nothing came for SILENCE_S.
        """
        call = getattr(self._stub, method)(request, metadata=self._metadata)
        watchdog = Watchdog(call, silence_s=SILENCE_S)
        try:
            yield from watchdog.responses()
        except grpc.RpcError as error:
            if watchdog.has_bitten:
                raise Unavailable(
                    f"{method} sent nothing for {SILENCE_S:g} s, not even a heartbeat; "
                    "see whether the connection stands"
                ) from error
            raise _error(error) from error
        finally:
            call.cancel()

    def reconnecting(
        self, open_stream: Callable[[bool], Generator[T | None, None, None]]
    ) -> Iterator[T]:
        """See reconnecting.reconnecting."""
        return reconnecting(open_stream, max_attempts=self._max_attempts)

    def with_retries(self, attempt: Callable[[], T]) -> T:
        """UNAVAILABLE is retried with growing waits, RESOURCE_EXHAUSTED after what it says."""
        for number in range(1, self._max_attempts + 1):
            try:
                return attempt()
            except (Unavailable, Exhausted) as failure:
                wait_before(number, failure, max_attempts=self._max_attempts)
        raise AssertionError("unreachable")


def _error(error: Any) -> RelabelError:
    """What gateways and gRPC say of a lost connection, and of a body over a gateway's limit, comes
    with codes of its own. A stream that nginx 1.22 cuts off ends with INTERNAL, "Stream removed
    (RST_STREAM (Received RST_STREAM with error code 2))" (grpcio 1.85); our own INTERNAL says
    INTERNAL_MESSAGE. A server for which over 1,000 calls wait ends some of them, not begun, with
    CANCELLED (grpcio 1.85); the caller's own cancelling never comes here."""
    failure, details = from_wire(error), error.details() or ""
    is_not_routed = isinstance(failure, NotFound) and details.startswith(NOT_ROUTED)
    is_shed = error.code() == grpc.StatusCode.CANCELLED
    if is_not_routed or is_shed or any(sign in details for sign in RESET):
        return Unavailable(str(failure))
    if error.code() == grpc.StatusCode.INTERNAL and details.startswith(REPLICA_ENDED):
        return Unavailable("the service's replica ended while the call was under way; try again")
    status = details.partition(GATEWAY_SAYS)[2]
    if status == TOO_LARGE:
        return Exhausted(
            "the request is larger than the gateway lets through; send fewer results in a call, or "
            "have its limit raised to the service's (nginx: client_max_body_size)"
        )
    if status and status not in MAY_NOT:  # a 404, while the service is away, is UNIMPLEMENTED
        return Unavailable(f"a gateway answered in the service's place: {failure}")
    return failure
