"""Which tables a request may name."""

from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor

from relabel_service.errors import InvalidInput, PermissionDenied
from relabel_service.server.auth import ADMIN, Caller
from relabel_service.server.settings import ServeSettings
from relabel_service.server.table_prefixes import ADDRESSES, check_tables
from relabel_service.v1 import campaigns_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc

SERVICE = rpc.DESCRIPTOR.services_by_name["RelabelService"]
ANYWHERE = Caller("root", frozenset({ADMIN}))
NARROW = Caller("eve", frozenset({ADMIN}), table_prefixes=("s3://team/eve",))
SET_BY_SERVICE = {"CreateCampaign": {"campaign.results_uri"}}  # what a request says is left out


def addresses(message: Descriptor, path: str = "") -> set[str]:
    """Paths of the fields, however deep, whose name says that they are addresses."""
    found: set[str] = set()
    for field in message.fields:
        if field.name == "uri" or field.name.endswith("_uri"):
            found.add(path + field.name)
        elif field.message_type is not None and not field.is_repeated:
            found |= addresses(field.message_type, f"{path}{field.name}.")
    return found


@pytest.mark.parametrize("method", list(SERVICE.methods), ids=lambda method: method.name)
def test_every_address_that_a_request_has_is_looked_at(method: object) -> None:
    name, request = method.name, method.input_type  # type: ignore[attr-defined]
    found = addresses(request) - SET_BY_SERVICE.get(name, set())
    assert found == set(ADDRESSES.get(name, ()))


def request_for(field: str, uri: str) -> tuple[str, object]:
    if field == "results_uri":
        return "FinalizeCampaign", rpc.FinalizeCampaignRequest(results_uri=uri)
    asked = campaigns_pb2.Campaign(findings_uri="s3://team/eve/findings")
    if field == "findings":
        asked.findings_uri = uri
    else:
        getattr(asked, field).uri = uri
    return "CreateCampaign", rpc.CreateCampaignRequest(campaign=asked)


@pytest.mark.parametrize("field", ["results_uri", "findings", "gold", "audit"])
@pytest.mark.parametrize(
    ("uri", "is_taken"),
    [
        ("s3://team/eve/table", True),
        ("s3://team/evelyn/table", False),
        ("s3://team/eve/../ann/table", False),
        ("s3://other/eve/table", False),
        ("gs://team/eve/table", False),
        ("/etc/passwd", False),
    ],
)
def test_a_token_and_a_service_open_tables_under_their_prefixes(
    field: str, uri: str, is_taken: bool
) -> None:
    method, request = request_for(field, uri)
    for caller, allowed in ((NARROW, ()), (ANYWHERE, ("s3://team/eve/",))):
        if is_taken:
            check_tables(request, method, caller, allowed)  # type: ignore[arg-type]
        else:
            with pytest.raises(PermissionDenied, match=r"is not opened: .* under s3://team/eve"):
                check_tables(request, method, caller, allowed)  # type: ignore[arg-type]
    check_tables(request, method, ANYWHERE, ())  # type: ignore[arg-type]
    with pytest.raises(PermissionDenied):
        check_tables(request, method, NARROW, ("s3://elsewhere",))  # type: ignore[arg-type]


def test_links_lead_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "link").symlink_to(tmp_path / "closed")
    method, request = request_for("findings", str(tmp_path / "open" / "link"))
    with pytest.raises(PermissionDenied):
        check_tables(request, method, ANYWHERE, (str(tmp_path / "open"),))  # type: ignore[arg-type]


def test_prefixes_are_addresses() -> None:
    with pytest.raises(InvalidInput, match="table_prefix: 'data' is a relative path"):
        ServeSettings("sqlite:///queue.db", table_prefixes=("data",))
