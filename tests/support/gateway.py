"""A gateway as a program on this machine, which says on standard error what it does."""

import subprocess
from typing import Self


class Gateway:
    """name: of the program. STARTED and CUT_OFF: what it says when it takes calls, and when it has
    ended a stream for its silence."""

    name: str
    STARTED: str
    CUT_OFF: str

    def __init__(self, *command: str) -> None:
        self._command = command

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self._wait_for(self.STARTED)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def wait_until_cut_off(self) -> None:
        """Return when it has ended a silent stream since the last call."""
        self._wait_for(self.CUT_OFF)

    def _wait_for(self, words: str) -> None:
        """Raises RuntimeError when it ends without saying so."""
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            if words in line:
                return
            said.append(line)
        raise RuntimeError(f"{self.name} ended without saying {words!r}: {''.join(said)}")
