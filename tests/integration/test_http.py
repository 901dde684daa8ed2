"""HTTP beside gRPC: Connect calls, streams, events, pictures and sounds, and what is refused."""

import base64
import gzip
import io
import json
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from PIL import Image

from relabel_service import Client
from relabel_service.server.auth import mint
from relabel_service.server.connect import HTTP_STATUS
from relabel_service.server.rate_limits import DEFAULT_LIMITS
from relabel_service.v1 import items_pb2, relabel_service_pb2_grpc
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.metadata import LABELER_KEY
from tests.integration.conftest import FRONTEND, SECRET
from tests.support.campaigns import request_id, write_findings
from tests.support.servers import ServerProcess

SERVICE = rpc.DESCRIPTOR.services_by_name["RelabelService"]
PATH = f"/{SERVICE.full_name}"
UNARY = [method for method in SERVICE.methods if not method.server_streaming]
STREAMS = [method for method in SERVICE.methods if method.server_streaming]


@pytest.fixture(scope="module")
def ann(server: ServerProcess) -> Iterator[httpx.Client]:
    with http_client(server, "ann") as client:
        yield client


@pytest.fixture
def campaign(server: ServerProcess, tmp_path: Path) -> str:
    return create(server, write_findings(tmp_path, 6))


def http_client(server: ServerProcess, labeler: str) -> httpx.Client:
    address = f"http://127.0.0.1:{server.http_port}"
    return httpx.Client(base_url=address, headers={LABELER_KEY: labeler}, timeout=60)


def create(server: ServerProcess, findings_uri: str, *, token: str = "") -> str:
    """token: an admin's, where the server wants one."""
    labeler = "" if token else "admin"
    with Client(server.address, labeler=labeler, token=token) as admin:
        name = f"c-{uuid.uuid4().hex}"
        return admin.create_campaign(name, findings_uri=findings_uri, run_id="run").name


def call(client: httpx.Client, method: str, **request: Any) -> httpx.Response:
    return client.post(f"{PATH}/{method}", json=request)


def envelope(message: bytes, flags: int = 0) -> bytes:
    return struct.pack(">BI", flags, len(message)) + message


def frames(body: bytes) -> list[tuple[int, bytes]]:
    found = []
    while body:
        flags, size = struct.unpack_from(">BI", body)
        found.append((flags, body[5 : 5 + size]))
        body = body[5 + size :]
    return found


def test_items_are_leased_and_answered_in_json(ann: httpx.Client, campaign: str) -> None:
    leased = call(ann, "LeaseItems", parent=campaign, maxItems=2, requestId=request_id()).json()
    results = [
        {"token": lease["token"], "decision": "DECISION_ACCEPT", "comment": "schön"}
        for lease in leased["leases"]
    ]
    answered = call(
        ann, "SubmitResults", parent=campaign, results=results, requestId=request_id()
    ).json()
    statuses = [outcome["status"] for outcome in answered["outcomes"]]
    assert statuses == ["RESULT_STATUS_ACCEPTED"] * 2
    stats = call(ann, "GetCampaignStats", name=campaign).json()["stats"]
    assert (stats["numDone"], stats["numOpen"]) == ("2", "4")


