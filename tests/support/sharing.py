"""Which test files run in one process one after another, when several share the files of a run.

Files that ask for the same costly start (of a service, of Ray) stay together, so that it is made
once; every other file is a unit of its own, as with xdist's loadfile.
"""

import functools
import re
from pathlib import Path
from typing import Any

from xdist.scheduler import LoadFileScheduling

# Fixtures of tests/integration/conftest.py.
STARTS = {"service": ("server", "guarded"), "ray": ("ray_cluster", "engine")}
ASKED = r"\b(?:{names}): (?:ServerProcess|Engine)[,)]"  # as an argument of a test


@functools.cache
def unit_of(file: Path) -> str:
    """The name of what the file starts; its own where that is nothing that others start too."""
    if file.parent.name == "integration":
        text = file.read_text("utf-8")
        for name, fixtures in STARTS.items():
            if re.search(ASKED.format(names="|".join(fixtures)), text):
                return name
    return str(file)


class BySharedStart(LoadFileScheduling):  # type: ignore[misc]
    """Gives a process all files of one start, or one other file, at a time."""

    def __init__(self, config: Any, log: Any = None) -> None:
        super().__init__(config, log)
        self._root = Path(config.rootpath)

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(self._root / super()._split_scope(nodeid))
