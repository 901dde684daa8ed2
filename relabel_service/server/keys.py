"""The keys that verify tokens: read from files again when they change, or from an issuer's address.

Owns how long a key is believed. What a token must say is auth.py's.
"""

import json
import logging
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import jwt

from relabel_service.errors import InvalidInput, Unavailable

FETCH_TIMEOUT_S = 3.0
REFRESH_S = 300.0  # keys this old are fetched again, in the background
RETRY_S = 10.0  # between two attempts, whatever tokens name
LONGEST_STALE_S = 24 * 3600.0  # that keys are believed while the issuer cannot be reached
MOST_BYTES = 1 << 20

logger = logging.getLogger("ray.serve")


class Keys(Protocol):
    """Keys that may have signed a token."""

    def of(self, token: str) -> Sequence[Any]:
        """Empty where none fits. Raises Unavailable while none can be had, jwt.PyJWTError for
        what is not a token. It may block."""


class FixedKeys:
    """Of the environment."""

    def __init__(self, keys: Sequence[Any]) -> None:
        self._keys = keys

    def of(self, token: str) -> Sequence[Any]:
        return self._keys


class FileKeys:
    """Of a file, read again once it has changed: a key is replaced without a restart."""

    def __init__(self, path: str, parse: Callable[[bytes], Sequence[Any]]) -> None:
        """parse: raises InvalidInput for contents that are not keys. Raises InvalidInput."""
        self._path, self._parse = Path(path), parse
        self._seen = self._state()
        self._keys = parse(self._path.read_bytes())

    def of(self, token: str) -> Sequence[Any]:
        state = self._state()
        if state != self._seen:
            self._seen = state
            try:
                self._keys = self._parse(self._path.read_bytes())
            except (OSError, InvalidInput) as error:
                logger.error("keys stay as they were: %s", error)
            else:
                logger.warning("read %d keys anew from %s", len(self._keys), self._path)
        return self._keys

    def _state(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(frozen=True)
class _Fetched:
    keys: tuple[jwt.PyJWK, ...] = ()
    at: float = field(default=float("-inf"))


class IssuerKeys:
    """Of the issuer's address (JWKS). While it cannot be reached, keys fetched before are used."""

    def __init__(
        self,
        url: str,
        *,
        fetch: Callable[[str], bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._fetch, self._clock = url, fetch or _get, clock
        self._fetched = _Fetched()
        self._tried_at = float("-inf")
        self._failure = "they were not asked for yet"
        self._lock = threading.Lock()

    def of(self, token: str) -> Sequence[Any]:
        wanted = jwt.get_unverified_header(token).get("kid")
        age_s = self._clock() - self._fetched.at
        found = self._named(wanted)
        if not found or age_s > LONGEST_STALE_S:
            self.refresh(newer_than=self._clock() - RETRY_S)
            found = self._named(wanted)
        elif age_s > REFRESH_S and self._clock() - self._tried_at > RETRY_S:
            self._tried_at = self._clock()
            threading.Thread(target=self._refresh, name="keys", daemon=True).start()
        age_s = self._clock() - self._fetched.at
        if age_s > LONGEST_STALE_S or (not found and age_s > RETRY_S):
            raise Unavailable(
                f"the issuer's keys cannot be had from {self._url} ({self._failure}); "
                "ask again later"
            )
        return found

    def _named(self, wanted: str | None) -> Sequence[Any]:
        keys = self._fetched.keys
        return [key for key in keys if wanted is None or key.key_id == wanted]

    def refresh(self, *, newer_than: float) -> None:
        """Fetch them, unless somebody has tried since then, or does now and there are some: tokens
        that name keys of their own invention must not keep everybody's calls waiting."""
        if not self._lock.acquire(blocking=not self._fetched.keys):
            return
        try:
            if self._tried_at < newer_than:
                self._tried_at = self._clock()
                self._refresh()
        finally:
            self._lock.release()

    def _refresh(self) -> None:
        try:
            keys = jwt.PyJWKSet.from_dict(json.loads(self._fetch(self._url))).keys
        except (OSError, ValueError, AttributeError, jwt.PyJWTError) as error:
            self._failure = str(error) or type(error).__name__
            logger.warning("the issuer's keys were not fetched: %s", self._failure)
        else:
            signing = (key for key in keys if key.public_key_use in ("sig", None))
            self._fetched = _Fetched(tuple(signing), self._clock())


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as response:
        body: bytes = response.read(MOST_BYTES)
        return body
