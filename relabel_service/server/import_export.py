"""Imports and publishing: work that outlasts a call, so that its progress and failures are kept.

Whoever asks for the campaign drives its import, and whoever finalizes it publishes. What
they could not do is told to everybody who looks at the campaign, until it goes on.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa

from relabel_service.errors import Conflict, InvalidInput, NotFound, RelabelError, Unavailable
from relabel_service.queue import campaigns, progress
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.import_items import fill
from relabel_service.queue.progress import Operation
from relabel_service.queue.store import Store
from relabel_service.server import results_stream
from relabel_service.tables import delta, schemas


def import_further(
    store: Store, campaign: str, *, within_s: float
) -> tuple[Campaign, Operation | None]:
    """The campaign after taking part in its import for a while, and what is told of that.

    What the tables are to blame for is kept and told, not raised: the campaign can still be
    looked at. Raises NotFound when there is no such campaign.
    """
    with store.reading() as (connection, _):
        known = progress.of(connection, [campaign]).get(campaign)
    try:
        with results_stream.readable("campaign.findings_uri", campaign):
            present = fill(store, campaign, within_s=within_s)
    except (InvalidInput, NotFound, Conflict) as error:
        with store.writing(campaign=campaign) as (connection, now):
            present = campaigns.get(connection, campaign)
            progress.failed(connection, campaign, error, now=now)
            return present, progress.of(connection, [campaign])[campaign]
    if known and known.reason and present.state in ("importing", "active"):
        with store.writing(campaign=campaign) as (connection, _):
            progress.ended(connection, campaign)
        return present, None
    return present, known


def begin_publishing(
    store: Store, campaign: str, *, results_uri: str, revision: int | None
) -> Campaign:
    """Take no more answers. Raises InvalidInput before that where none could be written to the
    address, else as campaigns.begin_finalizing."""
    with store.reading() as (connection, _):
        present = campaigns.get(connection, campaign)
    if present.state not in ("finalizing", "finalized"):
        with results_stream.readable("results_uri", results_uri):
            delta.prepare("results_uri", results_uri, schemas.RESULTS)
    with store.writing(campaign=campaign, alone=True) as (connection, _):
        return campaigns.begin_finalizing(
            connection, campaign, results_uri=results_uri, revision=revision
        )


def publish(store: Store, campaign: Campaign) -> Campaign:
    """Write a closed campaign's results, once, and say so. They are read in a stream.

    Called again after a crash at any point it publishes the same table once. Raises what
    writing the table raises, and keeps it to be told.
    """
    app_id = f"campaign/{campaign.campaign}/{campaign.create_time}"
    with _failure_kept(store, campaign.campaign), store.reading() as (connection, _):
        num_total = campaigns.num_answers(connection, campaign.campaign)

        def rows() -> pa.RecordBatchReader:
            found = campaigns.answers(connection, campaign.campaign)
            told = _counted(store, campaign.campaign, found, num_total=num_total)
            return results_stream.results_reader(told, campaign)

        with results_stream.readable("results_uri", campaign.results_uri):
            delta.append_once(str(campaign.results_uri), rows, app_id=app_id)
    with store.writing(campaign=campaign.campaign, alone=True) as (connection, now):
        _progress(connection, campaign.campaign, num_total, num_total=num_total, now=now)
        return campaigns.mark_finalized(connection, campaign.campaign, now=now)


def _counted(
    store: Store, campaign: str, answers: Iterator[Mapping[str, Any]], *, num_total: int
) -> Iterator[Mapping[str, Any]]:
    """The answers; each published.BATCH of them is told to those who look at the campaign."""
    for num_done, answer in enumerate(answers):
        if num_done % results_stream.BATCH == 0:
            with store.writing(campaign=campaign) as (connection, now):
                _progress(connection, campaign, num_done, num_total=num_total, now=now)
        yield answer


def _progress(connection: Any, campaign: str, num_done: int, *, num_total: int, now: float) -> None:
    progress.goes_on(connection, campaign, num_done=num_done, num_total=num_total, now=now)


@contextmanager
def _failure_kept(store: Store, campaign: str) -> Iterator[None]:
    try:
        yield
    except RelabelError as error:
        with suppress(Unavailable), store.writing(campaign=campaign) as (connection, now):
            progress.failed(connection, campaign, error, now=now)
        raise
