"""One labeler's leases and project, kept alike: tasks out, answers in.

Each round takes what changed in Label Studio, extends the leases of tasks that wait, and leases
more. What is known of a task lies in the task (tasks.Record), and what is leased in the service:
a bridge that was killed at any point goes on from these two. An answer is sent until the service
has it: one that it had already is told by its token, and taken once.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

from relabel_service.bridge.answers import Answer, answer_of, newest
from relabel_service.bridge.label_config import NOTE, control_of, label_config
from relabel_service.bridge.label_studio_api import Gone, Json, LabelStudioApi
from relabel_service.bridge.media import media_under
from relabel_service.bridge.presence import KEPT, Presence
from relabel_service.bridge.projects import create_project, find_project, mark, title_of
from relabel_service.bridge.submitting import CLOSED, LOST, submit
from relabel_service.bridge.tasks import Record, Sent, task_of
from relabel_service.client import Client
from relabel_service.errors import Exhausted, InvalidInput, RelabelError, WrongState
from relabel_service.tasks import task_of_kind
from relabel_service.tools.label_studio_media import Media
from relabel_service.v1 import campaigns_pb2, leases_pb2

BATCH = 200  # tasks imported, or results submitted, in one call
UNSHOWN_DELAY_S = 24 * 3600.0  # before an item that cannot be shown is offered again
OVERLAP = timedelta(seconds=5)  # read again: changes are not seen in the order of their times
TAKEN_BACK = "Somebody else has this item now, or the campaign is closed: please leave it."

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """window: tasks that wait for one labeler at most. lease_s: seconds a lease lasts; extended
    after a third of it. media: which addresses are opened. absent_after_s: without an annotation or
    draft, before a labeler's tasks go to others; 0 for never. now: seconds since the epoch."""

    window: int = 20
    lease_s: float = 3600.0
    media: Media = field(default_factory=media_under)
    absent_after_s: float = 4 * 3600.0
    now: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if not 0 <= self.absent_after_s < float("inf"):
            raise InvalidInput.of(
                "--absent-after",
                f"{self.absent_after_s:g} s is below 0 or endless; give 0 for never",
            )


@dataclass
class Counts:
    """What one labeler's bridge did so far."""

    pushed: int = 0
    accepted: int = 0
    refused: int = 0
    lost: int = 0
    unshown: int = 0
    given_back: int = 0

    def __str__(self) -> str:
        """Those that are not 0."""
        counted = {name.replace("_", " "): value for name, value in vars(self).items() if value}
        return ", ".join(f"{value} {name}" for name, value in counted.items())


