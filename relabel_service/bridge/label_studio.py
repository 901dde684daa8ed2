"""`relabel bridge label-studio`: people label a campaign in Label Studio.

Each labeler has a thread, a client of the service that proves who it is, and a project. Label
Studio is polled, since its webhooks are sent once and without waiting for an answer: what changed
is asked for by its time (label_studio_api.LabelStudioApi.tasks).
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from relabel_service.bridge.label_studio_api import LabelStudioApi
from relabel_service.bridge.labeler import LabelerBridge, Settings
from relabel_service.client import Client
from relabel_service.errors import (
    DeadlineExceeded,
    Exhausted,
    RelabelError,
    Unauthenticated,
    Unavailable,
)
from relabel_service.v1 import campaigns_pb2

# What passes, or is mended while the bridge runs: a token's file is replaced.
PASSING = (Unavailable, DeadlineExceeded, Exhausted, Unauthenticated)
ENDED = {
    campaigns_pb2.CAMPAIGN_STATE_CLOSED,
    campaigns_pb2.CAMPAIGN_STATE_FINALIZING,
    campaigns_pb2.CAMPAIGN_STATE_FINALIZED,
    campaigns_pb2.CAMPAIGN_STATE_DELETING,
}
MAX_WAIT_S = 60.0  # between rounds that fail

Connect = Callable[[], AbstractContextManager[Client]]


@dataclass(frozen=True)
class Bridge:
    """labelers: name -> a new client of the service as that labeler. poll_s: between two looks at
    Label Studio."""

    campaign: str
    labelers: Mapping[str, Connect]
    connect_label_studio: Callable[[], LabelStudioApi]
    settings: Settings
    poll_s: float
    report: Callable[[str], None]

    def run(self, stop: threading.Event, *, once: bool = False) -> None:
        """Until the campaign ends or `stop` is set; once: one round for each labeler.

        Raises RelabelError where it cannot go on: a campaign that is not there, or a first round
        that fails for something that does not pass.
        """
        failures: list[RelabelError] = []

        def serve(labeler: str) -> None:
            try:
                self._serve(labeler, stop, once=once)
            except RelabelError as error:
                failures.append(error)
                stop.set()

        threads = [
            threading.Thread(target=serve, args=(name,), name=name) for name in self.labelers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _serve(self, labeler: str, stop: threading.Event, *, once: bool) -> None:
        num_failed, began = 0, False
        while not stop.is_set():
            try:
                with self.labelers[labeler]() as client, self.connect_label_studio() as api:
                    for is_last in self._rounds(client, api, labeler):
                        num_failed, began = 0, True
                        if once or is_last or stop.wait(self.poll_s):
                            return
            except PASSING as error:
                if once or (isinstance(error, Unauthenticated) and not began):
                    raise
                num_failed += 1
                self.report(f"{labeler}: {error}; trying again")
                stop.wait(min(self.poll_s * 2**num_failed, MAX_WAIT_S))

    def _rounds(self, client: Client, api: LabelStudioApi, labeler: str) -> Iterator[bool]:
        """One round a step; whether it was the last, the campaign having ended."""
        campaign = client.get_campaign(self.campaign)
        bridge = LabelerBridge(client, api, campaign, labeler, self.settings, self.report)
        told = ""
        while True:
            bridge.round(campaign)
            if str(bridge.counts) != told:
                told = str(bridge.counts)
                self.report(f"{labeler}: {told}")
            yield campaign.state in ENDED
            campaign = client.get_campaign(self.campaign)
