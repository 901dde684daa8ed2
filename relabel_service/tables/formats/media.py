"""Pictures and sounds that a file names: brought in as bytes, or as the address they lie at."""

import mimetypes
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from relabel_service.errors import InvalidInput
from relabel_service.media import images
from relabel_service.tables import files
from relabel_service.tables.formats.base import ImportOptions

MAX_NAME = 120  # characters of a file's name that are an id's


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


class FileNames:
    """Names of files, of which no two are alike: file systems may not tell cases apart, and files
    of one name and other suffixes would share their labels."""

    def __init__(self) -> None:
        self._stems: set[str] = set()

    def take(self, name: str) -> str:
        """A name that a file has."""
        self._stems.add(_stem(name).lower())
        return name

    def free(self, name: str) -> str:
        """The name, or with ~1, ~2 and so on behind its stem."""
        stem, number = _stem(name), 1
        free = stem
        while free.lower() in self._stems:
            free, number = f"{stem}~{number}", number + 1
        return self.take(free + name[len(stem) :])

    def of_row(self, row: Mapping[str, Any], number: int, folder: str = "") -> str:
        """A free name for the picture of a row: its file's own, its id, or its number."""
        picture = row.get("image")
        if named := row.get("file_name") or address(picture):
            name = str(named).replace("\\", "/").rpartition("/")[2]
        else:
            own_id = row.get("id")
            stem = f"{number:06}" if own_id is None else file_stem(str(own_id))
            name = stem + _suffix(picture)
        return self.free(f"{folder}/{name}" if folder else name)


def file_stem(row_id: str) -> str:
    """An id as a file's name: itself where it has only letters, digits, spaces and -._~."""
    return quote(row_id, safe=" ")[:MAX_NAME] or "row"


def _stem(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    stem, dot, _ = base.rpartition(".")
    return folder + slash + (stem if dot and stem else base)


def _suffix(picture: object) -> str:
    held = data(picture)
    try:
        kind = images.media_type(held) if held else ""
    except InvalidInput:  # which is for whoever trains on it to say
        kind = ""
    return mimetypes.guess_extension(kind) or ".jpg"
