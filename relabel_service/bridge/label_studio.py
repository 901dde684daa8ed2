"""`relabel bridge label-studio`: people label a campaign in Label Studio.

Each labeler has a thread, a client of the service that proves who it is, and a project. Label
Studio is polled, since its webhooks are sent once and may be lost: what changed is asked for by
its time (label_studio_api.LabelStudioApi.tasks). A webhook makes the next look come sooner (hints).
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass

from relabel_service.bridge.hints import Hints, Listen, Pace
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


@dataclass(frozen=True)
class Labeler:
    """connect: a new client of the service as that labeler. adjudicates: is an adjudicator, and
    gets what labelers escalated or do not agree on."""

    name: str
    connect: Callable[[], AbstractContextManager[Client]]
    adjudicates: bool = False


@dataclass(frozen=True)
class Bridge:
    """listen: for hints, if at all."""

    campaign: str
    labelers: Sequence[Labeler]
    connect_label_studio: Callable[[], LabelStudioApi]
    settings: Settings
    pace: Pace
    report: Callable[[str], None]
    listen: Listen | None = None

    def run(self, stop: threading.Event, *, once: bool = False) -> None:
        """Until the campaign ends or `stop` is set; once: one round for each labeler.

        Raises RelabelError where it cannot go on: a campaign that is not there, or a first round
        that fails for something that does not pass.
        """
        failures: list[RelabelError] = []

        def serve(serving: "_Serving") -> None:
            try:
                serving.run(once=once)
            except RelabelError as error:
                failures.append(error)
                stop.set()

        with ExitStack() as stack:
            hints = stack.enter_context(Hints(self.listen, stop)) if self.listen else None
            threads = [
                threading.Thread(
                    target=serve, args=(_Serving(self, labeler, stop, hints),), name=labeler.name
                )
                for labeler in self.labelers
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if failures:
            raise failures[0]


@dataclass
class _Serving:
    """One labeler's thread."""

    bridge: Bridge
    labeler: Labeler
    stop: threading.Event
    hints: Hints | None
    project: int | None = None  # whose hints are asked for

    def run(self, *, once: bool) -> None:
        num_failed, began = 0, False
        while not self.stop.is_set():
            try:
                with self.labeler.connect() as client, self.bridge.connect_label_studio() as api:
                    for is_last in self._rounds(client, api):
                        num_failed, began = 0, True
                        if not (once or is_last):
                            self._pause()
                        if once or is_last or self.stop.is_set():
                            self._unregister(api)
                            return
            except PASSING as error:
                if once or (isinstance(error, Unauthenticated) and not began):
                    raise
                num_failed += 1
                self._report(f"{error}; trying again")
                self.stop.wait(min(self.bridge.pace.poll_s * 2**num_failed, MAX_WAIT_S))

    def _rounds(self, client: Client, api: LabelStudioApi) -> Iterator[bool]:
        """One round a step; whether it was the last, the campaign having ended."""
        campaign = client.get_campaign(self.bridge.campaign)
        settings, report = self.bridge.settings, self.bridge.report
        labeling = LabelerBridge(
            client,
            api,
            campaign,
            self.labeler.name,
            settings,
            report,
            adjudicates=self.labeler.adjudicates,
        )
        told, self.project = "", None
        while True:
            labeling.round(campaign)
            if str(labeling.counts) != told:
                told = str(labeling.counts)
                self._report(told)
            if labeling.project != self.project:
                self.project = labeling.project
                self._register(api)
            yield campaign.state in ENDED
            campaign = client.get_campaign(self.bridge.campaign)

    def _pause(self) -> None:
        """Until the next round is due."""
        if self.hints is None or self.project is None:
            self.stop.wait(self.bridge.pace.poll_s)
        else:
            self.hints.wait(self.project, self.bridge.pace)

    def _register(self, api: LabelStudioApi) -> None:
        if self.hints is None or self.project is None:
            return
        try:
            self.hints.register(api, self.project)
        except RelabelError as error:
            self._report(
                f"Label Studio takes no webhook to {self.hints.url} ({error}); answers are seen "
                f"by polling alone, every {self.bridge.pace.poll_s:g} s"
            )
        else:
            self._report(f"Label Studio tells {self.hints.url} when something is annotated")

    def _unregister(self, api: LabelStudioApi) -> None:
        if self.hints is not None and self.project is not None:
            with suppress(RelabelError):  # it is found again, or in nobody's way for long
                self.hints.unregister(api, self.project)

    def _report(self, line: str) -> None:
        self.bridge.report(f"{self.labeler.name}: {line}")
