"""What the service measures: every metric by name, and what records them.

Knows no metrics library: app.py gives the instruments, Ray's. No label has a value that callers
choose, so that the number of series is bounded: never a labeler's name; campaigns are those of
queue_metrics.py.
"""

import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from sqlalchemy import Connection

from relabel_service.queue.store import Moment, Store

# Seconds. From a lease of a warm SQLite to what a gateway gives up on.
LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
REPEATED_AFTER_S = 5.0  # half of Ray's export interval


@dataclass(frozen=True)
class Metric:
    """kind: a counter only rises, a gauge is set, a histogram counts seconds in LATENCIES_S."""

    kind: Literal["counter", "gauge", "histogram"]
    description: str
    labels: tuple[str, ...] = ()


CAMPAIGN = ("campaign",)
METRICS: Mapping[str, Metric] = {
    "relabel_calls": Metric(
        "counter",
        "Calls that ended, by how: OK, CANCELLED, INTERNAL, or why they were refused",
        ("method", "outcome"),
    ),
    "relabel_call_seconds": Metric(
        "histogram", "Duration of calls that are not streams, waiting for items included",
        ("method",),
    ),
    "relabel_store_seconds": Metric(
        "histogram", "Duration of the queue database's transactions, commit included", ("method",)
    ),
    "relabel_streams_open": Metric(
        "gauge", "Streams, and calls that wait for items, open on this replica", ("method",)
    ),
    "relabel_answers": Metric(
        "counter", "Answers sent, by what became of them; those sent again count again",
        ("outcome",),
    ),
    "relabel_items": Metric(
        "gauge", "Items of a campaign by state, gold left out", ("campaign", "state")
    ),
    "relabel_oldest_open_item_age_seconds": Metric(
        "gauge", "Since the campaign was made, while any of its items waits for somebody", CAMPAIGN
    ),
    "relabel_lease_expiries": Metric(
        "counter", "Leases that expired without an answer since this replica started", CAMPAIGN
    ),
    "relabel_import_rows": Metric("gauge", "Findings read into the campaign so far", CAMPAIGN),
    "relabel_publish_answers": Metric("gauge", "Answers to be published", CAMPAIGN),
    "relabel_published_answers": Metric("gauge", "Answers published so far", CAMPAIGN),
    "relabel_campaign_stopped": Metric(
        "gauge", "1 while an import or a publication is stopped by a failure", CAMPAIGN
    ),
    "relabel_queue_look_seconds": Metric(
        "gauge", "How long it took to count the campaigns' items for these metrics"
    ),
}  # fmt: skip


class Instruments(Protocol):
    """Record values of METRICS. Safe to call from several threads; labels are the metric's."""

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        """value: above 0, which Ray's counters insist on (2.60)."""

    def set(self, name: str, value: float, **labels: str) -> None: ...

    def observe(self, name: str, value: float, **labels: str) -> None: ...


class NoInstruments:
    """Forget what is measured: where the service is used without its server."""

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        pass

    def set(self, name: str, value: float, **labels: str) -> None:
        pass

    def observe(self, name: str, value: float, **labels: str) -> None:
        pass


class LastingGauges:
    """Instruments whose gauges last: Ray (2.60) shows a gauge that nobody sets again for two export
    intervals (20 s), and then no more. A gauge that was set to 0 may end so."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._lock = threading.Lock()
        self._last: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}

    def start(self) -> None:
        """Repeat until the process ends, on a thread."""
        threading.Thread(target=self._run, name="lasting gauges", daemon=True).start()

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        self._instruments.add(name, value, **labels)

    def set(self, name: str, value: float, **labels: str) -> None:
        key = (name, frozenset(labels.items()))
        with self._lock:  # otherwise repeat() might set an older value last
            self._instruments.set(name, value, **labels)
            if value:
                self._last[key] = value
            else:
                self._last.pop(key, None)  # of what is gone, nothing is kept

    def observe(self, name: str, value: float, **labels: str) -> None:
        self._instruments.observe(name, value, **labels)

    def repeat(self) -> None:
        """Set all gauges to what they are."""
        with self._lock:
            for (name, labels), value in self._last.items():
                self._instruments.set(name, value, **dict(labels))

    def _run(self) -> None:
        while True:
            time.sleep(REPEATED_AFTER_S)
            self.repeat()


class MeasuredStore:
    """A store whose transactions are measured; otherwise the store."""

    def __init__(self, store: Store, instruments: Instruments) -> None:
        self._store, self._instruments = store, instruments

    @property
    def max_replicas(self) -> int | None:
        return self._store.max_replicas

    @contextmanager
    def read_transaction(self) -> Iterator[Moment]:
        with self._measured("read"), self._store.read_transaction() as moment:
            yield moment

    @contextmanager
    def write_transaction(
        self, *, caller: str = "", campaign: str = "", alone: bool = False
    ) -> Iterator[Moment]:
        opened: AbstractContextManager[Moment] = self._store.write_transaction(
            caller=caller, campaign=campaign, alone=alone
        )
        with self._measured("write"), opened as moment:
            yield moment

    @contextmanager
    def shared_transaction(
        self, *, callers: Sequence[str], campaign: str
    ) -> Iterator[tuple[Connection, float, Collection[str]]]:
        opened = self._store.shared_transaction(callers=callers, campaign=campaign)
        with self._measured("write"), opened as shared:
            yield shared

    def ping(self) -> None:
        with self._measured("ping"):
            self._store.ping()

    def analyze(self) -> None:
        self._store.analyze()

    def give_back(self) -> bool:
        return self._store.give_back()

    def close(self) -> None:
        self._store.close()

    @contextmanager
    def _measured(self, method: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            took_s = time.perf_counter() - began
            self._instruments.observe("relabel_store_seconds", took_s, method=method)