class LabelerBridge:
    """Not safe to use from several threads."""

    def __init__(
        self,
        client: Client,
        api: LabelStudioApi,
        campaign: campaigns_pb2.Campaign,
        labeler: str,
        settings: Settings,
        report: Callable[[str], None],
        *,
        adjudicates: bool = False,
    ) -> None:
        """adjudicates: takes items whose labelers escalated them or do not agree."""
        self.counts = Counts()
        self.labeler = labeler
        self._client, self._api, self._settings = client, api, settings
        self._campaign, self._report = campaign, report
        self._adjudicates = adjudicates
        self._task = task_of_kind(campaign.task_kind)
        self._control = control_of(self._task.name)
        self._project: int | None = None
        self._waiting: dict[int, Record] = {}  # tasks without an accepted answer, by id
        self._tasks: dict[str, int] = {}  # lease's token -> task
        self._since = ""
        self._extend_at = 0.0
        self._presence = Presence(settings.absent_after_s, settings.now)

    @property
    def project(self) -> int | None:
        """Its id; None where it is not known, which the next round changes."""
        return self._project

    def round(self, campaign: campaigns_pb2.Campaign) -> None:
        """Raises RelabelError; the next round begins by looking at everything again."""
        self._campaign = campaign
        try:
            if self._project is None:
                self._synchronize()
            else:
                self._take(self._api.tasks(self._project, since=self._since))
            self._look_for_absence()
            if not self._presence.is_absent:
                self._extend()
            self._fill()
        except Gone as error:
            self._report(f"{self.labeler}: {error}; the project is made anew")
            self._project = None
        except RelabelError:
            self._project = None
            raise

    def _synchronize(self) -> None:
        """Learn what is in the project, which is made where there is none, and what is leased."""
        marked = mark(self._campaign, self.labeler, adjudicates=self._adjudicates)
        project = find_project(self._api, marked)
        if project is None:
            title = title_of(self._campaign, self.labeler, adjudicates=self._adjudicates)
            config = label_config(self._control, self._campaign.classes)
            project = create_project(self._api, marked, title=title, config=config)
            self._report(f"{self.labeler}: {self._api.url}/projects/{project}/data")
        self._waiting, self._since = {}, ""
        self._tasks = {}
        annotated_first = sorted(
            self._api.tasks(project), key=lambda one: (not one["annotations"], one["id"])
        )
        self._project = project
        self._presence.begin(annotated_first)
        self._take(annotated_first)
        leases = [*self._client.list_leases(self._campaign.name)]  # less what was just taken
        self._push(leases)
        self._repair_predictions(annotated_first, leases)
        self._extend_at = 0.0

    def _repair_predictions(
        self, tasks: Sequence[Json], leases: Sequence[leases_pb2.Lease]
    ) -> None:
        """Predictions of tasks that nobody annotated: those that have none get their lease's, and
        what is there twice is deleted.

        A bridge may end between the calls that send a task and its predictions, and Label Studio
        repeats calls that it had half done (label_studio_api.LabelStudioApi.import_tasks).
        """
        by_token = {lease.token: lease for lease in leases}
        predictions: list[Json] = []
        for task in tasks:
            record = self._waiting.get(int(task["id"]))
            lease = by_token.get(record.token) if record else None
            if lease is None or task["annotations"]:
                continue
            versions: set[str] = set()
            for one in sorted(task["predictions"], key=lambda one: int(one["id"])):
                if one["model_version"] in versions:
                    self._api.delete_prediction(one["id"])
                versions.add(one["model_version"])
            if not versions and (whole := self._task_of(lease)):
                predictions += [{**one, "task": task["id"]} for one in whole["predictions"]]
        if predictions:
            assert self._project is not None
            self._api.import_predictions(self._project, predictions)
            self._report(f"{self.labeler}: {len(predictions)} predictions were missing")

    def _is_double(self, task: Json, record: Record) -> bool:
        """Whether another task has this one's lease: an import was repeated, by a bridge that got
        no response or by Label Studio itself. One that nobody annotated is deleted."""
        is_double = self._tasks.setdefault(record.token, int(task["id"])) != int(task["id"])
        if is_double and not task["annotations"]:
            self._api.delete_task(task["id"])
            self._waiting.pop(int(task["id"]), None)
            return True
        return False

    def _take(self, tasks: Iterable[Json]) -> None:
        """Submit the annotations that are new or changed."""
        answers: dict[int, tuple[Record, Answer]] = {}
        latest = self._since
        for task in tasks:
            latest = max(latest, task["updated_at"])
            self._presence.see(task)
            record = Record.of(task)
            if record is None or self._is_double(task, record):
                continue
            number = int(task["id"])
            if record.sent and record.sent.accepted:
                self._waiting.pop(number, None)
            else:
                self._waiting[number] = record
            annotation = newest(task["annotations"])
            if annotation is None:
                continue
            answer = answer_of(annotation, record, task=self._task, control=self._control)
            if record.sent is None or record.sent.digest != answer.digest:
                answers[number] = record, answer
        for some in _batches(answers.items()):
            self._submit(dict(some))
        self._since = _earlier(latest)

    def _submit(self, answers: dict[int, tuple[Record, Answer]]) -> None:
        reasons: dict[int, str] = {}
        results = {}
        for number, (record, answer) in answers.items():
            if answer.result is None:
                reasons[number] = answer.fault
            else:
                answer.result.replaces = bool(record.sent and record.sent.accepted)
                results[number] = answer.result
        versions = {number: answer.version for number, (_, answer) in answers.items()}
        reasons |= submit(self._client, self._campaign.name, results, versions=versions)
        for number, (record, answer) in answers.items():
            reason = reasons[number]
            sent = Sent(answer.annotation, answer.digest, not reason, reason)
            self._keep(number, replace(record, sent=sent), note=reason)
            self.counts.accepted += not reason
            self.counts.lost += reason in (LOST, CLOSED)
            self.counts.refused += bool(reason) and reason not in (LOST, CLOSED)

    def _keep(self, number: int, record: Record, *, note: str | None = None) -> None:
        """Store a task's record with the task, and its note where that changes."""
        fields: Json = {"meta": record.to_meta()}
        earlier = self._waiting.get(number)
        had_note = bool(earlier and earlier.sent and earlier.sent.reason)
        if note or (note == "" and had_note):
            fields["data"] = {**self._api.task(number)["data"], NOTE: note}
        self._api.update_task(number, fields)
        if record.sent and record.sent.accepted:
            self._waiting.pop(number, None)
        else:
            self._waiting[number] = record

    def _extend(self) -> None:
        """At a third of the leases' time, so that two extensions may fail."""
        if time.monotonic() < self._extend_at:
            return
        tokens = self._tokens()
        in_force: set[str] = set()
        for some in _batches(tokens):
            in_force |= set(
                self._client.extend(self._campaign.name, some, duration_s=self._settings.lease_s)
            )
        self._extend_at = time.monotonic() + self._settings.lease_s / 3
        for token in tokens.keys() - in_force:
            self._give_up(tokens[token])

    def _tokens(self) -> dict[str, int]:
        """Of the leases that wait for an answer: token -> task."""
        return {
            record.token: number
            for number, record in self._waiting.items()
            if not (record.sent and record.sent.reason in (LOST, CLOSED))
        }

    def _give_up(self, number: int) -> None:
        """A task whose lease is lost: gone where nobody began it, and otherwise said."""
        task, record = self._api.task(number), self._waiting[number]
        if task["annotations"] and record.sent is None:
            return  # it is submitted next, and what becomes of it is said
        if task["annotations"] or task["drafts"]:
            lost = replace(record, sent=Sent(0, "", accepted=False, reason=LOST))
            self._keep(number, lost, note=TAKEN_BACK)
            self._report(f"{self.labeler}: {record.item} is lost while it is worked on")
            return
        del self._waiting[number]
        self._api.delete_task(number)

    def _look_for_absence(self) -> None:
        """Give back what an absent labeler did not begin, but for KEPT tasks: an empty project
        shows nobody that there is work. Whoever answers one of these is there again."""
        presence, was_absent = self._presence, self._presence.is_absent
        presence.is_absent = presence.is_overdue
        if was_absent and not presence.is_absent:
            self._extend_at = 0.0
            self._report(f"{self.labeler}: is there again")
        if was_absent or not presence.is_absent:
            return
        tasks = [self._api.task(number) for number in sorted(self._waiting)]
        for task in tasks:
            presence.see(task)
        presence.is_absent = presence.is_overdue  # but for drafts
        if not presence.is_absent:
            return
        idle = [int(one["id"]) for one in tasks if not (one["annotations"] or one["drafts"])]
        numbers = idle[KEPT:]
        for some in _batches(numbers):
            tokens = [self._waiting[number].token for number in some]
            self._client.release(self._campaign.name, tokens)
        for number in numbers:
            del self._waiting[number]
            self._api.delete_task(number)
        self.counts.given_back += len(numbers)
        self._report(
            f"{self.labeler}: annotated nothing for {presence.after_s / 3600:g} h and is taken for "
            f"absent; {len(numbers)} items are given back"
        )

    def _fill(self) -> None:
        """Lease up to the window."""
        window = self._settings.window
        room = (min(KEPT, window) if self._presence.is_absent else window) - len(self._tokens())
        if room > 0 and self._campaign.state == campaigns_pb2.CAMPAIGN_STATE_ACTIVE:
            try:
                leases = self._client.lease(
                    self._campaign.name,
                    max_items=room,
                    duration_s=self._settings.lease_s,
                    adjudicate=self._adjudicates,
                )
            except Exhausted:
                return  # the labeler has as many as the service allows
            except WrongState:
                return  # paused or closed since this round began; the next one knows
            self._push(leases)

    def _push(self, leases: Sequence[leases_pb2.Lease]) -> None:
        """Import tasks. One that lost its lease and has another goes on with it."""
        known = {record.item: number for number, record in self._waiting.items()}
        tasks: list[Json] = []
        unshown = []
        for lease in leases:
            if lease.item.name in known:
                number = known[lease.item.name]
                if self._waiting[number].token != lease.token:
                    renewed = replace(self._waiting[number], token=lease.token, sent=None)
                    self._keep(number, renewed, note="")
                continue
            if task := self._task_of(lease):
                tasks.append(task)
            else:
                unshown.append(lease.token)
        if unshown:
            self._client.release(self._campaign.name, unshown, delay_s=UNSHOWN_DELAY_S)
            self.counts.unshown += len(unshown)
        for some in _batches(tasks):
            assert self._project is not None
            numbers = self._api.import_tasks(self._project, some)
            for number, task in zip(numbers, some, strict=True):
                record = Record.of(task)
                assert record is not None
                self._waiting[number] = record
                self._tasks[record.token] = number
            self.counts.pushed += len(some)

    def _task_of(self, lease: leases_pb2.Lease) -> Json | None:
        """None where it cannot be shown, which is said."""
        media = self._settings.media
        try:
            return task_of(lease, task=self._task, control=self._control, media=media)
        except InvalidInput as error:
            self._report(f"{self.labeler}: {lease.item.name} is not shown: {error}")
            return None


def _batches(values: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(values)
    while some := list(islice(rest, BATCH)):
        yield some


def _earlier(updated_at: str) -> str:
    if not updated_at:
        return ""
    moment = datetime.fromisoformat(updated_at) - OVERLAP
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
