"""The Connect protocol: messages in binary or JSON, errors with google.rpc details, in HTTP bodies.

Source: https://connectrpc.com/docs/protocol (unary by POST, and streams of responses). Owns the
bytes of requests and responses; http.py has the routes, calls.py what the calls do.
"""

import base64
import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status

from relabel_service.errors import DeadlineExceeded, Exhausted, InvalidInput, RelabelError
from relabel_service.wire.errors import INTERNAL_MESSAGE, to_wire

UNARY, STREAM = "application/", "application/connect+"  # of content types; `proto` or `json` follow
PROTO, JSON = "proto", "json"
COMPRESSED, LAST = 0x01, 0x02  # flags of an enveloped message
ENVELOPE = struct.Struct(">BI")
MIN_COMPRESSED_BYTES = 1024
HTTP_STATUS = {
    "canceled": 499, "unknown": 500, "invalid_argument": 400, "deadline_exceeded": 504,
    "not_found": 404, "already_exists": 409, "permission_denied": 403,
    "resource_exhausted": 429, "failed_precondition": 400, "aborted": 409, "unimplemented": 501,
    "internal": 500, "unavailable": 503, "unauthenticated": 401,
}  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """An error as Connect writes it. code: Connect's name, as `not_found`."""

    code: str
    message: str
    details: tuple[dict[str, str], ...] = ()

    @property
    def http_status(self) -> int:
        return HTTP_STATUS[self.code]

    def to_dict(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        return error | ({"details": list(self.details)} if self.details else {})

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Of an error that is none of the family, nothing but that the service failed."""
        if not isinstance(error, RelabelError):
            return cls("internal", INTERNAL_MESSAGE)
        code, message, packed = to_wire(error)
        details = tuple(
            {
                "type": detail.type_url.rpartition("/")[2],
                "value": base64.b64encode(detail.value).decode().rstrip("="),
            }
            for detail in Status.FromString(packed).details
        )
        return cls(code.value[1].replace(" ", "_"), message, details)


@dataclass(frozen=True)
class Codec:
    """How messages are written. name: PROTO or JSON; is_stream: each in an envelope."""

    name: str
    is_stream: bool

    @classmethod
    def of(cls, content_type: str) -> "Codec | None":
        """None for a content type that Connect has not."""
        kind = content_type.partition(";")[0].strip().lower()
        for prefix, is_stream in ((STREAM, True), (UNARY, False)):
            if kind.startswith(prefix):
                name = kind.removeprefix(prefix)
                return cls(name, is_stream) if name in (PROTO, JSON) else None
        return None

    @property
    def content_type(self) -> str:
        return (STREAM if self.is_stream else UNARY) + self.name

    def decode(self, body: bytes, kind: type[Message]) -> Message:
        """Raises InvalidInput for bytes that are not such a message, or a field it has not."""
        name = kind.DESCRIPTOR.name
        try:
            if self.name == PROTO:
                return kind.FromString(body)
            return json_format.Parse(body.decode(), kind())
        except (DecodeError, json_format.ParseError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise InvalidInput.of(
                "request", f"is not a {name} in {self.name} ({reason}); see the .proto files"
            ) from None

    def encode(self, message: Message) -> bytes:
        if self.name == PROTO:
            return message.SerializeToString()
        return json_format.MessageToJson(message, indent=None, ensure_ascii=False).encode()


def timeout_s(header: str | None) -> float | None:
    """Of Connect-Timeout-Ms: a whole number of up to ten digits. Raises InvalidInput."""
    if header is None:
        return None
    if not (header.isascii() and header.isdigit() and len(header) <= 10):
        raise InvalidInput.of(
            "connect-timeout-ms", f"{header[:20]!r} is not milliseconds of up to ten digits"
        )
    return int(header) / 1000


def timed_out(after_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"the call took longer than the {after_s:g} s it was given")


def decompress(body: bytes, encoding: str, *, most_bytes: int) -> bytes:
    """Raises InvalidInput for another encoding than gzip, Exhausted for more than most_bytes."""
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise InvalidInput.of(
            "content-encoding", f"{encoding[:20]!r} is not known; send gzip, or identity"
        )
    try:
        inflate = zlib.decompressobj(wbits=31)
        plain = inflate.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise InvalidInput.of("request", f"its bytes are not gzip ({error})") from None
    if len(plain) > most_bytes:
        raise too_large(most_bytes)
    if not inflate.eof:
        raise InvalidInput.of("request", "its gzip ends too early; send all of it")
    return plain


def compress(body: bytes) -> bytes:
    deflate = zlib.compressobj(level=1, wbits=31)
    return deflate.compress(body) + deflate.flush()


def too_large(most_bytes: int) -> Exhausted:
    return Exhausted(
        f"the request has more than {most_bytes} bytes; send at most so many, in several calls"
    )


def opened(envelope: bytes, encoding: str, *, most_bytes: int) -> bytes:
    """The one message of a streaming call's request. encoding: Connect-Content-Encoding."""
    if len(envelope) < ENVELOPE.size:
        raise InvalidInput.of("request", "has no message; send one, in its envelope")
    flags, size = ENVELOPE.unpack_from(envelope)
    body = envelope[ENVELOPE.size :]
    if size != len(body):
        raise InvalidInput.of(
            "request", f"its envelope promises {size} bytes and {len(body)} follow; send one"
        )
    return decompress(body, encoding if flags & COMPRESSED else "", most_bytes=most_bytes)


def enveloped(message: bytes, *, flags: int = 0) -> bytes:
    return ENVELOPE.pack(flags, len(message)) + message


def end_of_stream(failure: Failure | None) -> bytes:
    """What ends every stream."""
    body: dict[str, Any] = {} if failure is None else {"error": failure.to_dict()}
    return enveloped(json.dumps(body).encode(), flags=LAST)
