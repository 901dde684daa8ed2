"""Label Studio's webhooks as hints that somebody annotated: a listener, and its registration.

A hint is no more than a reason to look now. Nothing of a call is believed but that its sender
knows the secret, its body is not read, and a lost one costs nothing: what changed is asked for
each time that polling is due. Label Studio (1.23.2) sends a webhook once, inside the annotator's
own request, and waits a second at most for the response: the listener answers before it acts.
"""

import hmac
import secrets
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from relabel_service.bridge.label_studio_api import LabelStudioApi
from relabel_service.errors import InvalidInput

HEADER = "X-Relabel-Hint"  # has the secret, and says which webhooks are the bridge's
ACTIONS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")
MAX_CALLS = 16  # at once; further connections are closed
CALL_TIMEOUT_S = 2.0  # for a call to arrive
MAX_BODY = 1 << 16  # bytes, thrown away; Label Studio sends the action's name
STOP_CHECK_S = 0.2


@dataclass(frozen=True)
class Pace:
    """Seconds between two looks at a labeler's project: poll_s, and poll_min_s after a hint."""

    poll_s: float = 2.0
    poll_min_s: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.poll_min_s <= self.poll_s < float("inf"):
            raise InvalidInput.of(
                "--poll",
                f"{self.poll_s:g} s, and --poll-min {self.poll_min_s:g} s: both must be above 0, "
                "and --poll-min not above --poll",
            )


@dataclass(frozen=True)
class Listen:
    """Where hints are taken. port: 0 for any that is free. url: the address at which Label Studio
    reaches it; empty for http://HOST:PORT."""

    host: str
    port: int
    url: str = ""

    @classmethod
    def of(cls, text: str, url: str) -> "Listen":
        """Raises InvalidInput where the text is not HOST:PORT or the url is not an address."""
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (host and colon and port.isascii() and port.isdigit() and int(port) < 1 << 16):
            raise InvalidInput.of("--listen", f"{text!r} is not HOST:PORT; give 10.1.2.3:8090")
        if url and not url.startswith(("http://", "https://")):
            raise InvalidInput.of(
                "--webhook-url", f"{url!r} is not an address; give http(s)://host:port"
            )
        if not url and host in ("0.0.0.0", "::"):
            raise InvalidInput.of(
                "--webhook-url",
                f"is needed: --listen {text} is every address of this machine, and none to call",
            )
        return cls(host, int(port), url.rstrip("/"))


class Hints:
    """A listener while it is entered; every labeler's thread waits in wait().

    stop: ends all waiting. Raises InvalidInput, when entered, where it cannot listen.
    """

    def __init__(self, listen: Listen, stop: threading.Event) -> None:
        self._listen, self._stop = listen, stop
        self._secret = secrets.token_urlsafe(32)
        self._bells: dict[str, threading.Event] = {}  # by path
        self._server: _Server | None = None

    def __enter__(self) -> "Hints":
        try:
            self._server = _Server(self._listen, self._ring, self._ring_if_stopped)
        except OSError as error:
            raise InvalidInput.of(
                "--listen",
                f"{self._listen.host}:{self._listen.port} cannot be listened at ({error}); give "
                "an address of this machine and a port that is free",
            ) from None
        threading.Thread(target=self._server.serve_forever, args=(STOP_CHECK_S,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """At which Label Studio reaches the listener."""
        if self._listen.url:
            return self._listen.url
        assert self._server is not None
        host = f"[{self._listen.host}]" if ":" in self._listen.host else self._listen.host
        return f"http://{host}:{self._server.server_address[1]}"

    def register(self, api: LabelStudioApi, project: int) -> None:
        """One webhook of the project, whether there was none, one of an earlier bridge, or several.

        Raises RelabelError where Label Studio will not have it: by default it calls no address of a
        private network (Unauthenticated), and none whose host is one word (InvalidInput).
        """
        self._bells.setdefault(f"/{project}", threading.Event())
        fields = {
            "url": f"{self.url}/{project}",
            "headers": {HEADER: self._secret},
            "actions": ACTIONS,
            "send_for_all_actions": False,
            "send_payload": False,
            "is_active": True,
        }
        ours = _ours(api, project)
        if not ours:
            api.create_webhook({**fields, "project": project})
            ours = _ours(api, project)  # Label Studio may have repeated the call
        for webhook in ours[1:]:
            api.delete_webhook(webhook)
        for webhook in ours[:1]:
            api.update_webhook(webhook, fields)

    def unregister(self, api: LabelStudioApi, project: int) -> None:
        """Nobody listens any more, and each annotation would wait for nobody."""
        for webhook in _ours(api, project):
            api.delete_webhook(webhook)

    def wait(self, project: int, pace: Pace) -> bool:
        """Until the next look is due: after a hint, however many come, pace.poll_min_s at least.
        Whether there was a hint, or the stop."""
        bell = self._bells.setdefault(f"/{project}", threading.Event())
        if self._stop.wait(pace.poll_min_s):
            return True
        is_rung = bell.wait(pace.poll_s - pace.poll_min_s)
        bell.clear()
        return is_rung

    def _ring(self, path: str, secret: str) -> HTTPStatus:
        """The response to a call."""
        if not hmac.compare_digest(secret.encode(), self._secret.encode()):
            return HTTPStatus.FORBIDDEN
        bell = self._bells.get(path[path.rfind("/") :])  # less what --webhook-url's path has
        if bell is None:
            return HTTPStatus.NOT_FOUND
        bell.set()
        return HTTPStatus.NO_CONTENT

    def _ring_if_stopped(self) -> None:
        if self._stop.is_set():
            for bell in [*self._bells.values()]:
                bell.set()


def _ours(api: LabelStudioApi, project: int) -> list[int]:
    found = (int(one["id"]) for one in api.webhooks(project) if HEADER in one["headers"])
    return sorted(found)


class _Server(ThreadingTCPServer):  # HTTPServer would ask for the name of its address
    allow_reuse_address, daemon_threads, block_on_close = True, True, False

    def __init__(
        self,
        listen: Listen,
        ring: Callable[[str, str], HTTPStatus],
        between_calls: Callable[[], None],
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        self.ring, self._between_calls = ring, between_calls
        self._free = threading.BoundedSemaphore(MAX_CALLS)
        super().__init__((listen.host, listen.port), _Call)

    def service_actions(self) -> None:
        self._between_calls()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that go away in the middle are no matter: a hint may be lost."""


class _Call(BaseHTTPRequestHandler):
    timeout = CALL_TIMEOUT_S
    server: _Server

    def do_POST(self) -> None:
        status = self.server.ring(self.path, self.headers.get(HEADER, ""))
        self.send_response_only(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.flush()
        # Unread bytes would reset the connection, perhaps before the response is read.
        length = self.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit():
            self.rfile.read(min(int(length), MAX_BODY))

    def log_message(self, *_: Any) -> None:
        """Nothing: calls are not news."""
