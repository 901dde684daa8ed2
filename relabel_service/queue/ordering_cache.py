"""Orderings of the imports that go on in this process: each is computed once.

An ordering may need to read all of a campaign's rows before it can give the first sort key.
That may take longer than one call, so it goes on in a thread of its own, and calls come to look.
"""

import threading
from collections import OrderedDict
from concurrent.futures import Future

from relabel_service.errors import InvalidInput
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.findings_reader import FindingsRun
from relabel_service.queue.ordering import COLUMNS, ORDERINGS, Ordering

MAX_KEPT = 4  # campaigns that are imported at a time; an evicted ordering is computed again

Key = tuple[str, float, str, str, int]


class OrderingCache:
    """Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: OrderedDict[Key, Future[Ordering]] = OrderedDict()

    def get(self, campaign: Campaign, run: FindingsRun, *, within_s: float) -> Ordering | None:
        """The campaign's ordering, or None where it is still computed when the time is up.

        Raises what computing it raised; the next call tries again.
        """
        if campaign.settings.item_order not in ORDERINGS:
            raise InvalidInput.of(
                "campaign.item_order",
                f"{campaign.settings.item_order!r} is of a later release; run that to import it",
            )
        key = _key(campaign)
        with self._lock:
            future = self._futures.get(key)
            if future is None:
                future = self._futures[key] = self._start(campaign.settings.item_order, run)
            if len(self._futures) > MAX_KEPT:
                self._futures.popitem(last=False)
        try:
            return future.result(timeout=within_s)
        except TimeoutError:
            if not future.done():
                return None
            self.evict(campaign)
            raise
        except Exception:
            self.evict(campaign)
            raise

    def evict(self, campaign: Campaign) -> None:
        """It is needed no longer."""
        with self._lock:
            self._futures.pop(_key(campaign), None)

    def _start(self, item_order: str, run: FindingsRun) -> Future[Ordering]:
        future: Future[Ordering] = Future()
        if not COLUMNS[item_order]:
            future.set_result(ORDERINGS[item_order](()))
            return future

        def compute() -> None:
            try:
                future.set_result(ORDERINGS[item_order](run.rows(COLUMNS[item_order])))
            except BaseException as error:  # raised to whoever asks for the ordering
                future.set_exception(error)

        threading.Thread(target=compute, name=f"order-{item_order}", daemon=True).start()
        return future


def _key(campaign: Campaign) -> Key:
    """All that an ordering depends on; a name may come again in another queue."""
    return (
        campaign.campaign, campaign.create_time, campaign.findings_uri, campaign.run_id,
        campaign.findings_version,
    )  # fmt: skip
