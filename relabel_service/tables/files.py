"""Files and folders by path or address: local, an object store's, or hf:// through huggingface_hub.

Owns how an address becomes bytes and how a file is replaced whole; it refuses to know formats.
"""

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import pyarrow as pa
from pyarrow import fs

from relabel_service.errors import AlreadyExists, InvalidInput, NotFound

HUGGING_FACE = "hf://"


def filesystem(path: str) -> tuple[fs.FileSystem, str]:
    """The file system an address is of, and the path within it. Raises InvalidInput."""
    if path.startswith(HUGGING_FACE):
        try:
            from huggingface_hub import HfFileSystem
        except ImportError:
            raise InvalidInput.of(
                "path",
                f"{path!r} needs huggingface_hub; pip install 'relabel-service[formats]', or "
                "download the files and give their folder",
            ) from None
        return fs.PyFileSystem(fs.FSSpecHandler(HfFileSystem())), path.removeprefix(HUGGING_FACE)
    if "://" not in path:
        return fs.LocalFileSystem(), str(Path(path).absolute())
    try:
        found, inside = fs.FileSystem.from_uri(path)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput.of(
            "path", f"{path!r} is not an address that can be opened ({error}); check it"
        ) from None
    return found, inside


def join(folder: str, name: str) -> str:
    """The address of a name relative to a folder; an absolute name stays."""
    if "://" in name or name.startswith("/"):
        return name
    return f"{folder.rstrip('/')}/{name}"


def inside(folder: str, name: str) -> str:
    """The address of a file to write below a folder. Raises InvalidInput for one beside it."""
    if "://" in name or name.startswith("/") or ".." in name.split("/"):
        raise InvalidInput.of(
            "table", f"names the file {name!r}, which is not below {folder!r}; rename it there"
        )
    return join(folder, name)


def parent(path: str) -> str:
    return path.rstrip("/").rpartition("/")[0] or ("/" if path.startswith("/") else ".")


def absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())


def is_file(path: str) -> bool:
    return _kind(path) is fs.FileType.File


def is_folder(path: str) -> bool:
    return _kind(path) is fs.FileType.Directory


def names_under(folder: str, *suffixes: str) -> list[str]:
    """Names of the files below a folder, relative to it, sorted; of these suffixes where given."""
    system, root = filesystem(folder)
    with reached(folder):
        found = system.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
    start = len(root.rstrip("/")) + 1
    names = [info.path[start:] for info in found if info.type == fs.FileType.File]
    return sorted(name for name in names if not suffixes or name.lower().endswith(tuple(suffixes)))


def opened(path: str) -> BinaryIO:
    """The file's bytes as a stream, unpacked where its name ends in .gz, .bz2 or .zst."""
    system, inside = filesystem(path)
    with reached(path):
        return cast(BinaryIO, system.open_input_stream(inside))


@contextmanager
def reached(path: str, done: str = "read") -> Iterator[None]:
    """Turns what a file system answers into this project's errors, with the path."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"there is no file {path!r}; check the path") from None
    except Exception as error:
        # huggingface_hub lets its HTTP client's own errors through (2.4), which are no OSError.
        if isinstance(error, OSError) or path.startswith(HUGGING_FACE):
            said = str(error).partition("\n")[0]
            raise InvalidInput.of(
                "path", f"{path!r} cannot be {done} ({said}); check the address and your access"
            ) from None
        raise


def text(path: str) -> TextIO:
    """The file as UTF-8 text, without a byte order mark; line ends stay as they are."""
    return io.TextIOWrapper(opened(path), encoding="utf-8-sig", newline="")


def whole_text(path: str) -> str:
    """All of a file that is small, as text does. Raises InvalidInput where it is not UTF-8."""
    try:
        with text(path) as stream:
            return stream.read()
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from None


def content(path: str) -> bytes:
    with opened(path) as file:
        return file.read()


def head(path: str, num_bytes: int = 1 << 16) -> bytes:
    with opened(path) as file:
        return file.read(num_bytes)


def not_utf8(path: str, error: UnicodeDecodeError) -> InvalidInput:
    return InvalidInput.of(
        "path",
        f"{path!r} is not UTF-8 text ({error.reason}: {error.object[error.start : error.end]!r}); "
        "save it as UTF-8, for example by iconv",
    )


def require(path: str) -> None:
    """Raises NotFound where there is neither file nor folder; a pattern with * may be either."""
    if "*" not in path and _kind(path) == fs.FileType.NotFound:
        raise NotFound(f"there is no file or folder {path!r}; check the path")


def refuse_existing(path: str) -> None:
    """Raises AlreadyExists: nothing that exists is written over."""
    if _kind(path) != fs.FileType.NotFound:
        raise AlreadyExists(f"{path!r} exists already; name another path, or remove it first")


@contextmanager
def created(path: str) -> Iterator[BinaryIO]:
    """A stream to a new file, which has its name only when all is written."""
    system, inside = filesystem(path)
    is_local = isinstance(system, fs.LocalFileSystem)
    name = inside if not is_local else f"{parent(inside)}/.{os.getpid()}-{Path(inside).name}"
    with reached(path, "written"):
        if is_local:
            Path(inside).parent.mkdir(parents=True, exist_ok=True)
        stream = system.open_output_stream(name)
    try:
        with stream:
            yield cast(BinaryIO, stream)
    except BaseException:
        system.delete_file(name)
        raise
    if is_local:
        Path(name).replace(inside)


@contextmanager
def created_text(path: str) -> Iterator[TextIO]:
    """As created, for UTF-8 text whose line ends stay as they are written."""
    with created(path) as stream:
        wrapped = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        yield wrapped
        wrapped.flush()
        wrapped.detach()


@contextmanager
def created_folder(path: str) -> Iterator[str]:
    """The address to write a new folder at. It has its name only when all is written; of an object
    store, which cannot rename folders, what was written is deleted when it fails."""
    system, inside = filesystem(path.rstrip("/"))
    is_local = isinstance(system, fs.LocalFileSystem)
    name = f"{parent(inside)}/.{secrets.token_hex(4)}-{Path(inside).name}"
    try:
        if is_local:
            with reached(path, "written"):
                Path(name).mkdir(parents=True)
        yield name if is_local else path
        if is_local:
            with reached(path, "written"):
                Path(name).replace(inside)
    except BaseException:
        with suppress(OSError):  # nothing may have been written
            system.delete_dir(name if is_local else inside)
        raise


def write(path: str, data: bytes) -> None:
    with created(path) as stream:
        stream.write(data)


def _kind(path: str) -> fs.FileType:
    system, inside = filesystem(path)
    with reached(path):
        return system.get_file_info([inside.rstrip("/") or "/"])[0].type
