"""Names of campaigns: the id that a person chooses, and the resource name on the wire (AIP-122)."""

import re

from relabel_service.errors import InvalidInput

CAMPAIGN_ID = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
CAMPAIGNS = "campaigns/"


def campaign_id(text: str, *, field: str = "campaign") -> str:
    """The id, from an id or a resource name: `demo` or `campaigns/demo`. Raises InvalidInput."""
    value = text.removeprefix(CAMPAIGNS)
    if not re.fullmatch(CAMPAIGN_ID, value):
        raise InvalidInput.of(
            field,
            f"{text!r} does not name a campaign; use its id, with or without {CAMPAIGNS} before "
            "it: up to 63 of a-z, 0-9 and -, with no - at either end",
        )
    return value


def campaign_name(text: str, *, field: str = "campaign") -> str:
    """The resource name, from an id or a resource name. Raises InvalidInput."""
    return CAMPAIGNS + campaign_id(text, field=field)