def test_a_repeated_request_gets_the_first_answer(ann: httpx.Client, campaign: str) -> None:
    asked = {"parent": campaign, "maxItems": 1, "requestId": request_id()}
    first, second = (call(ann, "LeaseItems", **asked).json() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("codec", ["json", "proto"])
@pytest.mark.parametrize("method", UNARY, ids=lambda method: method.name)
def test_every_call_refuses_as_grpc_does(
    server: ServerProcess, ann: httpx.Client, method: Any, codec: str
) -> None:
    request: Message = message_factory.GetMessageClass(method.input_type)()
    named = {field.name for field in method.input_type.fields}
    for field in {"name", "parent"} & named:
        setattr(request, field, "campaigns/no such campaign")
    is_json = codec == "json"
    body = json_format.MessageToJson(request).encode() if is_json else request.SerializeToString()
    response = ann.post(
        f"{PATH}/{method.name}", content=body, headers={"content-type": f"application/{codec}"}
    )
    expected = over_grpc(server, method.name, request)
    if isinstance(expected, Message):
        assert response.status_code == 200
        kind = type(expected)
        assert is_json or kind.FromString(response.content) is not None
        assert not is_json or json_format.Parse(response.text, kind()) is not None
    else:
        code, message = expected
        assert response.status_code == HTTP_STATUS[code]
        assert (response.json()["code"], response.json()["message"]) == (code, message)


def over_grpc(server: ServerProcess, method: str, request: Message) -> Message | tuple[str, str]:
    """The response, or the code's name and the message of an error."""
    metadata = [(LABELER_KEY, "ann"), ("application", "relabel")]
    with grpc.insecure_channel(server.address) as channel:
        stub = relabel_service_pb2_grpc.RelabelServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            response: Message = getattr(stub, method)(request, metadata=metadata)
        except grpc.RpcError as error:
            return error.code().name.lower(), error.details() or ""
    return response


def test_the_details_of_an_error_are_decodable(ann: httpx.Client, campaign: str) -> None:
    error = call(ann, "LeaseItems", parent=campaign, maxItems=-1, requestId="no uuid").json()
    [packed] = [d["value"] for d in error["details"] if d["type"] == "google.rpc.BadRequest"]
    bad = BadRequest.FromString(base64.b64decode(packed + "=" * (-len(packed) % 4)))
    assert {violation.field for violation in bad.field_violations} == {"max_items", "request_id"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "request"),
        (b"[]", "request"),
        (b'{"unknown": 1}', "unknown"),
        (b'{"maxItems": "many"}', "max"),
        (b'{"parent": "\\ud800"}', "request"),
        (b"\xff", "request"),
        (b"[" * 2000, "request"),
    ],
    ids=["cut", "list", "unknown", "type", "surrogate", "bytes", "deep"],
)
def test_what_is_no_request_is_told(ann: httpx.Client, body: bytes, reason: str) -> None:
    response = ann.post(
        f"{PATH}/LeaseItems", content=body, headers={"content-type": "application/json"}
    )
    assert (response.status_code, response.json()["code"]) == (400, "invalid_argument")
    assert reason in response.json()["message"]


def test_other_methods_and_types_are_refused(ann: httpx.Client) -> None:
    assert call(ann, "Nothing").json()["code"] == "unimplemented"
    form = ann.post(f"{PATH}/LeaseItems", data={"parent": "x"})
    assert form.status_code == 415
    assert "application/json" in form.headers["accept-post"]
    assert ann.get(f"{PATH}/LeaseItems").status_code == 405


def test_bodies_may_be_compressed_and_only_so_large(ann: httpx.Client, campaign: str) -> None:
    def post(body: bytes, encoding: str) -> httpx.Response:
        headers = {"content-type": "application/json", "content-encoding": encoding}
        return ann.post(f"{PATH}/GetCampaign", content=body, headers=headers)

    asked = json.dumps({"name": campaign}).encode()
    assert post(gzip.compress(asked), "gzip").json()["campaign"]["name"] == campaign
    assert post(asked, "br").json()["code"] == "invalid_argument"
    assert post(gzip.compress(asked)[:-4], "gzip").json()["code"] == "invalid_argument"
    most = DEFAULT_LIMITS.max_request_bytes
    for large in (gzip.compress(b" " * (most + 1)), b" " * (most + 1)):
        refused = post(large, "gzip" if large[:1] != b" " else "identity")
        assert (refused.status_code, refused.json()["code"]) == (429, "resource_exhausted")


def test_a_call_ends_when_its_time_is_up(
    server: ServerProcess, ann: httpx.Client, campaign: str
) -> None:
    with Client(server.address, labeler="bob") as bob:
        bob.lease(campaign, max_items=6)
    response = ann.post(
        f"{PATH}/LeaseItems",
        json={"parent": campaign, "requestId": request_id(), "wait": "30s"},
        headers={"connect-timeout-ms": "200"},
    )
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    wrong = ann.post(f"{PATH}/ListCampaigns", json={}, headers={"connect-timeout-ms": "soon"})
    assert wrong.json()["code"] == "invalid_argument"


