"""Nothing that a labeler can read tells gold or audit items from the others.

Every field of every message is walked by its descriptor, so that a field that is added later is
compared, too. The test knows the items' kinds by their contents; a labeler does not.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf.message import Message

from relabel_service import accept, relabel
from relabel_service.errors import InvalidInput, RelabelError
from relabel_service.server.rate_limits import Limits
from relabel_service.server.service import LeaseService
from relabel_service.tables import delta, schemas
from relabel_service.v1 import campaigns_pb2, items_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, finding, request_id
from tests.support.people import ACCEPTED, Person, class_label

# What names an item or is its content: differs from item to item, whatever their kinds.
OWN = {"token", "name", "text", "fingerprint", "row_id"}
NUM = {"finding": 40, "audit": 12, "gold": 12}
IN_MIXED: dict[str, dict[str, Any]] = {"gold": {"rate": 0.3}, "audit": {"population": 1000}}


def suggestions(**probabilities: float) -> list[dict[str, Any]]:
    return [{"label": label, "probability": p} for label, p in probabilities.items()]


# As mining writes them: the model disagrees with findings, and is sure of random rows.
ROWS: dict[str, dict[str, Any]] = {
    "finding": {"suggestions": suggestions(spam=0.9, ham=0.1), "reason": "model says spam"},
    "audit": {"suggestions": suggestions(ham=0.99, spam=0.01), "reason": "", "suspicion": 0.01},
    "gold": {"suggestions": suggestions(ham=0.6, spam=0.4), "gold_label": "spam", "reason": "g"},
}


def content(kind: str, rank: int) -> str:
    """Of one length, and like no other."""
    return f"{kind:8}{hashlib.sha256(f'{kind}{rank}'.encode()).hexdigest()}"


def write(folder: Path, kind: str, **other: Any) -> str:
    uri = str(folder / kind)
    rows = [
        finding(rank, id=f"{kind}-id-{rank}", content=content(kind, rank), **ROWS[kind] | other)
        for rank in range(NUM[kind])
    ]
    schema = schemas.FINDINGS.append(pa.field("gold_label", pa.string()))
    delta.append_once(uri, pa.Table.from_pylist(rows, schema), app_id="run")
    return uri


def begun(
    start: Start, folder: Path, kinds: tuple[str, ...] = ("audit", "gold"), **settings: Any
) -> LeaseService:
    mixed = {
        kind: {"uri": write(folder, kind), "run_id": "run", **IN_MIXED[kind]} for kind in kinds
    }
    service = LeaseService(start.store, limits=Limits(max_share=1.0))
    request = create_request(write(folder, "finding"), **{**mixed, **settings})
    with pytest.MonkeyPatch.context() as patched:  # the same draws in each run
        patched.setattr("secrets.token_hex", lambda num_bytes: "5a" * num_bytes)
        made = service.CreateCampaign(request, ADMIN).campaign
    assert made.state == campaigns_pb2.CAMPAIGN_STATE_ACTIVE
    return service


def leaves(message: Message, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every field that is set or not, of the message and those within it, with its value."""
    for field in message.DESCRIPTOR.fields:
        name, value = f"{path}.{field.name}", getattr(message, field.name)
        if field.message_type is None:
            yield name, tuple(value) if field.is_repeated else value
        elif field.is_repeated:
            yield f"{name}.num", len(value)
            for one in value:
                yield from leaves(one, name)
        else:
            yield f"{name}.is_set", message.HasField(field.name)
            if message.HasField(field.name):
                yield from leaves(value, name)


def kind_of(item: items_pb2.Item) -> str:
    return item.content.text.text.partition(" ")[0]


