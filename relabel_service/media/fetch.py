"""Pictures and sounds as text: a `data:` URI that holds the bytes, or the address they lie at.

Owns the text form that tables and the queue carry, and the way from it to bytes and
to the wire; it refuses to know what the bytes mean (images.py and audio.py do).
"""

import base64
import binascii
import mimetypes
from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow.fs import FileSystem

from relabel_service.errors import InvalidInput
from relabel_service.media import prefixes
from relabel_service.media.prefixes import SHOWN
from relabel_service.v1 import items_pb2

DATA = "data:"
_BASE64 = ";base64"


def read_media(column: str, value: object, media_type: Callable[[bytes], str]) -> str:
    """The text form of a column's value.

    value: the file's bytes; its address (object-store URL or absolute path); a `data:` URI;
    or a struct of `bytes` and `path`, as the datasets library stores media.
    media_type: says what the bytes are; raises InvalidInput when they are broken.
    Raises InvalidInput naming the column when the media cannot be used.
    """
    if isinstance(value, Mapping) and {"bytes", "path"} <= set(value):
        value = value["path"] if value["bytes"] is None else value["bytes"]
    if not isinstance(value, bytes | str) or not value:
        fault = "is empty" if isinstance(value, bytes | str) else f"is {type(value).__name__}"
        raise InvalidInput.of(column, f"{fault}; give the file's bytes, its address or a data: URI")
    try:
        data = load(value) if isinstance(value, str) else value
        kind = media_type(data)
    except InvalidInput as error:
        raise InvalidInput.of(column, error.violations[0].description) from None
    if isinstance(value, str) and not value.startswith(DATA):
        return value
    return data_uri(data, kind)


def data_uri(data: bytes, media_type: str) -> str:
    return f"{DATA}{media_type}{_BASE64},{base64.b64encode(data).decode()}"


def load(uri: str) -> bytes:
    """The bytes of a text form. Raises InvalidInput when they cannot be had.

    Within prefixes.only_under, addresses elsewhere are refused.
    """
    if uri.startswith(DATA):
        return _inside(uri)[0]
    if (allowed := prefixes.allowed()) is not None:
        prefixes.require(uri, allowed)
    address = prefixes.Address.of(uri)
    try:
        filesystem, root = _filesystem(f"{address.scheme}://{address.store}/")
        with filesystem.open_input_file(f"{root.rstrip('/')}{address.path}") as file:
            return bytes(file.read())
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InvalidInput.of(
            "uri", f"{uri[:SHOWN]!r} cannot be read ({error}); fix the address, or drop the row"
        ) from None


def to_wire(
    uri: str, pixel_frame: items_pb2.PixelFrame = items_pb2.PIXEL_FRAME_UNSPECIFIED
) -> items_pb2.MediaContent:
    """pixel_frame: of a picture, what its boxes are counted in."""
    if uri.startswith(DATA):
        data, media_type = _inside(uri)
        return items_pb2.MediaContent(data=data, media_type=media_type, pixel_frame=pixel_frame)
    guessed, _ = mimetypes.guess_type(urlsplit(uri).path)
    return items_pb2.MediaContent(uri=uri, media_type=guessed or "", pixel_frame=pixel_frame)


def _inside(uri: str) -> tuple[bytes, str]:
    """Bytes and media type of a `data:` URI (RFC 2397), base64 alone."""
    head, comma, body = uri.removeprefix(DATA).partition(",")
    try:
        if not comma or not head.endswith(_BASE64):
            raise ValueError("it is not base64")
        return base64.b64decode(body, validate=True), head.removesuffix(_BASE64)
    except (ValueError, binascii.Error) as error:
        raise InvalidInput.of(
            "uri", f"{uri[:SHOWN]!r} is not a data: URI ({error}); write data:TYPE;base64,BYTES"
        ) from None


@lru_cache(maxsize=64)
def _filesystem(root: str) -> tuple[FileSystem, str]:
    """One client for each bucket, not for each file."""
    filesystem, path = FileSystem.from_uri(root)
    return filesystem, path
