"""Imports and publishing: work that outlasts a call, so that its progress and failures are kept.

Whoever asks for the campaign continues its import, and whoever finalizes it publishes. A
failure is shown to everybody who looks at the campaign, until the work goes on.
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
    """The campaign after continuing its import for a while, and the operation's progress.

    A failure that the tables are to blame for is stored, not raised: the campaign can still be
    looked at. Raises NotFound when there is no such campaign.
    """
    with store.read_transaction() as (connection, _):
        operation = progress.operations(connection, [campaign]).get(campaign)
    try:
        with results_stream.readable("campaign.findings_uri", campaign):
            present = fill(store, campaign, within_s=within_s)
    except (InvalidInput, NotFound, Conflict) as error:
        with store.write_transaction(campaign=campaign) as (connection, now):
            present = campaigns.get(connection, campaign)
            progress.record_failure(connection, campaign, error, now=now)
            return present, progress.operations(connection, [campaign])[campaign]
    if operation and operation.reason and present.state in ("importing", "active"):
        with store.write_transaction(campaign=campaign) as (connection, _):
            progress.clear(connection, campaign)
        return present, None
    return present, operation


def begin_publishing(
    store: Store, campaign: str, *, results_uri: str, revision: int | None
) -> Campaign:
    """Take no more results. Raises InvalidInput before that where none could be written to the
    address, and otherwise what campaigns.begin_finalizing raises."""
    with store.read_transaction() as (connection, _):
        present = campaigns.get(connection, campaign)
    if present.state not in ("finalizing", "finalized"):
        with results_stream.readable("results_uri", results_uri):
            delta.prepare("results_uri", results_uri, schemas.RESULTS)
    with store.write_transaction(campaign=campaign, alone=True) as (connection, _):
        return campaigns.begin_finalizing(
            connection, campaign, results_uri=results_uri, revision=revision
        )


def publish(store: Store, campaign: Campaign) -> Campaign:
    """Write a closed campaign's results, once, and say so. They are read in a stream.

    Called again after a crash at any point it publishes the same table once. Raises what
    writing the table raises, and stores it as the campaign's failure.
    """
    app_id = f"campaign/{campaign.campaign}/{campaign.create_time}"
    with _failure_recorded(store, campaign.campaign), store.read_transaction() as (connection, _):
        num_total = campaigns.num_results(connection, campaign.campaign)

        def rows() -> pa.RecordBatchReader:
            results = campaigns.results(connection, campaign.campaign)
            counted = _counted(store, campaign.campaign, results, num_total=num_total)
            return results_stream.results_reader(counted, campaign)

        with results_stream.readable("results_uri", campaign.results_uri):
            delta.append_once(str(campaign.results_uri), rows, app_id=app_id)
    with store.write_transaction(campaign=campaign.campaign, alone=True) as (connection, now):
        _progress(connection, campaign.campaign, num_total, num_total=num_total, now=now)
        return campaigns.mark_finalized(connection, campaign.campaign, now=now)


def _counted(
    store: Store, campaign: str, results: Iterator[Mapping[str, Any]], *, num_total: int
) -> Iterator[Mapping[str, Any]]:
    """The results; after each results_stream.BATCH of them the progress is stored."""
    for num_done, result in enumerate(results):
        if num_done % results_stream.BATCH == 0:
            with store.write_transaction(campaign=campaign) as (connection, now):
                _progress(connection, campaign, num_done, num_total=num_total, now=now)
        yield result


def _progress(connection: Any, campaign: str, num_done: int, *, num_total: int, now: float) -> None:
    progress.record_progress(connection, campaign, num_done=num_done, num_total=num_total, now=now)


@contextmanager
def _failure_recorded(store: Store, campaign: str) -> Iterator[None]:
    try:
        yield
    except RelabelError as error:
        with suppress(Unavailable), store.write_transaction(campaign=campaign) as (connection, now):
            progress.record_failure(connection, campaign, error, now=now)
        raise
