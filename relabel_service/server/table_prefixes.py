"""Which tables a request may have read and written: under the service's prefixes and the token's.

A service has rights in stores that whoever calls it has not, admins among them.
"""

from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.message import Message

from relabel_service.errors import PermissionDenied
from relabel_service.media import prefixes
from relabel_service.server.auth import Caller

# Fields that are addresses of tables. A test walks the requests for others.
ADDRESSES: Mapping[str, tuple[str, ...]] = {
    "CreateCampaign": ("campaign.findings_uri", "campaign.gold.uri", "campaign.audit.uri"),
    "FinalizeCampaign": ("results_uri",),
    "ExportAnswers": ("results_uri",),
}


def check_tables(request: Message, method: str, caller: Caller, allowed: Sequence[str]) -> None:
    """allowed: the service's; empty for any. Raises PermissionDenied, and InvalidInput for an
    address that is relative where prefixes are set."""
    for field, uri in _addresses(request, method):
        for whose, stated in (
            ("this service opens tables", allowed or None),
            (f"{caller.name!r} may name tables", caller.table_prefixes),
        ):
            if stated is not None and not prefixes.lies_under(uri, stated):
                raise PermissionDenied(
                    f"{field}: {uri[: prefixes.SHOWN]!r} is not opened: {whose} under "
                    f"{', '.join(stated) or 'no address'}; name one there, or have its prefix "
                    "allowed"
                )


def _addresses(request: Message, method: str) -> Iterator[tuple[str, str]]:
    """Fields that are set, and their values."""
    for path in ADDRESSES.get(method, ()):
        value = request
        for name in path.split("."):
            value = getattr(value, name)
        if value:
            yield path, str(value)