def shape(path: str, value: Any) -> Any:
    """The value; of what is an item's own, its length and alphabet."""
    if path.rpartition(".")[2] not in OWN:
        return value
    return "text" if path.endswith("text") else (len(str(value)) // 2, str(value)[:10] == CAMPAIGN)


class Seen:
    """By kind of item and field: what a labeler saw there."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))

    def add(self, kind: str, name: str, message: Message) -> None:
        for path, value in leaves(message):
            self._values[f"{name}{path}"][kind].add(shape(path, value))

    def add_value(self, kind: str, name: str, value: Any) -> None:
        self._values[name][kind].add(value)

    def tells(self, *kinds: str) -> dict[str, Any]:
        """The fields whose values differ between the kinds."""
        return {
            path: dict(values)
            for path, values in self._values.items()
            if any(values[kind] != values["finding"] for kind in kinds)
        }


def state(ann: Person) -> dict[str, Any]:
    """All that she sees of the campaign, in every call that shows it."""
    service, caller = ann.service, ann.caller
    messages = {
        "get": service.GetCampaign(rpc.GetCampaignRequest(name=CAMPAIGN), caller),
        "list": service.ListCampaigns(rpc.ListCampaignsRequest(), caller),
        "stats": service.GetCampaignStats(rpc.GetCampaignStatsRequest(name=CAMPAIGN), caller),
        "watch": service.look(CAMPAIGN).shown_to(caller),
    }
    return {f"{name}{path}": value for name, one in messages.items() for path, value in leaves(one)}


def changes(before: dict[str, Any], after: dict[str, Any]) -> tuple[Any, ...]:
    """Fields that changed, by how much where they count."""
    return tuple(
        (path, after.get(path, 0) - before.get(path, 0)
         if isinstance(after.get(path, 0), int) else after.get(path))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    )  # fmt: skip


def test_no_field_that_a_labeler_reads_tells_the_kind(start: Start, tmp_path: Path) -> None:
    service, seen = begun(start, tmp_path), Seen()
    ann, bob = Person(service, "ann"), Person(service, "bob")
    labelled = LeaseService(start.store, limits=Limits(max_item_bytes=1, max_share=1.0))
    for lease in bob.lease(20):  # so that some were leased before, and come again
        seen.add(kind_of(lease.item), "lease", lease)
    start.clock.now += 301
    kinds = set()
    mine = rpc.ListLeasesRequest(parent=CAMPAIGN)
    while leases := ann.lease():
        [lease] = leases
        kind = kind_of(lease.item)
        seen.add(kind, "listed", service.ListLeases(mine, ann.caller))
        kinds.add(kind)
        seen.add(kind, "lease", lease)
        whole = labelled.read_item(rpc.ReadItemRequest(name=lease.item.name), ann.caller)
        seen.add(kind, "read", items_pb2.Item.FromString(whole))
        assert ann.say(lease, "spam") == ACCEPTED
    assert kinds == {"finding", "audit", "gold"}
    assert seen.tells("audit", "gold") == {}


def test_large_items_do_not_tell_the_kind_either(start: Start, tmp_path: Path) -> None:
    begun(start, tmp_path)
    service, seen = (
        LeaseService(start.store, limits=Limits(max_item_bytes=1, max_share=1.0)),
        Seen(),
    )
    ann = Person(service, "ann")
    for lease in ann.lease(50):
        whole = service.read_item(rpc.ReadItemRequest(name=lease.item.name), ann.caller)
        seen.add(kind_of(items_pb2.Item.FromString(whole)), "large", lease)
    assert seen.tells("audit", "gold") == {}


@pytest.mark.parametrize("kinds", [("gold",), ("audit",), ("audit", "gold")])
def test_what_changes_with_an_item_does_not_tell_its_kind(
    start: Start, tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    ann, seen = Person(begun(start, tmp_path, kinds), "ann"), Seen()
    ann.label_next("spam")  # from which on she has a line
    before = state(ann)
    for turn in range(36):
        [lease] = ann.lease()
        kind, leased = kind_of(lease.item), state(ann)
        seen.add_value(kind, "leased", changes(before, leased))
        ann.say(lease, ("spam", "skip")[turn % 2])
        before = state(ann)
        if turn % 2 == 0:
            seen.add_value(kind, "labelled", changes(leased, before))
    assert seen.tells(*kinds) == {}


def test_counts_that_a_labeler_gets_leave_nothing_out(start: Start, tmp_path: Path) -> None:
    ann = Person(begun(start, tmp_path), "ann")
    while leases := ann.lease(20):
        for lease in leases:
            ann.say(lease, "spam")
    seen = state(ann)
    num_results = seen["stats.stats.labelers.num_results"]
    others = {
        path: value
        for path, value in seen.items()
        if isinstance(value, int) and not isinstance(value, bool) and "stats." in path and value
    }
    assert others == {
        path: num_results if path.endswith("num_results") else 1
        for path in others
        if ".labelers" in path
    }


@pytest.mark.parametrize("order", ["WORST_FIRST", "BY_CLASS", "ALIKE_TOGETHER"])
def test_items_that_are_released_come_back_in_the_same_order(
    start: Start, tmp_path: Path, order: str
) -> None:
    ann = Person(begun(start, tmp_path, item_order=f"ITEM_ORDER_{order}"), "ann")
    first = ann.lease(30)
    assert "gold" in {kind_of(lease.item) for lease in first}
    ann.release(first)
    again = ann.lease(30)
    assert [lease.item.name for lease in again] == [lease.item.name for lease in first]
    ann.release(again)
    one_by_one = [ann.lease()[0].item.name for _ in range(30)]
    assert one_by_one == [lease.item.name for lease in first]


def test_an_item_that_is_released_with_delay_stays_away(start: Start, tmp_path: Path) -> None:
    ann = Person(begun(start, tmp_path), "ann")
    first = ann.lease(20)
    assert "gold" in {kind_of(lease.item) for lease in first}
    ann.release(first, delay={"seconds": 60})
    names = {lease.item.name for lease in first}
    others = ann.lease(20)
    assert not names & {lease.item.name for lease in others}
    ann.release(others)
    start.clock.now += 61
    assert {lease.item.name for lease in ann.lease(20)} == names


def test_errors_do_not_tell_the_kind(start: Start, tmp_path: Path) -> None:
    ann, seen = Person(begun(start, tmp_path, blind_share=1.0), "ann"), Seen()
    for lease in ann.lease(50):
        for wrong in (
            accept(lease),
            relabel(lease, class_label("eggs")),
            leases_pb2.Result(token=lease.token, decision=leases_pb2.DECISION_RELABEL),
        ):
            with pytest.raises(InvalidInput) as refused:
                ann.submit([wrong])
            seen.add_value(kind_of(lease.item), "error", str(refused.value))
    assert seen.tells("audit", "gold") == {}


def test_what_stops_a_campaign_is_the_admins_to_read(start: Start, tmp_path: Path) -> None:
    service = begun(start, tmp_path)
    finalize = rpc.FinalizeCampaignRequest(
        name=CAMPAIGN, results_uri=str(tmp_path / "results"), request_id=request_id()
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("relabel_service.tables.delta.append_missing", _fails)
        with pytest.raises(RelabelError):
            service.FinalizeCampaign(finalize, ADMIN)
    get = rpc.GetCampaignRequest(name=CAMPAIGN)
    assert "gold" in service.GetCampaign(get, ADMIN).campaign.failure.message
    shown = service.GetCampaign(get, Person(service, "ann").caller).campaign
    assert shown.failure.reason == "INVALID_INPUT"
    assert shown.failure.message == "it stopped; an admin sees why"


def _fails(*_: Any, **__: Any) -> int:
    raise InvalidInput.of("x", "gold row 'a' is broken")


@pytest.mark.parametrize(
    ("kind", "rows"), [("audit", suggestions(ham=1.0)), ("gold", []), ("finding", [])]
)
def test_where_some_item_has_no_other_suggestion_none_shows_one(
    start: Start, tmp_path: Path, kind: str, rows: list[dict[str, Any]]
) -> None:
    uris = {
        name: write(tmp_path, name, **({"suggestions": rows} if name == kind else {}))
        for name in NUM
    }
    service = LeaseService(start.store, limits=Limits(max_share=1.0))
    request = create_request(
        uris["finding"],
        **{name: {"uri": uris[name], "run_id": "run", **IN_MIXED[name]} for name in IN_MIXED},
    )
    service.CreateCampaign(request, ADMIN)
    leases = Person(service, "ann").lease(70)
    assert {len(lease.item.suggestions) for lease in leases} == {0}


def test_labels_are_accepted_as_they_were_shown(start: Start, tmp_path: Path) -> None:
    service = begun(start, tmp_path, ("audit",))
    ann = Person(service, "ann")
    leases = ann.lease(100)
    assert {lease.item.suggestions[0].label.class_label.class_name for lease in leases} == {"spam"}
    assert set(ann.submit([accept(lease) for lease in leases])) == {ACCEPTED}
    stats = service.GetCampaignStats(rpc.GetCampaignStatsRequest(name=CAMPAIGN), ADMIN).stats
    assert stats.num_changed == 52


def test_gold_without_units_among_findings_with_units_makes_no_campaign(
    start: Start, tmp_path: Path
) -> None:
    findings, gold = write(tmp_path, "finding", unit="ham"), write(tmp_path, "gold")
    mixed = {"gold": {"uri": gold, "run_id": "run", "rate": 0.1}}
    with pytest.raises(InvalidInput, match="row 'gold-id-0' has the unit '', and the first"):
        LeaseService(start.store).CreateCampaign(create_request(findings, **mixed), ADMIN)
