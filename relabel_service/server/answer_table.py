"""Writes a campaign's answers into a results table: those that it does not hold yet.

So it may be done at any time and again: while the campaign runs, after a crash, and from a queue
that was restored from a backup. Memory is 8 bytes for each answer that the table holds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from deltalake import DeltaTable

from relabel_service.errors import WrongState
from relabel_service.queue.campaigns import Campaign
from relabel_service.server import results_stream
from relabel_service.tables import delta, schemas
from relabel_service.tables import results as results_tables

EPOCH = datetime.fromtimestamp(0, UTC)
MICROSECOND = timedelta(microseconds=1)
KEY = ["rank", "labeler", "submit_time"]  # of an answer, within an incarnation


Answers = Callable[[], Iterable[Mapping[str, Any]]]  # rows of campaigns.results
Keys = Callable[[], Iterable[tuple[int, str, float]]]  # campaigns.result_keys


@dataclass(frozen=True)
class Written:
    """num_written: of num_answers that the queue holds, those that the table did not hold."""

    num_answers: int
    num_written: int


def write_answers(uri: str, campaign: Campaign, answers: Answers, keys: Keys) -> Written:
    """Append what is missing, in one commit, and see that all is there.

    answers, keys: open the queue's results, and what tells them apart, each time they are called.
    Raises WrongState telling both counts where the table holds fewer in the end, and what
    delta.append_missing raises.
    """

    def missing(table: DeltaTable) -> Iterator[pa.RecordBatch]:
        held = _Held(table, campaign)
        reader = results_stream.results_reader(answers(), campaign)
        return (batch for batch in map(held.without, reader) if batch.num_rows)

    num_written = delta.append_missing(uri, schemas.RESULTS, missing, app_id=app_id(campaign))
    num_answers, num_held = _Held(delta.open_table(uri), campaign).count(keys())
    if num_held < num_answers:
        raise WrongState(
            f"the queue holds {num_answers} answers of campaign {campaign.campaign!r}, and "
            f"{uri!r} only {num_held} of them; see who deletes from it, and ask again"
        )
    return Written(num_answers, num_written)


def app_id(campaign: Campaign) -> str:
    """Of the campaign's writes. Those of earlier releases go by the time it was made."""
    return f"campaign/{campaign.campaign}/{campaign.incarnation or campaign.create_time}"


class _Held:
    """The answers that a table holds of a campaign, as hashes of 64 bits."""

    def __init__(self, table: DeltaTable, campaign: Campaign) -> None:
        where = results_tables.of_incarnation(campaign.campaign, campaign.incarnation)
        batches = delta.scanner(table, KEY, where=where).to_batches()
        self._keys = np.sort(np.concatenate([np.empty(0, np.int64), *map(_keys, batches)]))

    def without(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of schemas.RESULTS that are not among them."""
        return batch.filter(pa.array(~self._has(_keys(batch))))

    def count(self, results: Iterable[tuple[int, str, float]]) -> tuple[int, int]:
        """How many results there are, and how many of them are held."""
        num, num_held = 0, 0
        of_queue = iter(results)
        while some := list(islice(of_queue, results_stream.BATCH)):
            hashes = (
                hash((rank, labeler, (results_stream.utc(time) - EPOCH) // MICROSECOND))
                for rank, labeler, time in some
            )
            num += len(some)
            num_held += int(self._has(np.fromiter(hashes, np.int64, len(some))).sum())
        return num, num_held

    def _has(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        place = np.searchsorted(self._keys, keys)
        found: npt.NDArray[np.bool_] = np.append(self._keys, 0)[place] == keys
        return found & (place < len(self._keys))


def _keys(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """One number for each row, the same within this process."""
    columns = [batch[name] for name in KEY[:2]] + [batch[KEY[2]].cast(pa.int64())]
    pairs = zip(*(column.to_pylist() for column in columns), strict=True)
    return np.fromiter(map(hash, pairs), np.int64, batch.num_rows)
