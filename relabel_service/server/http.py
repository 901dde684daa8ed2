"""HTTP beside gRPC, in the same deployment: Connect calls, events, pictures and sounds, the page.

    POST /relabel_service.v1.RelabelService/{Method}     the Connect protocol (connect.py)
    GET  /campaigns/{campaign}/events                    server-sent events of WatchCampaign
    GET  /campaigns/{campaign}/items/{item}              an item that the caller holds, in JSON,
                                                         without the bytes of picture or sound
    GET  /campaigns/{campaign}/items/{item}/media        those; ranges
    GET  /                                               the page (page.py)

Callers prove who they are by the header `authorization: Bearer ...`, as in gRPC's metadata; there
are no cookies, so a page of another site has nothing to borrow. Serve's proxy knows no TLS: a
gateway has it.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

from relabel_service.errors import RelabelError
from relabel_service.server import connect, page
from relabel_service.server.calling import Calling
from relabel_service.server.calls import HEARTBEATS, Calls
from relabel_service.server.connect import Codec, Failure
from relabel_service.v1 import items_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.metadata import LABELER_KEY, ON_BEHALF_OF_KEY, TOKEN_KEY

SERVICE = rpc.DESCRIPTOR.services_by_name["RelabelService"]
BODY_S = 60.0  # how long a caller may take to send a request
PLAIN = Codec(connect.JSON, is_stream=False)
SENT_HEADERS = (
    TOKEN_KEY, LABELER_KEY, ON_BEHALF_OF_KEY, "content-type", "content-encoding",
    "connect-protocol-version", "connect-timeout-ms", "connect-content-encoding", "range",
)  # fmt: skip
SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cache-control": "no-store",
}
"""Of responses that no page is made of: whatever bytes they are, a browser runs nothing of them."""

T = TypeVar("T")

logger = logging.getLogger("ray.serve")


def build(calls: Calls, *, cors_origins: Iterable[str]) -> ASGIApp:
    """cors_origins: of other sites whose pages may call."""
    routes: list[BaseRoute] = [
        *page.routes(),
        *(
            Route(f"/{SERVICE.full_name}/{method.name}", _handler(calls, method), methods=["POST"])
            for method in SERVICE.methods
        ),
        Route(f"/{SERVICE.full_name}/{{method}}", _unimplemented, methods=["POST"]),
        Route("/campaigns/{campaign}/events", _events(calls)),
        Route("/campaigns/{campaign}/items/{item}", _of_item(calls, calls.item, _without_bytes)),
        Route("/campaigns/{campaign}/items/{item}/media", _of_item(calls, calls.media, _media)),
    ]
    origins = list(cors_origins)
    across = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=list(SENT_HEADERS),
        expose_headers=["content-encoding", "content-range"],
        max_age=7200,
    )
    return Starlette(routes=routes, middleware=[Middleware(_Safe), *([across] if origins else [])])


class _Safe:
    """Adds SAFE to what has no headers of its own by these names."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def safely(event: Event) -> None:
            if event["type"] == "http.response.start":
                headers = list(event.get("headers", ()))
                names = {name for name, _ in headers}
                added = [(name.encode(), value.encode()) for name, value in SAFE.items()]
                event["headers"] = headers + [each for each in added if each[0] not in names]
            await send(event)

        await self._app(scope, receive, safely)


def _handler(calls: Calls, method: MethodDescriptor) -> Callable[[Request], Any]:
    request_type = message_factory.GetMessageClass(method.input_type)

    async def handle(request: Request) -> Response:
        codec = Codec.of(request.headers.get("content-type", ""))
        if codec is None or codec.is_stream != method.server_streaming:
            prefix = connect.STREAM if method.server_streaming else connect.UNARY
            return Response(
                status_code=415, headers={"accept-post": f"{prefix}json, {prefix}proto"}
            )
        try:
            timeout_s = connect.timeout_s(request.headers.get("connect-timeout-ms"))
            # Before anything of the body is read: nobody is listened to who may not speak.
            calling = await calls.identified(method.name, _calling(calls, request))
            read = _body(request, most_bytes=calls.limits.max_request_bytes)
            body = await _within(BODY_S if timeout_s is None else min(timeout_s, BODY_S), read)
            if method.server_streaming:
                body = connect.opened(
                    body,
                    request.headers.get("connect-content-encoding", ""),
                    most_bytes=calls.limits.max_request_bytes,
                )
            message = codec.decode(body, request_type)
            if method.server_streaming:
                responses = calls.stream(method.name, message, calling)
                return StreamingResponse(
                    _enveloped(method.name, responses, codec, timeout_s),
                    media_type=codec.content_type,
                )
            response = await _within(timeout_s, calls.unary(method.name, message, calling))
            return _encoded(response, codec, request)
        except Exception as error:
            if not method.server_streaming:
                return _refused(method.name, error)
            ended = connect.end_of_stream(_failure(method.name, error))
            return Response(ended, media_type=codec.content_type)

    return handle


def _calling(calls: Calls, request: Request) -> Calling:
    client = request.client
    host = client.host if client else ""
    kind = "ipv6" if ":" in host else "ipv4"
    peer = f"{kind}:{f'[{host}]' if kind == 'ipv6' else host}:{client.port if client else 0}"
    # fetch and curl send names that are not ASCII as UTF-8; Starlette reads bytes of Latin-1.
    metadata = {name.decode("latin-1"): _text(value) for name, value in request.headers.raw}
    return calls.calling(metadata, peer)


def _text(header: bytes) -> str:
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")