@pytest.mark.parametrize("codec", ["json", "proto"])
def test_streams_come_in_envelopes(
    server: ServerProcess, ann: httpx.Client, tmp_path: Path, codec: str
) -> None:
    text = "long " * 300_000
    campaign = create(server, write_findings(tmp_path, 1, content=text))
    [lease] = call(ann, "LeaseItems", parent=campaign, requestId=request_id()).json()["leases"]
    request = rpc.ReadItemRequest(name=lease["item"]["name"])
    is_json = codec == "json"
    body = json_format.MessageToJson(request).encode() if is_json else request.SerializeToString()
    headers = {"content-type": f"application/connect+{codec}"}
    response = ann.post(f"{PATH}/ReadItem", content=envelope(body), headers=headers)
    *chunks, (flags, end) = frames(response.content)
    assert (flags, json.loads(end)) == (2, {})
    parts = [
        (json_format.Parse(chunk, rpc.ReadItemResponse()) if is_json
         else rpc.ReadItemResponse.FromString(chunk)).chunk
        for _, chunk in chunks
    ]  # fmt: skip
    assert len(parts) > 1
    assert items_pb2.Item.FromString(b"".join(parts)).content.text.text == text


@pytest.mark.parametrize("method", STREAMS, ids=lambda method: method.name)
def test_streams_say_in_their_end_what_is_wrong(ann: httpx.Client, method: Any) -> None:
    headers = {"content-type": "application/connect+json"}
    for body, code in (
        (envelope(b'{"unknown": 1}'), "invalid_argument"),
        (b"", "invalid_argument"),
        (envelope(b"{}")[:-1], "invalid_argument"),
        (envelope(b"{}"), "invalid_argument"),
    ):
        response = ann.post(f"{PATH}/{method.name}", content=body, headers=headers)
        [(flags, end)] = frames(response.content)
        assert (response.status_code, flags, json.loads(end)["error"]["code"]) == (200, 2, code)


