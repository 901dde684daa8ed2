"""The functions that register the services with Serve's gRPC proxy: grpc_servicer_functions.

Bytes that do not parse as the method's message would end a call as INTERNAL in the
proxy; here they travel on to the replica, which refuses them as INVALID_ARGUMENT.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2_grpc

from relabel_service.v1 import relabel_service_pb2_grpc

SERVICERS = [
    "relabel_service.server.servicers.add_relabel_service",
    "relabel_service.server.servicers.add_health",
]


class Undecodable:
    """Stands for a request whose bytes do not parse."""


def add_relabel_service(servicer: Any, server: Any) -> None:
    relabel_service_pb2_grpc.add_RelabelServiceServicer_to_server(  # type: ignore[no-untyped-call]
        servicer, _Lenient(server)
    )


def add_health(servicer: Any, server: Any) -> None:
    health_pb2_grpc.add_HealthServicer_to_server(servicer, _Lenient(server))


class _Lenient:
    """A server whose methods take any bytes."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        for handler in handlers:
            handler._method_handlers = _lenient(handler._method_handlers)
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self._server.add_registered_method_handlers(service, _lenient(handlers))


def _lenient(handlers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: handler._replace(request_deserializer=_decoder(handler.request_deserializer))
        for name, handler in handlers.items()
    }


def _decoder(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def lenient(message: bytes) -> Any:
        try:
            return decode(message)
        except DecodeError:
            return Undecodable()

    return lenient
