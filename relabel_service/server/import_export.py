"""Imports and publishing: work that outlasts a call, so that its progress and failures are kept.

A worker in the background continues imports, and whoever finalizes a campaign publishes it. A
failure is shown to everybody who looks at the campaign, until the work goes on.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from relabel_service.errors import Conflict, InvalidInput, NotFound, RelabelError, Unavailable
from relabel_service.queue import campaigns, progress
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.import_items import fill
from relabel_service.queue.progress import Operation
from relabel_service.queue.store import Store
from relabel_service.server import results_stream
from relabel_service.server.answer_table import Written, write_answers
from relabel_service.tables import delta, schemas

FAILED = "the service failed to import it, and its log says why; it tries again until it is closed"

logger = logging.getLogger("ray.serve")


def import_further(
    store: Store, campaign: str, *, within_s: float
) -> tuple[Campaign, Operation | None]:
    """The campaign after continuing its import for a while, and the operation's progress.

    A failure that the tables are to blame for is stored, not raised: the campaign can still be
    looked at. Raises NotFound when there is no such campaign.
    """
    try:
        with results_stream.readable("campaign.findings_uri", campaign):
            present = fill(store, campaign, within_s=within_s)
    except (InvalidInput, NotFound, Conflict) as error:
        return _stopped(store, campaign, error)
    except RelabelError:
        raise
    except Exception:  # a fault of this program is told, too: the import does not go on for ever
        logger.exception("the import of campaign %s failed", campaign)
        return _stopped(store, campaign, RelabelError(FAILED))
    with store.read_transaction() as (connection, _):
        operation = progress.operations(connection, [campaign]).get(campaign)
    if operation and operation.reason and present.state in ("importing", "active"):
        with store.write_transaction(campaign=campaign) as (connection, _):
            progress.clear(connection, campaign)
        return present, None
    return present, operation


def _stopped(store: Store, campaign: str, error: RelabelError) -> tuple[Campaign, Operation]:
    with store.write_transaction(campaign=campaign) as (connection, now):
        present = campaigns.get(connection, campaign)
        progress.record_failure(connection, campaign, error, now=now)
        return present, progress.operations(connection, [campaign])[campaign]


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
    """Write a closed campaign's results and say so. They are read in a stream.

    Writes those that the table does not hold: called again, after a crash at any point or from a
    queue that was restored, it completes the same table. Raises what writing the table raises, and
    stores it as the campaign's failure.
    """
    with _failure_recorded(store, campaign.campaign), store.read_transaction() as (connection, _):
        num_total = campaigns.num_results(connection, campaign.campaign)

        def answers() -> Iterator[Mapping[str, Any]]:
            results = campaigns.results(connection, campaign.campaign)
            return _counted(store, campaign.campaign, results, num_total=num_total)

        with results_stream.readable("results_uri", campaign.results_uri):
            write_answers(
                str(campaign.results_uri),
                campaign,
                answers,
                lambda: campaigns.result_keys(connection, campaign.campaign),
            )
    with store.write_transaction(campaign=campaign.campaign, alone=True) as (connection, now):
        _progress(connection, campaign.campaign, num_total, num_total=num_total, now=now)
        return campaigns.mark_finalized(connection, campaign.campaign, now=now)


def export_answers(store: Store, campaign: str, *, results_uri: str) -> Written:
    """Write the answers so far that the table does not hold; the campaign goes on.

    Raises NotFound when there is no such campaign, and what writing the table raises.
    """
    with store.read_transaction() as (connection, _):
        present = campaigns.get(connection, campaign)
        with results_stream.readable("results_uri", results_uri):
            delta.prepare("results_uri", results_uri, schemas.RESULTS)
            return write_answers(
                results_uri,
                present,
                lambda: campaigns.results(connection, campaign),
                lambda: campaigns.result_keys(connection, campaign),
            )


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
