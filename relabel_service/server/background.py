"""What goes on without a caller: imports, deletions, retention, and cleaning the queue.

Each replica has one worker, a thread. Workers share the campaigns among them by leases in the
queue (background_leases.py); every step is a transaction of its own, so that another worker goes
on where one was killed.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable

from relabel_service.errors import NotFound, RelabelError
from relabel_service.queue import background_leases, cleaning, deletion
from relabel_service.queue.deletion import DELETING
from relabel_service.queue.store import Store
from relabel_service.server.import_export import import_further

LEASE_S = 60.0  # of one campaign, renewed with each turn; a step may be slow
TURN_S = 1.0  # of one campaign, while others wait
AGAIN_S = 10.0  # after a failure
IDLE_S = 2.0  # between looks at what other replicas left
CLEAN_EVERY_S = 60.0
IMPORTING = "importing"

logger = logging.getLogger("ray.serve")


class Background:
    """One worker on one queue database. run() is its thread; turns may be taken by others, too."""

    def __init__(
        self, store: Store, *, retention_days: float, on_change: Callable[[str], None]
    ) -> None:
        """retention_days: after these a finalized campaign is deleted; 0: never."""
        self._store = store
        self._retention_days = retention_days
        self._on_change = on_change
        self._woken = threading.Event()
        self._clean_at = 0.0  # of the store's time

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    def run(self) -> None:
        """Work until the process ends."""
        while True:
            self._woken.clear()
            try:
                has_more = self.round(turn_s=TURN_S)
            except Exception as error:
                told = str(error) if isinstance(error, RelabelError) else ""
                logger.warning("background work failed: %s", told, exc_info=not told)
                time.sleep(AGAIN_S)
            else:
                if not has_more:
                    self._woken.wait(IDLE_S)

    def round(self, *, turn_s: float) -> bool:
        """A turn for each campaign that waits for one, and cleaning; whether there is more."""
        with self._store.read_transaction() as (connection, now):
            waiting = background_leases.waiting(connection, (IMPORTING, DELETING), now=now)
        has_more = False
        for campaign, state in waiting:
            has_more |= self.turn(campaign, state, turn_s=turn_s)
        if now >= self._clean_at:
            has_more |= self._clean()
        return has_more

    def turn(self, campaign: str, state: str, *, turn_s: float) -> bool:
        """Work on one campaign for a while, unless somebody else does; whether there is more."""
        worker = uuid.uuid4().hex
        with self._store.write_transaction(campaign=campaign) as (connection, now):
            is_ours = background_leases.take(
                connection, campaign, worker=worker, expire_time=now + LEASE_S, now=now
            )
        if not is_ours:
            return False
        kept_s = AGAIN_S
        try:
            work = self._delete if state == DELETING else self._import
            has_more, failed = work(campaign, turn_s)
            kept_s = AGAIN_S if failed else 0.0
            return has_more
        except NotFound:
            kept_s = 0.0  # somebody has deleted it
            return False
        finally:
            with self._store.write_transaction(campaign=campaign) as (connection, now):
                background_leases.give_back(connection, campaign, worker=worker)
                if kept_s:  # nobody tries again before that
                    background_leases.take(
                        connection, campaign, worker=worker, expire_time=now + kept_s, now=now
                    )

    def _import(self, campaign: str, turn_s: float) -> tuple[bool, bool]:
        """Whether there is more, and whether it failed."""
        present, operation = import_further(self._store, campaign, within_s=turn_s)
        if operation is not None and operation.reason:
            return False, True
        if present.state != IMPORTING:
            self._on_change(campaign)
        return present.state == IMPORTING, False

    def _delete(self, campaign: str, turn_s: float) -> tuple[bool, bool]:
        ends = time.monotonic() + turn_s
        while True:
            with self._store.write_transaction(campaign=campaign) as (connection, _):
                has_more = deletion.step(connection, campaign)
            if has_more and time.monotonic() > ends:
                return True, False
            if not has_more:
                break
        with self._store.write_transaction(campaign=campaign, alone=True) as (connection, _):
            deletion.finish(connection, campaign)
        self._on_change(campaign)
        self._clean_at = 0.0  # what is free now goes back
        return True, False

    def _clean(self) -> bool:
        with self._store.write_transaction() as (connection, now):
            has_more = cleaning.step(connection, now=now)
            if self._retention_days:
                for campaign in deletion.begin_overdue(
                    connection, days=self._retention_days, now=now
                ):
                    logger.warning("campaign %s is deleted: it was kept long enough", campaign)
                    has_more = True
        has_more |= self._store.give_back()
        if not has_more:
            self._clean_at = now + CLEAN_EVERY_S
        return has_more
