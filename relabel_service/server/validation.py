"""The rules a request must keep, each broken one named by its field."""

import base64
import functools
import re
import secrets
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from relabel_service.errors import Exhausted, InvalidInput, Violation
from relabel_service.queue.campaigns import Settings
from relabel_service.queue.submit import Result
from relabel_service.server.rate_limits import Limits
from relabel_service.tasks.base import Task
from relabel_service.v1 import campaigns_pb2, leases_pb2
from relabel_service.wire.names import CAMPAIGN_ID

ITEM_ID = "[0-9a-f]{1,16}"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_TEXT = 10_000  # characters of a comment or an address
MAX_LABEL = 1 << 20  # of its text form: as much as an item may have that travels with its lease
MAX_VOTES = 100
DEFAULT_PAGE_SIZE = 50
MAX_WAIT_S = 60.0
MAX_SPENT_S = 24 * 3600.0
MIN_LEASE_DURATION_S, MAX_LEASE_DURATION_S = 1.0, 24 * 3600.0

_DECISIONS = {
    number: name.removeprefix("DECISION_").lower()
    for name, number in leases_pb2.Decision.items()
    if number
}


def campaign_of(request: Message) -> str:
    """The id of the campaign that a request is about; empty where it names none."""
    for field in _naming_fields(request.DESCRIPTOR):
        if name := getattr(request, field):
            return str(name.removeprefix("campaigns/").partition("/")[0])
    return ""


@functools.cache
def _naming_fields(kind: Descriptor) -> Sequence[str]:
    return [name for name in ("campaign_id", "name", "parent") if name in kind.fields_by_name]


def check_message(request: object, method: str, limits: Limits) -> None:
    """Raises InvalidInput for bytes that do not parse, Exhausted for too many of them."""
    if not isinstance(request, Message):
        raise InvalidInput.of(
            "request", f"its bytes are not a {method}Request; see the .proto files"
        )
    if request.ByteSize() > limits.max_request_bytes:
        raise Exhausted(
            f"the request has {request.ByteSize()} bytes; send at most {limits.max_request_bytes}, "
            "in several calls"
        )


def campaign_settings(check: "Checks", asked: campaigns_pb2.Campaign) -> Settings:
    """What the new campaign asks for; broken rules go to `check`."""
    check.between("campaign.votes_required", asked.votes_required, 0, MAX_VOTES)
    check.between("campaign.max_votes", asked.max_votes, 0, MAX_VOTES)
    check.share("campaign.min_agreement", asked.min_agreement)
    check.share("campaign.blind_share", asked.blind_share)
    if asked.HasField("gold"):
        check.required("campaign.gold.uri", asked.gold.uri)
        check.required("campaign.gold.run_id", asked.gold.run_id)
        check.share("campaign.gold.rate", asked.gold.rate)
    if asked.HasField("audit"):
        check.required("campaign.audit.uri", asked.audit.uri)
        check.required("campaign.audit.run_id", asked.audit.run_id)
        check.between("campaign.audit.population", asked.audit.population, 1, None)
    duration_s = check.lease_duration("campaign.lease_duration", asked, "lease_duration")
    return Settings(
        votes_required=asked.votes_required or Settings.votes_required,
        max_votes=asked.max_votes,
        min_agreement=asked.min_agreement,
        lease_duration_s=duration_s or Settings.lease_duration_s,
        skip_policy=check.enum_value(
            "campaign.skip_policy", asked.skip_policy, campaigns_pb2.SkipPolicy
        ),
        item_order=check.enum_value(
            "campaign.item_order", asked.item_order, campaigns_pb2.ItemOrder
        ),
        blind_share=asked.blind_share,
        gold_uri=asked.gold.uri,
        gold_run_id=asked.gold.run_id,
        gold_rate=asked.gold.rate,
        audit_uri=asked.audit.uri,
        audit_run_id=asked.audit.run_id,
        audit_population=asked.audit.population,
        secret=secrets.token_hex(16),
    )