async def _body(request: Request, *, most_bytes: int) -> bytes:
    """Of a unary call decompressed; a stream's envelope says by itself what it is."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most_bytes:
            raise connect.too_large(most_bytes)
        chunks.append(chunk)
    encoding = request.headers.get("content-encoding", "")
    return connect.decompress(b"".join(chunks), encoding, most_bytes=most_bytes)


async def _within(timeout_s: float | None, call: Any) -> Any:
    async with _limited(timeout_s):
        return await call


@asynccontextmanager
async def _limited(timeout_s: float | None) -> AsyncIterator[None]:
    """Raises what connect.timed_out gives where it takes longer; other timeouts are let through."""
    try:
        async with asyncio.timeout(timeout_s) as limit:
            yield
    except TimeoutError:
        if timeout_s is None or not limit.expired():
            raise
        raise connect.timed_out(timeout_s) from None


def _encoded(message: Message, codec: Codec, request: Request) -> Response:
    body, headers = codec.encode(message), {"vary": "accept-encoding"}
    takes_gzip = re.search(r"\bgzip\b", request.headers.get("accept-encoding", ""))
    if takes_gzip and len(body) >= connect.MIN_COMPRESSED_BYTES:
        body, headers["content-encoding"] = connect.compress(body), "gzip"
    return Response(body, media_type=codec.content_type, headers=headers)


async def _enveloped(
    method: str, responses: AsyncGenerator[Message, None], codec: Codec, timeout_s: float | None
) -> AsyncGenerator[bytes, None]:
    failure = None
    try:
        async with aclosing(responses) as stream, _limited(timeout_s):
            async for response in stream:
                yield connect.enveloped(codec.encode(response))
    except Exception as error:
        failure = _failure(method, error)
    yield connect.end_of_stream(failure)


def _events(calls: Calls) -> Callable[[Request], Any]:
    """WatchCampaign: `campaign` events whose data is a WatchCampaignResponse in JSON, and one
    `error` event with an error as Connect writes it where that ends them."""

    async def handle(request: Request) -> Response:
        watch = rpc.WatchCampaignRequest(name=f"campaigns/{request.path_params['campaign']}")
        responses = calls.stream("WatchCampaign", watch, _calling(calls, request))
        try:
            # The first, so that a refusal is a status, as of any other request.
            first = await anext(responses)
        except Exception as error:
            return _refused("WatchCampaign", error)
        events = _event_stream(first, responses)
        return StreamingResponse(events, media_type="text/event-stream")

    return handle


async def _event_stream(
    first: Message, responses: AsyncGenerator[Message, None]
) -> AsyncGenerator[str, None]:
    yield _event(first)
    try:
        async with aclosing(responses) as stream:
            async for response in stream:
                yield _event(response)
    except Exception as error:
        failure = _failure("WatchCampaign", error)
        yield f"event: error\ndata: {json.dumps(failure.to_dict())}\n\n"


def _event(response: Message) -> str:
    if response == HEARTBEATS["WatchCampaign"]:
        return ": still here\n\n"
    return f"event: campaign\ndata: {PLAIN.encode(response).decode()}\n\n"


def _of_item(
    calls: Calls,
    read: Callable[[str, Calling], Awaitable[T]],
    respond: Callable[[T, Request], Response],
) -> Callable[[Request], Any]:
    """read: what is asked for of the item of that name."""

    async def handle(request: Request) -> Response:
        name = "campaigns/{campaign}/items/{item}".format(**request.path_params)
        try:
            found = await read(name, _calling(calls, request))
        except Exception as error:
            return _refused("ReadItem", error)
        return respond(found, request)

    return handle


def _without_bytes(item: items_pb2.Item, request: Request) -> Response:
    kind = item.content.WhichOneof("payload")
    if kind in ("image", "audio"):
        getattr(item.content, kind).ClearField("data")
    return _encoded(item, PLAIN, request)


def _media(media: tuple[bytes, str], request: Request) -> Response:
    data, media_type = media
    return _ranged(data, media_type, request.headers.get("range", ""))


def _ranged(data: bytes, media_type: str, header: str) -> Response:
    """One range of bytes (RFC 9110, 14); of several, or of other units, the whole."""
    headers = {"accept-ranges": "bytes"}
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header.replace(" ", ""))
    if not found or found.group(0) == "bytes=-":
        return Response(data, media_type=media_type, headers=headers)
    first, last = found.groups()
    start = int(first) if first else max(len(data) - int(last), 0)
    end = min(int(last) + 1, len(data)) if first and last else len(data)
    if first and last and int(last) < int(first):
        return Response(data, media_type=media_type, headers=headers)  # not a range: left unheeded
    if start >= len(data) or end <= start:
        return Response(status_code=416, headers={"content-range": f"bytes */{len(data)}"})
    headers["content-range"] = f"bytes {start}-{end - 1}/{len(data)}"
    return Response(data[start:end], status_code=206, media_type=media_type, headers=headers)


async def _unimplemented(request: Request) -> Response:
    known = ", ".join(method.name for method in SERVICE.methods)
    message = f"{request.path_params['method'][:50]!r} is not a method; use one of {known}"
    return _error(Failure("unimplemented", message))


def _refused(method: str, error: Exception) -> Response:
    return _error(_failure(method, error))


def _failure(method: str, error: Exception) -> Failure:
    if not isinstance(error, RelabelError | ClientDisconnect):
        logger.error("%s failed", method, exc_info=error)
    return Failure.of(error)


def _error(failure: Failure) -> Response:
    body = json.dumps(failure.to_dict(), ensure_ascii=False)
    return Response(body, status_code=failure.http_status, media_type="application/json")
