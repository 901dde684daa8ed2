"""What admins do is in the queue's database: before it is done, and when the campaign is gone."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from relabel_service.cli import admin_log as command
from relabel_service.cli import main as cli
from relabel_service.errors import InvalidInput, NotFound, Unavailable
from relabel_service.queue.admin_actions import KEPT_S
from relabel_service.queue.cleaning import step
from relabel_service.server import admin_log
from relabel_service.server.auth import ADMIN as ADMIN_ROLE
from relabel_service.server.auth import Caller, LocalAuthenticator
from relabel_service.server.calls import Calls
from relabel_service.server.service import LeaseService
from relabel_service.server.settings import ServeSettings
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.metadata import LABELER_KEY
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, request_id, write_findings

BOSS = Caller("boss", frozenset({ADMIN_ROLE}))


def listed(service: LeaseService, caller: Caller = ADMIN, **fields: Any) -> list[rpc.AdminAction]:
    actions: list[rpc.AdminAction] = []
    request = rpc.ListAdminActionsRequest(**fields)
    while True:
        response = service.ListAdminActions(request, caller)
        assert response.actions or not request.page_token
        actions += response.actions
        request.page_token = response.next_page_token
        if not request.page_token:
            return actions


def methods(actions: list[rpc.AdminAction]) -> list[str]:
    return [action.method for action in actions]


def close(name: str = CAMPAIGN) -> rpc.CloseCampaignRequest:
    return rpc.CloseCampaignRequest(name=name, request_id=request_id())


def record(start: Start, request: Any, caller: Caller = BOSS) -> None:
    method = type(request).__name__.removesuffix("Request")
    with admin_log.recorded(start.store, method, request, caller):
        pass


def test_a_call_is_written_down_before_it_is_made_and_its_end_after(start: Start) -> None:
    service = start()
    request = close()
    with admin_log.recorded(start.store, "CloseCampaign", request, BOSS):
        [begun] = listed(service)
        assert (begun.outcome, begun.HasField("end_time")) == ("", False)
        start.clock.now += 2
    [done] = listed(service)
    assert (done.who, done.method, done.campaign) == ("boss", "CloseCampaign", CAMPAIGN)
    assert (done.outcome, done.request_id) == ("OK", request.request_id)
    assert done.end_time.seconds - done.time.seconds == 2
    with (
        pytest.raises(NotFound),
        admin_log.recorded(start.store, "CloseCampaign", request, BOSS),
    ):
        raise NotFound("no such campaign")
    assert listed(service)[0].outcome == "NOT_FOUND"


def test_nothing_is_done_that_cannot_be_written_down(start: Start) -> None:
    start()
    done = []
    with (
        pytest.raises(Unavailable),
        admin_log.recorded(Broken(start.store, good=0), "CloseCampaign", close(), BOSS),  # type: ignore[arg-type]
    ):
        done.append("closed")
    assert done == []


def test_a_call_whose_end_cannot_be_written_is_still_done(start: Start) -> None:
    service = start()
    with admin_log.recorded(Broken(start.store, good=1), "CloseCampaign", close(), BOSS):  # type: ignore[arg-type]
        pass
    assert [action.outcome for action in listed(service)] == [""]


class Broken:
    """A store that is lost after so many transactions."""

    def __init__(self, store: Any, *, good: int) -> None:
        self._store, self._good = store, good

    @contextmanager
    def write_transaction(self) -> Iterator[Any]:
        self._good -= 1
        if self._good < 0:
            raise Unavailable("the database is gone")
        with self._store.write_transaction() as moment:
            yield moment


def test_it_is_read_by_campaign_time_and_admin_in_pages(start: Start) -> None:
    service = start()
    for number in range(3):
        record(start, close("campaigns/a"))
        record(start, rpc.PauseCampaignRequest(name="campaigns/b"), ADMIN)
        start.clock.now += 100
        assert len(listed(service)) == 2 * number + 2
    everything = methods(listed(service))
    assert sorted(everything) == ["CloseCampaign"] * 3 + ["PauseCampaign"] * 3
    for size in (1, 2, 5):
        assert methods(listed(service, page_size=size)) == everything
    assert methods(listed(service, parent="campaigns/b")) == ["PauseCampaign"] * 3
    assert methods(listed(service, who="boss")) == ["CloseCampaign"] * 3
    recent = listed(service, start_time={"seconds": int(start.clock.now) - 250})
    assert [action.time.seconds for action in recent] == [1_000_200] * 2 + [1_000_100] * 2
    narrow = Caller("eve", frozenset({ADMIN_ROLE}), frozenset({"a"}))
    assert methods(listed(service, narrow)) == ["CloseCampaign"] * 3
    for wrong in ({"page_token": "?"}, {"page_size": -1}, {"parent": "x"}, {"who": "a\x00"}):
        with pytest.raises(InvalidInput):
            listed(service, **wrong)


def test_requests_are_kept_without_secrets_and_cut(start: Start) -> None:
    service = start()
    uri = "s3://key:secret@bucket/results?signature=secret"
    finalize = rpc.FinalizeCampaignRequest(name=CAMPAIGN, results_uri=uri, request_id=request_id())
    record(start, finalize)
    names = [f"{CAMPAIGN}/items/{number}" for number in range(30)]
    record(start, rpc.ForceReleaseRequest(parent=CAMPAIGN, items=names))
    start.clock.now += 1
    record(start, rpc.ForceReleaseRequest(parent=CAMPAIGN, labeler="x" * 300 + "\x00"))
    actions = {action.method: action for action in listed(service)[1:]}
    kept = json.loads(actions["FinalizeCampaign"].request)
    assert kept == {"results_uri": "s3://***@bucket/results"}
    items = json.loads(actions["ForceRelease"].request)["items"]
    assert (items[0], items[-1], len(items)) == (names[0], "and 10 more", 21)
    assert json.loads(listed(service)[0].request) == {"labeler": "x" * 200 + "…"}


def test_old_actions_go(start: Start) -> None:
    service = start()
    record(start, close())
    start.clock.now += KEPT_S - 1
    record(start, close())
    for left_s, num in ((0, 2), (2, 1)):
        start.clock.now += left_s
        with start.store.write_transaction() as (connection, now):
            step(connection, now=now)
        assert len(listed(service)) == num


def test_every_admin_call_is_logged_and_outlives_its_campaign(tmp_path: Path) -> None:
    findings = write_findings(tmp_path, 1)
    settings = ServeSettings(f"sqlite:///{tmp_path}/queue.db")

    async def work() -> None:
        calls = Calls(settings, LocalAuthenticator())

        async def call(method: str, request: Any, name: str = "boss") -> Any:
            calling = calls.calling({LABELER_KEY: name}, "ipv4:127.0.0.1:1")
            return await calls.unary(method, request, calling)

        await call("CreateCampaign", create_request(findings))
        await call(
            "PauseCampaign", rpc.PauseCampaignRequest(name=CAMPAIGN, request_id=request_id())
        )
        with pytest.raises(InvalidInput):
            await call("PauseCampaign", rpc.PauseCampaignRequest(name=CAMPAIGN, request_id="x"))
        await call(
            "DeleteCampaign", rpc.DeleteCampaignRequest(name=CAMPAIGN, request_id=request_id())
        )
        with pytest.raises(NotFound):
            await call("GetCampaign", rpc.GetCampaignRequest(name=CAMPAIGN))
        response = await call("ListAdminActions", rpc.ListAdminActionsRequest(parent=CAMPAIGN))
        assert [(action.who, action.method, action.outcome) for action in response.actions] == [
            ("boss", "DeleteCampaign", "OK"),
            ("boss", "PauseCampaign", "INVALID_INPUT"),
            ("boss", "PauseCampaign", "OK"),
            ("boss", "CreateCampaign", "OK"),
        ]

    asyncio.run(work())


def test_the_command_lists_them_for_people_and_for_programs(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start()
    record(start, close())

    class Here:
        """A client of the service without transport."""

        def __enter__(self) -> "Here":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def admin_actions(
            self, campaign: str, *, since: Any, who: str
        ) -> Iterator[rpc.AdminAction]:
            fields: dict[str, Any] = {"parent": campaign, "who": who}
            if since is not None:
                assert since.tzinfo is not None
                fields["start_time"] = since
            return iter(listed(service, **fields))

    monkeypatch.setattr(command, "client_of", lambda *_: Here())
    run = CliRunner().invoke
    shown = run(cli.app, ["log", "--since", "1970-01-02"], catch_exceptions=False).stdout
    assert "boss" in shown
    assert "CloseCampaign" in shown
    printed = run(cli.app, ["log", "--json", "--who", "boss"], catch_exceptions=False).stdout
    assert json.loads(printed)["method"] == "CloseCampaign"
    assert run(cli.app, ["log", "--json", "--who", "eve"], catch_exceptions=False).stdout == ""
