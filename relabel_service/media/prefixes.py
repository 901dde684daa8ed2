"""Where addresses in rows and items may be opened: schemes, and prefixes of folders and stores.

A row is data that anybody may have written: its address is opened only under a prefix that whoever
runs the job or the terminal has stated, or where the table itself lies.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from relabel_service.errors import InvalidInput

SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs")
SHOWN = 60  # characters of an address or URI in an error

_allowed: ContextVar[tuple[str, ...] | None] = ContextVar("allowed", default=None)


@dataclass(frozen=True)
class Address:
    """scheme, store (bucket or host; empty for files), and path, which begins with a slash."""

    scheme: str
    store: str
    path: str

    @classmethod
    def of(cls, uri: str) -> "Address":
        """Raises InvalidInput when it is relative, of another scheme, or has a query.

        A query is settings for the store's client (credentials, another endpoint), which rows have
        no say in; of a path without a scheme, ? is a letter as any other.
        """
        scheme, has_scheme, rest = uri.partition("://")
        if not has_scheme:
            if not uri.startswith("/"):
                raise _fault(
                    uri,
                    "is a relative path, which other machines would read elsewhere; give an "
                    "object-store URL or an absolute path",
                )
            return cls("file", "", uri)
        if scheme.lower() not in SCHEMES:
            raise _fault(
                uri,
                f"cannot be read: its scheme is none of {', '.join(SCHEMES)}; copy the file to "
                "such a store, or put its bytes in the table",
            )
        if "?" in rest:
            raise _fault(
                uri,
                "has a query, which is never sent to a store; leave out what follows the ?, and "
                "set the store's client by its environment variables",
            )
        store, _, path = rest.partition("/")
        return cls(scheme.lower(), store, f"/{path}")

    def is_under(self, prefix: "Address") -> bool:
        """Whether it lies in the prefix's folder or store, links and dots resolved."""
        if (self.scheme, self.store) != (prefix.scheme, prefix.store):
            return False
        path, folder = self._resolved(), prefix._resolved().rstrip("/")
        return path == folder or path.startswith(f"{folder}/")

    def _resolved(self) -> str:
        return os.path.realpath(self.path) if self.scheme == "file" else self.path


def of_table(uri: str) -> tuple[str, ...]:
    """The folder that holds a table, or its whole store; nothing for a table at a root."""
    if "://" not in uri or uri.startswith("file://"):
        folder = os.path.dirname(os.path.abspath(uri.removeprefix("file://").rstrip("/")))
        return () if folder == "/" else (folder,)
    scheme, _, rest = uri.partition("://")
    return (f"{scheme}://{rest.partition('?')[0].partition('/')[0]}/",)


def checked(prefixes: Sequence[str], field: str = "media_prefix") -> tuple[str, ...]:
    """Prefixes as an option gives them. Raises InvalidInput naming one that is not."""
    for prefix in prefixes:
        try:
            Address.of(prefix)
        except InvalidInput as error:
            raise InvalidInput.of(field, error.violations[0].description) from None
    return tuple(prefixes)


@contextmanager
def only_under(prefixes: Sequence[str]) -> Iterator[None]:
    """Within it, require refuses addresses elsewhere."""
    token = _allowed.set(tuple(prefixes))
    try:
        yield
    finally:
        _allowed.reset(token)


def allowed() -> tuple[str, ...] | None:
    """The prefixes of the innermost only_under; None outside any: addresses that were checked
    before, or that whoever runs the job has given."""
    return _allowed.get()


def require(uri: str, prefixes: Sequence[str]) -> None:
    """Raises InvalidInput when the address may not be opened."""
    if not lies_under(uri, prefixes):
        stated = ", ".join(prefixes) or "none"
        raise _fault(
            uri,
            f"is not opened: it lies under none of the allowed places ({stated}); allow its folder "
            "or store with --media-prefix, or put the bytes in the table",
        )


def lies_under(uri: str, prefixes: Sequence[str]) -> bool:
    """Raises InvalidInput for an address that Address.of does not take."""
    address = Address.of(uri)
    is_strange = "\0" in uri or (address.scheme != "file" and ".." in address.path.split("/"))
    return not is_strange and any(address.is_under(Address.of(prefix)) for prefix in prefixes)


def _fault(uri: str, description: str) -> InvalidInput:
    return InvalidInput.of("uri", f"{uri[:SHOWN]!r} {description}")
