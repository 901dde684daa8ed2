"""Exports answers every so often, so that whoever loses the queue loses minutes."""

import logging
import threading
from dataclasses import dataclass

from relabel_service.errors import InvalidInput, RelabelError
from relabel_service.queue import campaigns
from relabel_service.queue.store import Store
from relabel_service.server.import_export import export_answers

PAGE = 100  # campaigns read at once

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class ExportSettings:
    """uri: results table for the answers of all campaigns; empty: none are exported."""

    uri: str = ""
    every_s: float = 600.0

    def __post_init__(self) -> None:
        if self.every_s <= 0:
            raise InvalidInput.of("exports.every_s", f"{self.every_s:g} is not above 0; use 600")


NO_EXPORTS = ExportSettings()


class RegularExports:
    """Any number of replicas may do so at once: an answer is written by one of them."""

    def __init__(self, store: Store, settings: ExportSettings) -> None:
        self._store, self._settings = store, settings
        # By campaign and incarnation: how many answers there were, and the time of the last.
        self._exported: dict[tuple[str, str | None], tuple[int, float]] = {}

    def start(self) -> None:
        """Export until the process ends, on a thread; nothing without an address."""
        if self._settings.uri:
            stopped = threading.Event()
            threading.Thread(target=self.run, args=(stopped,), name="exports", daemon=True).start()

    def run(self, stopped: threading.Event) -> None:
        while not stopped.wait(self._settings.every_s):
            try:
                self.export()
            except RelabelError as error:
                logger.warning("answers were not exported: %s", error)

    def export(self) -> None:
        """Write what is new of every campaign. Raises what the store or the table raises."""
        after = ""
        while True:
            with self._store.read_transaction() as (connection, _):
                page = campaigns.page(connection, after=after, limit=PAGE)
                latest = [campaigns.latest_result(connection, one.campaign) for one in page]
            for campaign, present in zip(page, latest, strict=True):
                key = campaign.campaign, campaign.incarnation
                if present > self._exported.get(key, (0, 0.0)):  # more, or corrected since
                    export_answers(self._store, campaign.campaign, results_uri=self._settings.uri)
                    self._exported[key] = present
            if len(page) < PAGE:
                return
            after = page[-1].campaign
