"""Placers of the imports that go on in this process: each is made once, however long it takes.

An order may need to look at all of a campaign's rows before it can place the first. That
may take longer than one call, so it goes on in a thread of its own, and calls come to look.
"""

import threading
from collections import OrderedDict
from concurrent.futures import Future

from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.findings_reader import FindingsRun
from relabel_service.queue.ordering import LOOKS_AT, ORDERS, Placer

MAX_KEPT = 4  # campaigns that are imported at a time; one that is forgotten is looked at anew

Key = tuple[str, float, str, str, int]


class Placers:
    """Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[Key, Future[Placer]] = OrderedDict()

    def get(self, campaign: Campaign, run: FindingsRun, *, within_s: float) -> Placer | None:
        """The campaign's placer, or None where it is still being made when the time is up.

        Raises what making it raised; the next call tries again.
        """
        key = _key(campaign)
        with self._lock:
            made = self._made.get(key)
            if made is None:
                made = self._made[key] = self._start(campaign.settings.item_order, run)
            if len(self._made) > MAX_KEPT:
                self._made.popitem(last=False)
        try:
            return made.result(timeout=within_s)
        except TimeoutError:
            if not made.done():
                return None
            self.forget(campaign)
            raise
        except Exception:
            self.forget(campaign)
            raise

    def forget(self, campaign: Campaign) -> None:
        """It is needed no longer."""
        with self._lock:
            self._made.pop(_key(campaign), None)

    def _start(self, order: str, run: FindingsRun) -> Future[Placer]:
        future: Future[Placer] = Future()
        if not LOOKS_AT[order]:
            future.set_result(ORDERS[order](()))
            return future

        def make() -> None:
            try:
                future.set_result(ORDERS[order](run.rows(LOOKS_AT[order])))
            except BaseException as error:  # told to whoever asks for the placer
                future.set_exception(error)

        threading.Thread(target=make, name=f"place-{order}", daemon=True).start()
        return future


def _key(campaign: Campaign) -> Key:
    """What a placer follows from; a name may come again in another queue."""
    return (
        campaign.campaign, campaign.create_time, campaign.findings_uri, campaign.run_id,
        campaign.findings_version,
    )  # fmt: skip