def test_events_tell_each_change_until_the_end(
    server: ServerProcess, ann: httpx.Client, campaign: str, tmp_path: Path
) -> None:
    states = []
    with (
        Client(server.address, labeler="admin") as admin,
        ann.stream("GET", f"/{campaign}/events") as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line.startswith("data: "):
                states.append(json.loads(line[6:])["campaign"]["state"])
                if len(states) == 1:
                    admin.pause(campaign)
                elif states[-1] == "CAMPAIGN_STATE_PAUSED":
                    admin.finalize(campaign, results_uri=str(tmp_path / "results"))
    assert states[0] == "CAMPAIGN_STATE_ACTIVE"
    assert states[-1] == "CAMPAIGN_STATE_FINALIZED"
    assert ann.get("/campaigns/none/events").json()["code"] == "not_found"


def png(mode: str, size: tuple[int, int] = (4, 3)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 1000 if mode == "I;16" else 0).save(file, "PNG")
    return file.getvalue()


def picture_campaign(server: ServerProcess, folder: Path, content: str, *, token: str = "") -> str:
    folder.mkdir()
    uri = write_findings(folder, 1, content=content, task="image_classification")
    return create(server, uri, token=token)


def leased_media(client: httpx.Client, campaign: str, **headers: str) -> httpx.Response:
    lease = call(client, "LeaseItems", parent=campaign, requestId=request_id()).json()["leases"][0]
    return client.get(f"/{lease['item']['name']}/media", headers=headers)


def inline(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def test_a_picture_is_for_its_holder(
    server: ServerProcess, ann: httpx.Client, tmp_path: Path
) -> None:
    data = png("RGB")
    campaign = picture_campaign(server, tmp_path / "a", inline(data))
    shown = leased_media(ann, campaign)
    assert (shown.status_code, shown.content) == (200, data)
    assert shown.headers["content-type"] == "image/png"
    assert "sandbox" in shown.headers["content-security-policy"]
    path = shown.request.url.path
    part = ann.get(path, headers={"range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, data[2:6])
    assert part.headers["content-range"] == f"bytes 2-5/{len(data)}"
    assert ann.get(path, headers={"range": "bytes=-3"}).content == data[-3:]
    assert ann.get(path, headers={"range": f"bytes={len(data)}-"}).status_code == 416
    with http_client(server, "bob") as bob:
        assert bob.get(path).json()["code"] == "not_found"
    assert httpx.get(str(shown.request.url)).json()["code"] == "unauthenticated"


def test_pictures_that_browsers_show_otherwise_are_decoded_first(
    server: ServerProcess, ann: httpx.Client, tmp_path: Path
) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    tiff, upright = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (4, 3)).save(tiff, "TIFF")
    Image.new("RGB", (4, 3)).save(upright, "PNG", exif=turned)
    for name, data, size in (
        ("deep", png("I;16"), (4, 3)),
        ("ink", png("RGBA"), (4, 3)),
        ("tiff", tiff.getvalue(), (4, 3)),
        ("turned", upright.getvalue(), (3, 4)),
    ):
        campaign = picture_campaign(server, tmp_path / name, inline(data))
        shown = leased_media(ann, campaign)
        assert shown.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(shown.content)) as picture:
            assert (picture.mode, picture.size) == ("RGB", size)


def test_an_address_is_opened_only_where_the_service_may(
    server: ServerProcess, ann: httpx.Client, tmp_path: Path
) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(png("RGB"))
    refused = leased_media(ann, picture_campaign(server, tmp_path / "a", str(file)))
    assert refused.status_code == 400
    assert "--media-prefix" in refused.json()["message"]
    text = create(server, write_findings(tmp_path, 1))
    assert leased_media(ann, text).json()["code"] == "not_found"


def test_a_service_shows_files_under_its_prefixes_to_other_sites_it_names(
    guarded: ServerProcess, media: Path, tmp_path: Path
) -> None:
    (media / "picture.png").write_bytes(png("RGB"))
    (media.parent / "secret.png").write_bytes(png("RGB"))
    admin = mint(SECRET.encode(), "boss", role="admin", lifetime_s=600)

    def showing(path: Path | str) -> str:
        return picture_campaign(guarded, tmp_path / uuid.uuid4().hex, str(path), token=admin)

    with http_client(guarded, "ann") as ann:
        ann.headers["authorization"] = f"Bearer {mint(SECRET.encode(), 'ann', lifetime_s=600)}"
        assert leased_media(ann, showing(media / "picture.png")).content == png("RGB")
        for outside in (media.parent / "secret.png", f"{media}/../secret.png"):
            assert leased_media(ann, showing(outside)).json()["code"] == "invalid_argument"
        asked = {"access-control-request-method": "POST", "origin": FRONTEND}
        allowed = ann.options(f"{PATH}/LeaseItems", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == FRONTEND
        other = ann.options(f"{PATH}/LeaseItems", headers=asked | {"origin": "https://evil.test"})
        assert "access-control-allow-origin" not in other.headers


def test_no_other_site_can_borrow_this_machine(ann: httpx.Client) -> None:
    for headers in (
        {"host": "evil.test"},  # a name that somebody has pointed at this machine
        {"x-forwarded-for": "203.0.113.7"},
        {"forwarded": "for=203.0.113.7"},
    ):
        response = ann.post(f"{PATH}/ListCampaigns", json={}, headers=headers)
        assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
    asked = {"origin": "https://evil.test", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in ann.options(PATH, headers=asked).headers


def test_a_token_is_needed_where_there_are_keys(guarded: ServerProcess) -> None:
    with http_client(guarded, "ann") as client:
        assert call(client, "ListCampaigns").status_code == 401
        token = mint(SECRET.encode(), "ann", lifetime_s=600)
        client.headers["authorization"] = f"Bearer {token}"
        assert call(client, "ListCampaigns").status_code == 200
        refused = call(client, "CreateCampaign", campaignId="x", requestId=request_id())
        assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/static/", "/../app.py"])
def test_nothing_else_is_open(ann: httpx.Client, path: str) -> None:
    response = ann.get(path)
    assert response.status_code == 404
    assert response.headers["x-content-type-options"] == "nosniff"


def test_the_page_brings_all_it_needs(ann: httpx.Client) -> None:
    page = ann.get("/")
    assert page.headers["content-encoding"] == "gzip"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "cookie" not in " ".join(page.headers).lower()
    again = ann.get("/", headers={"if-none-match": page.headers["etag"]})
    assert again.status_code == 304
