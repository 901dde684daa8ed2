"""Writes a campaign's answers into a results table: those that it does not hold yet.

So it may be done at any time and again: while the campaign runs, after a crash, and from a queue
that was restored from a backup. Memory is 8 bytes for each answer that the table holds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
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

KEY = ["rank", "labeler", "submit_time"]  # of an answer, within an incarnation


Answers = Callable[[], Iterable[Mapping[str, Any]]]  # rows of campaigns.results


@dataclass(frozen=True)
class Written:
    """num_written: of num_answers that the queue holds, those that the table did not hold."""

    num_answers: int
    num_written: int


def write_answers(uri: str, campaign: Campaign, answers: Answers, *, num_answers: int) -> Written:
    """Append what is missing, in one commit, and see that all is there.

    answers: opens the queue's results, as often as it is called; num_answers: how many they are.
    Raises WrongState telling both counts where the table holds fewer in the end, and what
    delta.append_missing raises.
    """

    def missing(table: DeltaTable) -> Iterator[pa.RecordBatch]:
        held = _Held(table, campaign)
        reader = results_stream.results_reader(answers(), campaign)
        return (batch for batch in map(held.without, reader) if batch.num_rows)

    num_written = delta.append_missing(uri, schemas.RESULTS, missing, app_id=app_id(campaign))
    table = delta.open_table(uri)
    num_held = results_tables.num_results(table, campaign.campaign, campaign.incarnation)
    if num_held < num_answers:
        raise WrongState(
            f"the queue holds {num_answers} answers of campaign {campaign.campaign!r}, and "
            f"{uri!r} only {num_held} of them; somebody deletes from it: finalize again, or to "
            "another address"
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
        keys = _keys(batch)
        place = np.searchsorted(self._keys, keys)
        is_held = np.append(self._keys, 0)[place] == keys
        is_held &= place < len(self._keys)
        return batch.filter(pa.array(~is_held))


def _keys(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """One number for each row, the same within this process."""
    columns = [batch[name] for name in KEY[:2]] + [batch[KEY[2]].cast(pa.int64())]
    pairs = zip(*(column.to_pylist() for column in columns), strict=True)
    return np.fromiter(map(hash, pairs), np.int64, batch.num_rows)
