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
    answers: Iterable[Mapping[str, Any]], campaign: Campaign
) -> pa.RecordBatchReader:
    """tables.RESULTS, a batch at a time."""
    rows = (_row(answer, campaign) for answer in answers)
    batches = (
        pa.RecordBatch.from_pylist(some, schema=schemas.RESULTS)
        for some in iter(lambda: list(islice(rows, BATCH)), [])
    )
    return pa.RecordBatchReader.from_batches(schemas.RESULTS, batches)


def _row(answer: Mapping[str, Any], campaign: Campaign) -> dict[str, Any]:
    row = {
        **answer,
        "run_id": campaign.run_id,
        "findings_uri": campaign.findings_uri,
        "task": campaign.task,
        "id": answer["row_id"],
        "submit_time": datetime.fromtimestamp(answer["submit_time"], UTC),
    }
    return {name: row[name] for name in schemas.RESULTS.names}


@contextmanager
def readable(field: str, uri: object) -> Iterator[None]:
    """Raises InvalidInput naming the field where Delta cannot work with the address."""
    try:
        yield
    except (DeltaError, OSError, ValueError, pa.ArrowException) as error:
        raise InvalidInput.of(
            field, f"{uri!r} is no Delta table that can be used here: {str(error)[:200]}"
        ) from error
