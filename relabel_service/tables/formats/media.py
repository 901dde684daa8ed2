"""Pictures and sounds that a file names: brought in as bytes, or as the address they lie at."""

import mimetypes
from collections.abc import Mapping
from typing import Any

from relabel_service.errors import InvalidInput
from relabel_service.media import images
from relabel_service.tables import files
from relabel_service.tables.formats.base import ImportOptions


def value(folder: str, name: str, options: ImportOptions) -> dict[str, Any]:
    """base.MEDIA of a name relative to a folder; a file that is not there is told in the notes."""
    address = files.absolute(files.join(folder, name))
    if not options.embed:
        return {"bytes": None, "path": address}
    if not files.is_file(address):
        options.notes[f"files not found in {folder}; give their folder by --media"] += 1
        return {"bytes": None, "path": address}
    return {"bytes": files.content(address), "path": name}


def num_bytes(value: Mapping[str, Any] | None) -> int:
    return len((value or {}).get("bytes") or b"")


def data(value: object) -> bytes | None:
    """The bytes of a media column's value; None where it holds an address."""
    if isinstance(value, Mapping):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else None


def address(value: object) -> str | None:
    """The name or address that a media column's value states."""
    if isinstance(value, Mapping):
        value = value.get("path")
    return value if isinstance(value, str) else None


def size(value: object) -> tuple[int, int] | None:
    """Width and height in pixels of a picture; None where it cannot be read."""
    try:
        held = data(value)
        if held is None and (where := address(value)) and files.is_file(where):
            held = files.content(where)
        return images.size(held) if held else None
    except InvalidInput:
        return None


def file_name(value: object, row: int, kind: str = "image") -> str:
    """A name for the row's file: its own, or one by its number and what its bytes are."""
    if where := address(value):
        return where.rpartition("/")[2]
    held = data(value)
    suffix = mimetypes.guess_extension(images.media_type(held)) if held else ""
    return f"{row:06}{suffix or '.jpg'}"
