"""A folder of files at a local path or an object-store URL, through pyarrow's file systems.

Writes are all or nothing: a reader never sees half a file, and writing a name
again replaces it. Knows nothing of what the files mean.
"""

from pathlib import Path

from pyarrow import NativeFile
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem, copy_files


class Folder:
    """Names are relative, with `/` between parts."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._files: FileSystem
        self._root: str
        if "://" in self.uri:
            self._files, self._root = FileSystem.from_uri(self.uri)
        else:
            self._files, self._root = LocalFileSystem(), str(Path(self.uri).absolute())

    def exists(self, name: str) -> bool:
        info = self._files.get_file_info(self._at(name))
        return bool(info.type != FileType.NotFound)

    def names(self, folder: str, suffix: str) -> list[str]:
        """Files directly in `folder` that end in `suffix`, sorted; none if there is no folder."""
        selector = FileSelector(self._at(folder), allow_not_found=True)
        return sorted(
            f"{folder}/{info.base_name}"
            for info in self._files.get_file_info(selector)
            if info.type == FileType.File and info.base_name.endswith(suffix)
        )

    def read(self, name: str) -> bytes:
        with self._files.open_input_stream(self._at(name)) as stream:
            return bytes(stream.read())

    def open(self, name: str) -> NativeFile:
        """To read parts of a file; close it."""
        return self._files.open_input_file(self._at(name))

    def write(self, name: str, data: bytes) -> None:
        path = self._at(name)
        self._files.create_dir(path.rpartition("/")[0], recursive=True)
        local = isinstance(self._files, LocalFileSystem)
        # An object store shows an object when it is whole; a disk needs the rename.
        staged = f"{path}.part" if local else path
        with self._files.open_output_stream(staged) as stream:
            stream.write(data)
        if local:
            self._files.move(staged, path)

    def size_bytes(self, name: str) -> int:
        return int(self._files.get_file_info(self._at(name)).size)

    def upload(self, source: Path, name: str) -> None:
        """Copy a local folder here."""
        self._files.create_dir(self._at(name), recursive=True)
        copy_files(
            str(source),
            self._at(name),
            source_filesystem=LocalFileSystem(),
            destination_filesystem=self._files,
        )

    def download(self, name: str, target: Path) -> None:
        """Copy a folder from here into the local folder `target`."""
        copy_files(
            self._at(name),
            str(target),
            source_filesystem=self._files,
            destination_filesystem=LocalFileSystem(),
        )

    def delete(self, folder: str) -> None:
        """Remove a folder and what is in it; nothing to do when it is not there."""
        if self.exists(folder):
            self._files.delete_dir(self._at(folder))

    def address(self, name: str) -> str:
        """The name's own URL, or absolute path."""
        return (f"{self.uri}/{name}" if "://" in self.uri else self._at(name)).rstrip("/")

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"
