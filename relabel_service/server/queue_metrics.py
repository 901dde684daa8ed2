"""Gauges of the queue's campaigns, looked at every so often on a thread of its own.

Every replica looks, at the same database: dashboards take the maximum over replicas, not the sum.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from relabel_service.errors import RelabelError
from relabel_service.queue import activity
from relabel_service.queue.activity import Activity
from relabel_service.queue.store import Store
from relabel_service.server.metrics import Instruments

EVERY_S = 15.0
SHARE = 0.05  # of the time, that looking may take: a million items take long to count
MAX_CAMPAIGNS = 50  # the newest that are not finalized: each is a handful of series
WAITING = ("open", "leased", "escalated")

logger = logging.getLogger("ray.serve")


@dataclass
class QueueMetrics:
    """Sets the gauges; campaigns that are no longer looked at are set to 0."""

    store: Store
    instruments: Instruments
    _shown: frozenset[str] = frozenset()
    _looked_at: float | None = None
    """Of the store's time. What expired before the first look was counted by others, if by any."""

    def start(self) -> None:
        """Look until the process ends, on a thread."""
        threading.Thread(target=self.run, name="queue metrics", daemon=True).start()

    def run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self.look()
            except RelabelError as error:
                logger.warning("the queue was not measured: %s", error)
            took_s = time.monotonic() - began
            time.sleep(max(EVERY_S, took_s / SHARE))

    def look(self) -> None:
        """Raises what the store raises."""
        began = time.monotonic()
        with self.store.read_transaction() as (connection, now):
            since = now if self._looked_at is None else self._looked_at
            seen = activity.look(connection, limit=MAX_CAMPAIGNS, since=since, now=now)
        self._looked_at = now
        self._show(seen, now=now)
        self.instruments.set("relabel_queue_look_seconds", time.monotonic() - began)

    def _show(self, seen: Sequence[Activity], *, now: float) -> None:
        present = frozenset(each.campaign for each in seen)
        gone = [activity.nothing(campaign, now=now) for campaign in self._shown - present]
        self._shown = present
        for each in [*seen, *gone]:
            for name, value in _values(each, now=now).items():
                self.instruments.set(name, value, campaign=each.campaign)
            if num := each.num_expired:
                self.instruments.add("relabel_lease_expiries", num, campaign=each.campaign)
            for state, num in each.num_items.items():
                self.instruments.set("relabel_items", num, campaign=each.campaign, state=state)


def _values(each: Activity, *, now: float) -> dict[str, float]:
    waits = any(each.num_items[state] for state in WAITING)
    return {
        "relabel_oldest_open_item_age_seconds": max(now - each.create_time, 0.0) if waits else 0.0,
        "relabel_import_rows": each.num_imported,
        "relabel_publish_answers": each.num_to_publish,
        "relabel_published_answers": each.num_published,
        "relabel_campaign_stopped": float(each.is_stopped),
    }
