"""A frontend answers for people who have no tokens: who counts, who is refused, what is written."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest

from relabel_service import accept, confirm
from relabel_service.errors import Exhausted, InvalidInput, PermissionDenied, Unauthenticated
from relabel_service.server import audit
from relabel_service.server.auth import (
    ALLOWED,
    FRONTEND,
    LABELER,
    ROLES,
    AuthSettings,
    LocalAuthenticator,
    OpenAuthenticator,
    TokenAuthenticator,
    answering_for,
    check_allowed,
    mint,
    on_behalf_of,
)
from relabel_service.server.calls import Calls
from relabel_service.server.rate_limits import Limits
from relabel_service.server.settings import ServeSettings
from relabel_service.v1 import leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.metadata import LABELER_KEY, ON_BEHALF_OF_KEY, TOKEN_KEY
from tests.support.campaigns import CAMPAIGN, create_request, request_id, write_findings
from tests.unit.test_auth import PEER, SECRET, bearer, claims

LOCAL = "ipv4:127.0.0.1:5000"


@pytest.fixture
def auth(tmp_path: Path) -> AuthSettings:
    (tmp_path / "secret").write_text(SECRET)
    return AuthSettings(secret_file=str(tmp_path / "secret"))


@pytest.fixture(autouse=True)
def no_audit_log() -> Iterator[None]:
    yield
    audit.open_log("")


def token(name: str, **claims: Any) -> str:
    return mint(SECRET.encode(), name, lifetime_s=600, **claims)


def frontend(*labelers: str, **claims: Any) -> str:
    return token("bridge", role=FRONTEND, labelers=labelers, **claims)


def metadata(bearer_token: str, labeler: str = "") -> dict[str, str]:
    return bearer(bearer_token) | ({ON_BEHALF_OF_KEY: labeler} if labeler else {})


def test_a_frontend_is_the_labeler_that_it_names(auth: AuthSettings) -> None:
    sent = metadata(frontend("ann", "ls/*", campaigns=("a",)))
    proven = TokenAuthenticator(auth).caller(sent, PEER)
    for name in ("ann", "ls/bob", "ls/"):
        caller = answering_for(proven, name)
        assert (caller.name, caller.via) == (name, "bridge")
        assert (caller.roles, caller.campaigns) == (frozenset({LABELER}), frozenset({"a"}))
        assert caller.expires_at == proven.expires_at
    for name in ("anna", "Ann", "bob", "l", "bridge", "x" * 300, "a\x00"):
        with pytest.raises(PermissionDenied):
            answering_for(proven, name)
    everybody = TokenAuthenticator(auth).caller(metadata(frontend("*")), PEER)
    assert answering_for(everybody, "whoever").name == "whoever"


@pytest.mark.parametrize("role", [role for role in ROLES if role != FRONTEND])
def test_nobody_else_answers_for_others(auth: AuthSettings, role: str) -> None:
    proven = TokenAuthenticator(auth).caller(bearer(token("bob", role=role)), PEER)
    with pytest.raises(PermissionDenied, match="only a frontend"):
        answering_for(proven, "ann")
    # Nor with the claim of a frontend.
    forged = jwt.encode(claims(role=role, labelers=["*"]), SECRET, algorithm="HS256")
    with pytest.raises(PermissionDenied, match="only a frontend"):
        answering_for(TokenAuthenticator(auth).caller(bearer(forged), PEER), "ann")


@pytest.mark.parametrize("method", ALLOWED)
def test_a_frontend_labels_only_for_somebody(auth: AuthSettings, method: str) -> None:
    proven = TokenAuthenticator(auth).caller(bearer(frontend("*")), PEER)
    if FRONTEND in ALLOWED[method]:
        check_allowed(proven, method, "test")
    elif LABELER in ALLOWED[method]:
        with pytest.raises(PermissionDenied, match=ON_BEHALF_OF_KEY):
            check_allowed(proven, method, "test")
        check_allowed(answering_for(proven, "ann"), method, "test")
    else:
        for caller in (proven, answering_for(proven, "ann")):
            with pytest.raises(PermissionDenied, match=method):
                check_allowed(caller, method, "test")


@pytest.mark.parametrize("labelers", [None, [], "ann", [1]], ids=str)
def test_a_frontends_token_says_for_whom(auth: AuthSettings, labelers: Any) -> None:
    sent = jwt.encode(claims(role=FRONTEND, labelers=labelers), SECRET, algorithm="HS256")
    with pytest.raises(Unauthenticated, match="labelers"):
        TokenAuthenticator(auth).caller(bearer(sent), PEER)
    with pytest.raises(InvalidInput, match="labelers"):
        frontend()
    with pytest.raises(InvalidInput, match="labelers"):
        token("ann", labelers=("bob",))


def test_campaigns_are_required_of_frontends_too(auth: AuthSettings) -> None:
    strict = AuthSettings(secret_file=auth.secret_file, require_campaigns=True)
    with pytest.raises(Unauthenticated, match="names no campaigns"):
        TokenAuthenticator(strict).caller(bearer(frontend("*")), PEER)


def test_names_of_any_letters_travel_in_metadata() -> None:
    assert on_behalf_of({ON_BEHALF_OF_KEY: "Ren%C3%A9%20D."}) == "René D."
    assert on_behalf_of({ON_BEHALF_OF_KEY: "ann@example.org"}) == "ann@example.org"
    assert on_behalf_of({}) == ""


def test_without_keys_this_machine_answers_for_anybody_and_a_gateway_for_nobody() -> None:
    sent = {LABELER_KEY: "bridge"}
    assert answering_for(LocalAuthenticator().caller(sent, LOCAL), "ann").via == "bridge"
    with pytest.raises(PermissionDenied):
        answering_for(OpenAuthenticator().caller(sent, PEER), "ann")


class Bridge:
    """Calls as a transport makes them, with a token and for a labeler."""

    def __init__(self, calls: Calls, bearer_token: str) -> None:
        self._calls, self._token = calls, bearer_token

    async def call(self, method: str, request: Any, labeler: str = "") -> Any:
        calling = self._calls.calling(metadata(self._token, labeler), PEER)
        return await self._calls.unary(method, request, calling)

    async def lease(self, labeler: str, num: int = 1, **fields: Any) -> list[leases_pb2.Lease]:
        request = rpc.LeaseItemsRequest(
            parent=CAMPAIGN, max_items=num, request_id=request_id(), **fields
        )
        return list((await self.call("LeaseItems", request, labeler)).leases)

    async def submit(self, labeler: str, *results: leases_pb2.Result) -> list[int]:
        request = rpc.SubmitResultsRequest(
            parent=CAMPAIGN, results=results, request_id=request_id()
        )
        response = await self.call("SubmitResults", request, labeler)
        return [outcome.status for outcome in response.outcomes]


async def campaign(calls: Calls, findings: str, **settings: Any) -> Bridge:
    """The admin, who has made the campaign "test"."""
    admin = Bridge(calls, token("boss", role="admin"))
    await admin.call("CreateCampaign", create_request(findings, **settings))
    return admin


def test_two_votes_of_one_frontend_end_a_campaign_of_two_votes(
    tmp_path: Path, auth: AuthSettings
) -> None:
    findings = write_findings(tmp_path, 1)
    log = tmp_path / "audit.jsonl"
    settings = ServeSettings(f"sqlite:///{tmp_path}/queue.db", auth=auth, audit_log=str(log))
    accepted, stale = leases_pb2.RESULT_STATUS_ACCEPTED, leases_pb2.RESULT_STATUS_STALE

    async def work() -> Any:
        calls = Calls(settings, TokenAuthenticator(auth))
        admin = await campaign(calls, findings, votes_required=2)
        bridge = Bridge(calls, frontend("ann", "bob", campaigns=("test",)))
        [lease] = await bridge.lease("ann")
        assert await bridge.submit("bob", confirm(lease)) == [stale]  # it is ann's
        assert await bridge.submit("ann", confirm(lease)) == [accepted]
        assert await bridge.lease("ann") == []  # one answer of each labeler
        with pytest.raises(PermissionDenied, match="may not answer for 'cyd'"):
            await bridge.lease("cyd")
        with pytest.raises(PermissionDenied, match="a frontend"):
            await bridge.lease("")
        with pytest.raises(PermissionDenied, match="not an adjudicator"):
            await bridge.lease("ann", adjudicate=True)
        other = Bridge(calls, frontend("ann", campaigns=("other",)))
        with pytest.raises(PermissionDenied, match="no access"):
            await other.lease("ann")
        own = Bridge(calls, token("bob"))
        with pytest.raises(PermissionDenied, match="only a frontend"):
            await own.lease("ann")
        [lease] = await own.lease("")  # with a token of its own, it is the same bob
        assert await bridge.submit("bob", accept(lease)) == [accepted]
        request = rpc.GetCampaignStatsRequest(name=CAMPAIGN)
        return (await admin.call("GetCampaignStats", request)).stats

    stats = asyncio.run(work())
    assert (stats.num_done + stats.num_escalated, stats.num_results) == (1, 2)
    assert {each.labeler for each in stats.labelers} == {"ann", "bob"}
    lines: list[Mapping[str, str]] = [json.loads(line) for line in log.read_text().splitlines()]
    assert [
        (line["who"], line["on_behalf_of"], line["method"], line["outcome"]) for line in lines
    ] == [
        ("boss", "", "CreateCampaign", "OK"),
        ("bridge", "ann", "LeaseItems", "OK"),
        ("bridge", "bob", "SubmitResults", "OK"),
        ("bridge", "ann", "SubmitResults", "OK"),
        ("bridge", "ann", "LeaseItems", "OK"),
        ("bridge", "cyd", "LeaseItems", "PERMISSION_DENIED"),
        ("bridge", "", "LeaseItems", "PERMISSION_DENIED"),
        ("bridge", "ann", "LeaseItems", "PERMISSION_DENIED"),
        ("bridge", "ann", "LeaseItems", "PERMISSION_DENIED"),
        ("bob", "ann", "LeaseItems", "PERMISSION_DENIED"),
        ("bob", "", "LeaseItems", "OK"),
        ("bridge", "bob", "SubmitResults", "OK"),
    ]


def test_quotas_gold_and_blindness_are_the_labelers(tmp_path: Path, auth: AuthSettings) -> None:
    findings = write_findings(tmp_path, 40)
    limits = Limits(burst=6, calls_per_s=0.001, max_leases=30, max_share=1.0)
    settings = ServeSettings(f"sqlite:///{tmp_path}/queue.db", auth=auth, limits=limits)

    async def work() -> None:
        calls = Calls(settings, TokenAuthenticator(auth))
        await campaign(calls, findings, votes_required=3, blind_share=0.5)
        bridge, own = Bridge(calls, frontend("*")), Bridge(calls, token("ann"))
        through = await bridge.lease("ann", 20)
        rest = await own.lease("", 20)
        assert (len(through), len(rest)) == (20, 10)  # together ann's 30
        with pytest.raises(Exhausted, match="'ann' has 30 leases"):
            await bridge.lease("ann")
        of_bob = await bridge.lease("bob", 30)
        assert [lease.item.name for lease in of_bob] == [
            lease.item.name for lease in [*through, *rest]
        ]
        # Who sees an item blind is drawn anew for each labeler, not for the frontend.
        blind = [
            [not lease.item.suggestions for lease in leases]
            for leases in ([*through, *rest], of_bob)
        ]
        assert blind[0] != blind[1]
        assert 0 < sum(blind[0]) < 30
        for _ in range(3):
            await own.call("GetCampaign", rpc.GetCampaignRequest(name=CAMPAIGN))
        with pytest.raises(Exhausted, match="'ann' calls more"):
            await bridge.lease("ann")
        # Calls that are refused are not counted as those of whom they name.
        narrow = Bridge(calls, frontend("ann"))
        for _ in range(9):
            with pytest.raises(PermissionDenied):
                await narrow.lease("cyd")
        assert len(await bridge.lease("cyd")) == 1

    asyncio.run(work())


def test_a_refused_name_is_no_name_of_the_caller(auth: AuthSettings) -> None:
    """The token's subject is who calls, whatever else the metadata names."""
    sent = {TOKEN_KEY: f"Bearer {frontend('ann')}", LABELER_KEY: "eve"}
    assert TokenAuthenticator(auth).caller(sent, PEER).name == "bridge"
