"""A process of its own that answers commands, which a test may put on another host.

It reads one a line, `NUMBER WHAT …`, does each on a thread of its own, and says how it ended:
`NUMBER ok`, `NUMBER Unavailable: …`.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Self

from relabel_service.errors import RelabelError


class Remote:
    """Starts it, and asks it. Ends it when left."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._asked: dict[int, Future[str]] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._listener = Thread(target=self._listen)
        self._listener.start()
        return self

    def ask(self, what: str) -> Future[str]:
        """What it said: "ok", or the error that it was told."""
        number, answer = len(self._asked), Future[str]()
        self._asked[number] = answer
        assert self._process.stdin is not None
        print(number, what, file=self._process.stdin, flush=True)
        return answer

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, _, answer = line.strip().partition(" ")
            self._asked[int(number)].set_result(answer)
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(RuntimeError("the process ended"))


def answer_commands(run: Callable[[list[str]], str]) -> None:
    """In that process, until its input ends. run: blocks; what is to be said."""
    lock = Lock()

    def answer(number: str, *what: str) -> None:
        try:
            said = run([*what])
        except RelabelError as error:
            said = f"{type(error).__name__}: {error}"
        with lock:
            print(number, said, flush=True)

    for line in sys.stdin:
        Thread(target=answer, args=line.split(), daemon=True).start()
