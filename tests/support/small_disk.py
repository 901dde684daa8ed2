"""A disk that can be filled: a file system in memory, which only root may mount."""

import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

BALLAST = "ballast"
STEP_BYTES = 1 << 24  # all at once takes long, and is undone where somebody writes meanwhile


class SmallDisk:
    """Mounted until the block ends."""

    def __init__(self, num_bytes: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
        self._size = num_bytes

    def __enter__(self) -> "SmallDisk":
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._size},mode=777", "tmpfs"]
        subprocess.run([*command, self.folder], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)
        self.folder.rmdir()

    def fill(self) -> None:
        """To the last byte, whoever writes meanwhile."""
        with (self.folder / BALLAST).open("wb") as ballast:
            while room := self._room():
                start, step = os.fstat(ballast.fileno()).st_size, min(room, STEP_BYTES)
                with suppress(OSError):  # somebody was faster
                    os.posix_fallocate(ballast.fileno(), start, step)

    def _room(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def make_room(self) -> None:
        (self.folder / BALLAST).unlink()