class Checks:
    """Collects violations; finish() raises them all together as InvalidInput."""

    MAX_BATCH: ClassVar[int] = 1000

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def finish(self) -> None:
        if self._violations:
            raise InvalidInput(self._violations)

    def required(self, field: str, value: str) -> None:
        if not value:
            self.broken(field, "is empty; it is required")
        self.text(field, value)

    def text(self, field: str, value: str) -> None:
        """Storable, and not too long."""
        if len(value) > MAX_TEXT:
            self.broken(field, f"has {len(value)} characters; send at most {MAX_TEXT}")
        if "\x00" in value:
            self.broken(field, "contains NUL; leave it out")

    def between(self, field: str, value: int, low: int, high: int | None) -> None:
        if value < low or (high is not None and value > high):
            rule = f"from {low} to {high}" if high is not None else f"{low} or more"
            self.broken(field, f"{value} is out of range; use {rule}")

    def campaign_id(self, field: str, value: str) -> None:
        if not re.fullmatch(CAMPAIGN_ID, value):
            self.broken(field, f"{value!r} does not match {CAMPAIGN_ID}")

    def campaign_name(self, field: str, value: str) -> str:
        """The campaign's id within its resource name."""
        match = re.fullmatch(f"campaigns/(?P<id>{CAMPAIGN_ID})", value)
        if match is None:
            self.broken(field, f"{value!r} is not a campaign's name; use campaigns/{{campaign}}")
            return ""
        return match["id"]

    def item_name(self, field: str, value: str) -> str:
        """The id of the campaign that the item's resource name names."""
        match = re.fullmatch(f"campaigns/(?P<id>{CAMPAIGN_ID})/items/{ITEM_ID}", value)
        if match is None:
            self.broken(field, f"{value[:80]!r} is not an item's name; send the name in a lease")
            return ""
        return match["id"]

    def request_id(self, value: str) -> None:
        try:
            uuid.UUID(value)
        except ValueError:
            self.broken("request_id", f"{value!r} is not a UUID; make one for each request")

    def share(self, field: str, value: float) -> None:
        if not 0 <= value <= 1:  # refuses NaN, too
            self.broken(field, f"{value} is out of range; use 0 to 1")

    def enum_value(self, field: str, value: int, kind: Any) -> str:
        """An enum's value in the queue's words; the first named value when unset."""
        if value not in kind.values():
            self.broken(field, f"{value} is none of {', '.join(kind.keys()[1:])}")
            return ""
        prefix = kind.DESCRIPTOR.values_by_number[0].name.removesuffix("UNSPECIFIED")
        return str(kind.Name(value or 1).removeprefix(prefix).lower())

    def duration(self, field: str, message: Any, name: str, *, most_s: float) -> float:
        """Seconds, 0 when the field is unset."""
        duration = getattr(message, name)
        duration_s = float(duration.seconds + duration.nanos / 1e9)
        if not 0 <= duration_s <= most_s:
            self.broken(field, f"{duration_s:g} s is out of range; use 0 to {most_s:g} s")
        return duration_s

    def lease_duration(self, field: str, message: Any, name: str) -> float | None:
        """Seconds, or None when the field is unset."""
        if not message.HasField(name):
            return None
        duration = getattr(message, name)
        duration_s = float(duration.seconds + duration.nanos / 1e9)
        if not MIN_LEASE_DURATION_S <= duration_s <= MAX_LEASE_DURATION_S:
            self.broken(field, f"{duration_s:g} s is out of range; use 1 s to 24 h")
        return duration_s

    def tokens(self, field: str, tokens: Sequence[str], *, subfield: str = "") -> None:
        """From 1 to MAX_BATCH tokens, none empty, none repeated."""
        if not 1 <= len(tokens) <= self.MAX_BATCH:
            self.broken(field, f"has {len(tokens)} tokens; send from 1 to {self.MAX_BATCH}")
        first: dict[str, int] = {}
        for index, token in enumerate(tokens):
            if first.setdefault(token, index) == index and _TOKEN.fullmatch(token):
                continue
            path = f"{field}[{index}]" + (f".{subfield}" if subfield else "")
            if not token:
                self.broken(path, "is empty; it is required")
            elif not _TOKEN.fullmatch(token):
                self.broken(path, f"{token[:80]!r} is not a lease's token; send that")
            if first[token] != index:
                self.broken(path, f"repeats {field}[{first[token]}]; send each token once")

    def token(self, field: str, value: str) -> None:
        if not _TOKEN.fullmatch(value):
            self.broken(field, f"{value[:80]!r} is not a page token; send next_page_token")

    def etag(self, value: str) -> int | None:
        if not value:
            return None
        if not re.fullmatch("[0-9]{1,9}", value):
            self.broken("etag", f"{value!r} is not an etag; send GetCampaign's")
            return None
        return int(value)

    def page_token(self, value: str) -> str:
        """The campaign id the page follows; empty for the first page."""
        try:
            after = base64.urlsafe_b64decode(value.encode("ascii")).decode()
        except ValueError:
            after = "?"
        if after and not re.fullmatch(CAMPAIGN_ID, after):
            self.broken("page_token", f"{value!r} is not a page token; send next_page_token")
            return ""
        return after

    @staticmethod
    def token_after(campaign_id: str) -> str:
        return base64.urlsafe_b64encode(campaign_id.encode()).decode()

    def result(
        self, index: int, result: leases_pb2.Result, task: Task, classes: Sequence[str]
    ) -> Result:
        """One result in the queue's words."""
        decision, comment = _DECISIONS.get(result.decision), result.comment
        if decision is None:
            self.broken(
                f"results[{index}].decision", f"{result.decision} is not a decision; set one"
            )
            return Result(result.token, "", None, "")
        if comment:
            self.text(f"results[{index}].comment", comment)
        label = None
        if decision == "relabel":
            label = self._label(f"results[{index}].label", result, task, classes)
        elif result.HasField("label"):
            self.broken(
                f"results[{index}].label", f"goes with DECISION_RELABEL, not with {decision}"
            )
        spent = result.seconds_spent
        if not 0 <= spent <= MAX_SPENT_S:
            self.broken(
                f"results[{index}].seconds_spent",
                f"{spent:g} is out of range; use 0 to {MAX_SPENT_S:g} seconds",
            )
        return Result(result.token, decision, label, comment, result.replaces, spent or None)

    def _label(
        self, field: str, result: leases_pb2.Result, task: Task, classes: Sequence[str]
    ) -> str | None:
        try:
            label = task.label_from_wire(result.label)
        except InvalidInput as error:
            self.broken(field, error.violations[0].description)
            return None
        if "\x00" in label:
            self.broken(field, "contains NUL; leave it out")
        if len(label) > MAX_LABEL:
            self.broken(field, f"has {len(label)} characters; send at most {MAX_LABEL}")
        fault = task.label_fault(label, classes)
        if fault:
            self.broken(field, fault)
        return label

    def broken(self, field: str, description: str) -> None:
        self._violations.append(Violation(field, description))
