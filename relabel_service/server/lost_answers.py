"""What a restored queue has lost, as far as results tables tell: answers that it does not hold."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from relabel_service.queue import campaigns
from relabel_service.queue.backup import all_campaigns
from relabel_service.queue.store import Store
from relabel_service.server import results_stream
from relabel_service.tables import delta
from relabel_service.tables.results import FIRST, read_columns

COLUMNS = ["campaign", "incarnation", "rank", "labeler", "submit_time"]


@dataclass(frozen=True)
class LostAnswers:
    """Answers of one campaign that lie in a results table, and not in the queue.

    is_known: whether the queue holds the campaign at all.
    """

    uri: str
    campaign: str
    incarnation: str
    num: int
    first: datetime
    last: datetime
    is_known: bool

    def __str__(self) -> str:
        where = "" if self.is_known else "; nor does it hold the campaign"
        return (
            f"{self.num} answers of campaign {self.campaign!r} (incarnation {self.incarnation}), "
            f"from {self.first:%Y-%m-%d %H:%M} to {self.last:%Y-%m-%d %H:%M} UTC, lie in "
            f"{self.uri!r} and not in the queue{where}"
        )


def lost_answers(store: Store, uris: Iterable[str]) -> list[LostAnswers]:
    """By table, campaign and incarnation. uris: beside the tables that the campaigns name.

    An answer that its labeler has corrected since, or an admin withdrawn, counts as held. Tables
    that are not there are left out where a campaign names them. Raises NotFound for one of `uris`
    that is not there.
    """
    with store.read_transaction() as (connection, _):
        present = {(one.campaign, one.incarnation): one for one in all_campaigns(connection)}
        held: dict[tuple[Any, ...], datetime] = {}
        for key in present:
            for rank, labeler, time in campaigns.result_keys(connection, key[0]):
                answer, given_at = (*key, rank, labeler), results_stream.utc(time)
                held[answer] = max(given_at, held.get(answer, given_at))
    named = {one.results_uri for one in present.values() if one.results_uri}
    lost: list[LostAnswers] = []
    for uri in sorted({*uris, *filter(delta.is_delta, named)}):
        times: dict[tuple[str, str | None], dict[Any, datetime]] = {}
        for row in read_columns(uri, COLUMNS).to_pylist():
            campaign, incarnation, rank, labeler, time = (row[name] for name in COLUMNS)
            held_since = held.get((campaign, incarnation, rank, labeler))
            if held_since is None or held_since < time.astimezone(UTC):
                of_campaign = times.setdefault((campaign, incarnation), {})
                of_campaign[rank, labeler] = time
        for (campaign, incarnation), answers in times.items():
            key = campaign, incarnation
            first, last = min(answers.values()), max(answers.values())
            name, is_known = incarnation or FIRST, key in present
            lost.append(LostAnswers(uri, campaign, name, len(answers), first, last, is_known))
    return lost
