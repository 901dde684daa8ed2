"""Webhooks of Label Studio as hints: who is listened to, what is registered, how often it polls."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from relabel_service.bridge.hints import ACTIONS, HEADER, Hints, Listen, Pace
from relabel_service.bridge.label_studio_api import LabelStudioApi
from relabel_service.errors import InvalidInput, Unauthenticated

PROJECT = 7
FOREVER, AT_ONCE = Pace(poll_s=1e6, poll_min_s=1e-3), Pace(poll_s=2e-3, poll_min_s=1e-3)


class Webhooks:
    """Label Studio's webhooks, as its API has them. num_made: by one call, which it may repeat."""

    def __init__(self, *, num_made: int = 1, refusal: int = 0) -> None:
        self.stored: dict[int, dict[str, Any]] = {}
        self._num_made, self._refusal = num_made, refusal
        self.api = LabelStudioApi(
            "http://label-studio", "b" * 40, transport=httpx.MockTransport(self._answer)
        )

    def add(self, **fields: Any) -> int:
        number = len(self.stored) + 1
        self.stored[number] = {"id": number, "project": PROJECT, "headers": {}} | fields
        return number

    def _answer(self, request: httpx.Request) -> httpx.Response:
        number = request.url.path.removeprefix("/api/webhooks/").rstrip("/")
        if request.method == "GET":
            assert request.url.params["project"] == str(PROJECT)
            return httpx.Response(200, json=list(self.stored.values()))
        if request.method == "DELETE":
            del self.stored[int(number)]
            return httpx.Response(204)
        if self._refusal:
            return httpx.Response(self._refusal, text="The provided URL was not allowed.")
        fields = json.loads(request.content)
        if request.method == "PATCH":
            self.stored[int(number)] |= fields
            return httpx.Response(200, json=self.stored[int(number)])
        made = [self.add(**fields) for _ in range(self._num_made)]
        return httpx.Response(201, json=self.stored[made[-1]])

    def secret(self) -> str:
        [secret] = [one["headers"][HEADER] for one in self.stored.values() if one["headers"]]
        return str(secret)


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def hints(stop: threading.Event) -> Iterator[Hints]:
    with Hints(Listen("127.0.0.1", 0), stop) as listening:
        yield listening


def call(hints: Hints, secret: str, project: int = PROJECT, method: str = "POST") -> int:
    return httpx.request(
        method,
        f"{hints.url}/{project}",
        headers={HEADER: secret},
        json={"action": "ANNOTATION_CREATED"} if method == "POST" else None,
        trust_env=False,
    ).status_code


def test_a_call_with_the_secret_wakes_the_polling_of_its_project(hints: Hints) -> None:
    webhooks = Webhooks()
    hints.register(webhooks.api, PROJECT)
    [webhook] = webhooks.stored.values()
    assert webhook["url"] == f"{hints.url}/{PROJECT}"
    assert (webhook["actions"], webhook["send_payload"]) == (list(ACTIONS), False)
    woken = threading.Thread(target=hints.wait, args=(PROJECT, FOREVER))
    woken.start()
    assert call(hints, webhooks.secret()) == 204
    woken.join(60)
    assert not woken.is_alive()


def test_calls_of_others_wake_nobody(hints: Hints) -> None:
    webhooks = Webhooks()
    hints.register(webhooks.api, PROJECT)
    secret = webhooks.secret()
    assert call(hints, "") == 403
    assert call(hints, secret[:-1]) == 403
    assert call(hints, secret, project=PROJECT + 1) == 404
    assert call(hints, secret, method="GET") == 501
    assert not hints.wait(PROJECT, AT_ONCE)
    assert call(hints, secret) == 204  # and this one does
    assert hints.wait(PROJECT, AT_ONCE)


class Counted(threading.Event):
    """What was waited for, without waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return self.is_set()


def test_a_flood_of_calls_is_one_look_and_the_shortest_wait_comes_before_each() -> None:
    stop, webhooks = Counted(), Webhooks()
    with Hints(Listen("127.0.0.1", 0), stop) as hints:
        hints.register(webhooks.api, PROJECT)
        for _ in range(20):
            call(hints, webhooks.secret())
        assert hints.wait(PROJECT, Pace(poll_s=1e6, poll_min_s=5.0))
        assert not hints.wait(PROJECT, Pace(poll_s=0.06, poll_min_s=0.05))
        assert stop.waits == [5.0, 0.05]


def test_the_stop_ends_a_wait_for_a_hint(hints: Hints, stop: threading.Event) -> None:
    waiting = threading.Thread(target=hints.wait, args=(PROJECT, FOREVER))
    waiting.start()
    stop.set()
    waiting.join(60)
    assert not waiting.is_alive()


@pytest.mark.parametrize("num_made", [1, 2])
def test_a_webhook_is_found_again_and_is_there_once(
    num_made: int, hints: Hints, stop: threading.Event
) -> None:
    webhooks = Webhooks(num_made=num_made)
    others = webhooks.add(url="http://elsewhere", headers={})
    hints.register(webhooks.api, PROJECT)
    first = webhooks.secret()
    with Hints(Listen("127.0.0.1", 0), stop) as again:  # after a restart, elsewhere
        again.register(webhooks.api, PROJECT)
        assert call(again, webhooks.secret()) == 204
        assert call(again, first) == 403
    assert [one["url"] for one in webhooks.stored.values()] == [
        "http://elsewhere",
        f"{again.url}/{PROJECT}",
    ]
    again.unregister(webhooks.api, PROJECT)
    assert webhooks.stored.keys() == {others}


def test_what_label_studio_refuses_is_said(hints: Hints) -> None:
    with pytest.raises(Unauthenticated, match="The provided URL was not allowed"):
        hints.register(Webhooks(refusal=403).api, PROJECT)


def test_addresses_to_listen_at() -> None:
    assert Listen.of("10.1.2.3:8090", "") == Listen("10.1.2.3", 8090)
    assert Listen.of("[::1]:0", "https://a.example/hints/") == Listen(
        "::1", 0, "https://a.example/hints"
    )
    for text in ("8090", ":8090", "host:", "host:x", "host:65536"):
        with pytest.raises(InvalidInput, match="is not HOST:PORT"):
            Listen.of(text, "")
    with pytest.raises(InvalidInput, match="and none to call"):
        Listen.of("0.0.0.0:8090", "")
    with pytest.raises(InvalidInput, match="is not an address"):
        Listen.of("10.1.2.3:8090", "a.example")


def test_a_taken_port_is_said(hints: Hints, stop: threading.Event) -> None:
    port = int(hints.url.rpartition(":")[2])
    with (
        pytest.raises(InvalidInput, match="cannot be listened at"),
        Hints(Listen("127.0.0.1", port), stop),
    ):
        pass


@pytest.mark.parametrize(("poll", "least"), [(0.0, 0.0), (1.0, 2.0), (float("nan"), 1.0)])
def test_paces_are_looked_at(poll: float, least: float) -> None:
    with pytest.raises(InvalidInput, match="above 0"):
        Pace(poll, least)
