"""The page that people label on: plain files, sent as they lie in static/.

The page makes the calls that any other program makes, with the caller's token. It loads nothing
from elsewhere, and its browser runs nothing but these files, whatever an item holds.
"""

import gzip
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
    "vary": "accept-encoding",
}


@dataclass(frozen=True)
class File:
    """One file: body and gzip are its bytes, plain and compressed."""

    media_type: str
    body: bytes
    gzip: bytes
    etag: str

    @classmethod
    def of(cls, path: Traversable) -> "File":
        body = path.read_bytes()
        return cls(
            media_type=MEDIA_TYPES[path.name.rpartition(".")[2]],
            body=body,
            gzip=gzip.compress(body, mtime=0),
            etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        )


def routes() -> list[Route]:
    """Of each file: index.html at /, the others under their own paths."""
    static = dict(_walk(files(__name__) / "static", ""))
    paths = {"/" if path == "/index.html" else path: each for path, each in static.items()}
    return [Route(path, _sender(File.of(each))) for path, each in sorted(paths.items())]


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    found = []
    for each in folder.iterdir():
        path = f"{prefix}/{each.name}"
        found += _walk(each, path) if each.is_dir() else [(path, each)]
    return found


def _sender(file: File) -> Callable[[Request], Awaitable[Response]]:
    async def send(request: Request) -> Response:
        headers = HEADERS | {"etag": file.etag}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers |= {"content-encoding": "gzip"}
            return Response(file.gzip, media_type=file.media_type, headers=headers)
        return Response(file.body, media_type=file.media_type, headers=headers)

    return send
