"""JSON that does not fit in memory: the elements of its arrays, one at a time.

The standard library decodes each element; this module only finds where it ends. Refuses files
that are neither an array nor an object.
"""

import json
from collections.abc import Iterator
from typing import Any, TextIO

from relabel_service.errors import InvalidInput

CHUNK = 1 << 18  # characters read at a time
SPACE = " \t\r\n"
_DECODE = json.JSONDecoder().raw_decode


class JsonStream:
    """A cursor over a JSON text. Raises InvalidInput naming the character where it is broken."""

    def __init__(self, stream: TextIO, path: str) -> None:
        self._stream, self._path = stream, path
        self._buffer, self._at, self._dropped = "", 0, 0
        self._begun = 0  # where in the buffer the last value began

    def array(self) -> Iterator[tuple[str, Any]]:
        """The elements of the array that begins here: each as the file's text and as a value."""
        self._take("[")
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            value = self.value()
            yield self._buffer[self._begun : self._at], value
            if self._take(",]") == "]":
                return

    def pairs(self) -> Iterator[str]:
        """The keys of the object that begins here; the caller takes each value in between."""
        self._take("{")
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            key = self.value()
            self._take(":")
            yield key
            if self._take(",}") == "}":
                return

    def is_array(self) -> bool:
        return self._peek() == "["

    def value(self) -> Any:
        """The whole value that begins here."""
        self._peek()
        while True:
            try:
                value, end = _DECODE(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if self._more():
                    continue
                raise self._broken(error.msg) from None
            except (RecursionError, ValueError) as error:  # very deep, or a number of 4,300 digits
                raise self._broken(str(error)) from None
            if end == len(self._buffer) and self._more():
                continue  # a number may go on in what comes next
            self._begun, self._at = self._at, end
            return value

    def end(self) -> None:
        """Raises InvalidInput where anything but spaces follows."""
        if self._peek():
            raise self._broken("more follows the end")

    def _peek(self) -> str:
        """The next character that is not a space; empty at the end."""
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in SPACE:
                self._at += 1
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def _take(self, allowed: str) -> str:
        sign = self._peek()
        if not sign or sign not in allowed:
            raise self._broken(f"expected {' or '.join(allowed)}")
        self._at += 1
        return sign

    def _more(self) -> bool:
        # A value that goes on doubles what is read, so that a long one is not decoded often.
        chunk = self._stream.read(max(CHUNK, len(self._buffer) - self._at))
        self._dropped += self._at
        self._buffer, self._at = self._buffer[self._at :] + chunk, 0
        return bool(chunk)

    def _broken(self, what: str) -> InvalidInput:
        return InvalidInput.of(
            "path",
            f"{self._path!r} is not whole JSON: {what} at character "
            f"{self._dropped + self._at:,}; fix the file, or export it anew",
        )
