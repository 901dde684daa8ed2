"""A campaign's results as a stream for Delta, and Delta's failures as this package's errors."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pyarrow as pa
from deltalake.exceptions import DeltaError

from relabel_service.errors import InvalidInput
from relabel_service.queue.campaigns import Campaign
from relabel_service.tables import schemas

BATCH = 5000


def results_reader(
    results: Iterable[Mapping[str, Any]], campaign: Campaign
) -> pa.RecordBatchReader:
    """schemas.RESULTS, a batch at a time."""
    rows = (_row(result, campaign) for result in results)
    batches = (
        pa.RecordBatch.from_pylist(batch, schema=schemas.RESULTS)
        for batch in iter(lambda: list(islice(rows, BATCH)), [])
    )
    return pa.RecordBatchReader.from_batches(schemas.RESULTS, batches)


def _row(result: Mapping[str, Any], campaign: Campaign) -> dict[str, Any]:
    row = {
        **result,
        "run_id": campaign.run_id,
        "findings_uri": campaign.findings_uri,
        "task": campaign.task,
        "incarnation": campaign.incarnation,
        "id": result["row_id"],
        "submit_time": utc(result["submit_time"]),
    }
    return {name: row[name] for name in schemas.RESULTS.names}


def utc(time: float) -> datetime:
    """Seconds since the epoch -> as results tables have it."""
    return datetime.fromtimestamp(time, UTC)


@contextmanager
def readable(field: str, uri: object) -> Iterator[None]:
    """Raises InvalidInput naming the field where Delta cannot work with the address."""
    try:
        yield
    except (DeltaError, OSError, ValueError, pa.ArrowException) as error:
        raise InvalidInput.of(
            field, f"{uri!r} is not a Delta table that can be used here: {str(error)[:200]}"
        ) from error
