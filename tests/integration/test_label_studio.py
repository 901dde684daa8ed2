"""`relabel bridge label-studio` against a real Label Studio and a real service.

People are calls to Label Studio's REST API, the ones its page makes; each campaign asks two.
"""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from deltalake import DeltaTable
from playwright.sync_api import expect
from typer.testing import CliRunner

from relabel_service import Client, confirm
from relabel_service.bridge.hints import Pace
from relabel_service.bridge.label_config import ASK, COMMENT, ESCALATE, ESCALATED, NOTE
from relabel_service.bridge.label_studio import Bridge, Labeler
from relabel_service.bridge.label_studio_api import Json, LabelStudioApi
from relabel_service.bridge.labeler import TAKEN_BACK, LabelerBridge, Settings
from relabel_service.bridge.submitting import LOST
from relabel_service.bridge.tasks import Record
from relabel_service.cli.main import app
from relabel_service.errors import PermissionDenied, Unavailable
from relabel_service.server.auth import mint
from relabel_service.tasks.boxes import Box, read_boxes, write_boxes
from relabel_service.tools.label_studio_controls import CONTENT, NAME
from tests.integration.conftest import SECRET
from tests.support.browser import chromium
from tests.support.campaigns import write_findings
from tests.support.label_studio import (
    LEGACY_TOKEN,
    PASSWORD,
    REFUSED_HOST,
    USER,
    LabelStudioPerson,
    LabelStudioProcess,
    LockedImport,
    call,
)
from tests.support.page_items import BOX, page_items
from tests.support.ports import free_port
from tests.support.servers import ServerProcess

GUIDE = Path(__file__).parents[2] / "docs/how-to/label-studio.md"
EMOJI = ["😀", "Angela", "Merkel", "met", "👩‍👩‍👧", "Ann", "Lee"]


# Where a word is shown: the middle of the last text on the page that has it.
PLACE_OF_WORD = """word => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let found;
  while (texts.nextNode()) if (texts.currentNode.data.includes(word)) found = texts.currentNode;
  const range = document.createRange();
  range.setStart(found, found.data.indexOf(word));
  range.setEnd(found, found.data.indexOf(word) + word.length);
  const { x, y, width, height } = range.getBoundingClientRect();
  return { x: x + width / 2, y: y + height / 2 };
}"""


@pytest.fixture(scope="module")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudioProcess]:
    with LabelStudioProcess(tmp_path_factory.mktemp("label-studio")) as started:
        yield started


@pytest.fixture
def api(label_studio: LabelStudioProcess) -> Iterator[LabelStudioApi]:
    with label_studio.api() as connected:
        yield connected


class Campaign:
    """One campaign of two votes, and a bridge that brings it to its labelers."""

    def __init__(
        self,
        folder: Path,
        server: ServerProcess,
        label_studio: LabelStudioProcess,
        api: LabelStudioApi,
        name: str,
    ) -> None:
        self.name, self.folder, self.api = name, folder, api
        self.server, self.url = server, label_studio.url

    def create(
        self,
        num_items: int,
        *,
        labelers: Sequence[str] = ("ann", "bob"),
        blind_share: float = 0.0,
        **fields: Any,
    ) -> None:
        """fields: of every finding."""
        self.labelers = labelers
        uri = write_findings(self.folder, num_items, **fields)
        with self.admin() as client:
            client.create_campaign(
                self.name,
                findings_uri=uri,
                run_id="run",
                votes_required=2,
                blind_share=blind_share,
            )

    def admin(self) -> Client:
        return Client(self.server.address, labeler="admin")

    def command(self, *options: str) -> list[str]:
        return [
            "bridge", "label-studio", "--url", self.url, "--token", LEGACY_TOKEN,
            "--campaign", self.name, "--address", self.server.address,
            *(word for name in self.labelers for word in ("--labeler", name)), *options,
        ]  # fmt: skip

    def round(self, *options: str) -> str:
        """One round of the bridge for each labeler; what it prints."""
        done = CliRunner().invoke(app, self.command("--once", *options), catch_exceptions=False)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return str(done.output)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """The bridge as a process of its own."""
        program = [sys.executable, "-m", "relabel_service.cli.main"]
        command = [*program, *self.command("--poll", "0.2", *options)]
        return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, bufsize=1)

    def person(self, name: str) -> LabelStudioPerson:
        """Who labels in the project of that name; of an adjudicator, NAME adjudicates."""
        title = f"{self.name} · {name}"
        [project] = [one["id"] for one in self.api.projects() if one["title"] == title]
        return LabelStudioPerson(self.api, project)

    def tasks(self, person: LabelStudioPerson) -> dict[str, Json]:
        """By the item's number."""
        found = {}
        for task in self.api.tasks(person.project):
            record = Record.of(task)
            assert record is not None
            number = record.item.rpartition("/")[2]
            assert number not in found, "an item is there twice"
            found[number] = task
        return found

    def results(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The published results by row and labeler. Ends the campaign."""
        uri = str(self.folder / "results")
        with self.admin() as client:
            client.finalize(self.name, results_uri=uri)
        rows = DeltaTable(uri).to_pyarrow_table().to_pylist()
        by_key = {(row["id"], row["labeler"]): row for row in rows}
        assert len(by_key) == len(rows), "somebody answered an item twice"
        return by_key


@pytest.fixture
def campaign(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    server: ServerProcess,
    label_studio: LabelStudioProcess,
    api: LabelStudioApi,
) -> Campaign:
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-")
    return Campaign(tmp_path, server, label_studio, api, name)


def choice(name: str, control: str = NAME) -> Json:
    return _result("choices", {"choices": [name]}, control)


def comment(text: str) -> Json:
    return _result("textarea", {"text": [text]}, COMMENT)


def span(start: int, end: int, name: str) -> Json:
    return _result("labels", {"start": start, "end": end, "labels": [name]}, NAME)


def _result(kind: str, value: Json, control: str) -> Json:
    return {"from_name": control, "to_name": CONTENT, "type": kind, "value": value}


def prediction_of(task: Json) -> Json:
    return {"task": task["id"], "model_version": "human label", "result": [choice("ham")]}


def predictions(task: Json) -> dict[str, Json]:
    return {one["model_version"]: one for one in task["predictions"]}


def test_two_people_label_texts(campaign: Campaign) -> None:
    campaign.create(6)
    campaign.round()
    ann, bob = campaign.person("ann"), campaign.person("bob")
    first = ann.next()
    assert first["data"]["text"] == "text 0"  # the worst first
    shown = predictions(campaign.tasks(ann)["0"])
    assert shown["human label"]["score"] == pytest.approx(0.1)  # 1 - suspicion
    assert shown["human label"]["result"][0]["value"] == {"choices": ["ham"]}
    assert shown["model"]["score"] == pytest.approx(0.9)
    # Whoever completed it, the project is ann's.
    tasks = campaign.tasks(ann)
    ann.annotate(tasks["0"], choice("ham"), comment("sure"), seconds=4.5)
    ann.annotate(tasks["1"], choice("spam"))
    ann.annotate(tasks["2"], skip=True)
    ann.annotate(tasks["3"], choice(ESCALATED, ESCALATE), comment("what is it?"))
    ann.annotate(tasks["4"])
    others = campaign.tasks(bob)
    for number in "015":
        bob.annotate(others[number], choice("spam"))
    campaign.round()
    told = campaign.tasks(ann)
    assert told["4"]["data"][NOTE] == "0 classes are chosen; choose one"
    assert [told[number]["data"][NOTE] for number in "0123"] == [""] * 4
    [empty] = told["4"]["annotations"]
    ann.correct(empty["id"], choice("spam"))
    ann.correct(told["1"]["annotations"][0]["id"], choice("ham"))  # thought better of it
    campaign.round()
    assert campaign.tasks(ann)["4"]["data"][NOTE] == ""
    with campaign.admin() as client:
        stats = client.stats(campaign.name)
    assert stats.num_results == 8
    found = {key: (row["decision"], row["label"]) for key, row in campaign.results().items()}
    assert found == {
        ("row-0", "ann"): ("confirm", "ham"),
        ("row-1", "ann"): ("confirm", "ham"),
        ("row-2", "ann"): ("skip", None),
        ("row-3", "ann"): ("escalate", None),
        ("row-4", "ann"): ("accept", "spam"),
        ("row-0", "bob"): ("accept", "spam"),
        ("row-1", "bob"): ("accept", "spam"),
        ("row-5", "bob"): ("accept", "spam"),
    }
    published = DeltaTable(str(campaign.folder / "results")).to_pyarrow_table().to_pylist()
    spent = {(row["id"], row["labeler"]): row for row in published}["row-0", "ann"]
    assert (spent["seconds_spent"], spent["comment"]) == (4.5, "sure")


def test_two_people_mark_entities(campaign: Campaign) -> None:
    found = '[[1,3,"PER"]]'
    campaign.create(
        4,
        task="token_classification",
        content=json.dumps(EMOJI),
        unit="PER",
        classes=["PER", "LOC"],
        human_label=found,
        suggestions=[{"label": '[[1,3,"PER"],[5,7,"PER"]]', "probability": 0.8}],
    )
    campaign.round()
    ann, bob = campaign.person("ann"), campaign.person("bob")
    tasks = campaign.tasks(ann)
    text = tasks["0"]["data"]["text"]
    shown = predictions(tasks["0"])
    [human] = shown["human label"]["result"]
    assert human["value"] == {"start": 2, "end": 15, "text": "Angela Merkel", "labels": ["PER"]}
    model = shown["model"]["result"]
    assert [text[one["value"]["start"] : one["value"]["end"]] for one in model] == [
        "Angela Merkel",
        "Ann Lee",
    ]
    ann.annotate(tasks["0"], human)
    ann.annotate(tasks["1"], *model)
    ann.annotate(tasks["2"])  # there is none
    begins = text.index("Lee")
    ann.annotate(tasks["3"], span(begins + 1, begins + 2, "PER"))  # a letter of a token
    others = campaign.tasks(bob)
    bob.annotate(others["0"], human, span(16, 19, "LOC"))  # the item is about PER
    bob.annotate(others["1"], span(1, 2, "PER"))  # a space
    bob.annotate(others["2"], span(2, 8, "LOC"))  # a PER that is shown is a LOC
    campaign.round()
    told = campaign.tasks(bob)
    assert "is of class 'LOC', and the item is about 'PER'" in told["0"]["data"][NOTE]
    assert "marks no word" in told["1"]["data"][NOTE]
    results = campaign.results()
    assert {key: (row["decision"], row["label"]) for key, row in results.items()} == {
        ("row-0", "ann"): ("confirm", found),
        ("row-1", "ann"): ("accept", '[[1,3,"PER"],[5,7,"PER"]]'),
        ("row-2", "ann"): ("relabel", "[]"),
        ("row-3", "ann"): ("relabel", '[[6,7,"PER"]]'),
        ("row-2", "bob"): ("relabel", '[[1,2,"LOC"]]'),
    }


def test_what_a_browser_marks_after_an_emoji_is_what_was_meant(campaign: Campaign) -> None:
    campaign.create(
        1,
        labelers=["ann"],
        task="token_classification",
        content=json.dumps(EMOJI),
        unit="PER",
        classes=["PER", "LOC"],
        human_label='[[1,3,"PER"]]',
        suggestions=[],
    )
    campaign.round()
    ann = campaign.person("ann")
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"{campaign.url}/user/login/?next=/projects/{ann.project}/data?labeling=1")
        page.fill("input[name=email]", USER)
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        submit = page.get_by_role("button", name="Submit").first
        expect(page.get_by_text("Angela Merkel").first).to_be_visible()  # as the prediction says
        expect(submit).to_be_visible()
        page.keyboard.press("1")  # PER
        place = page.evaluate(PLACE_OF_WORD, "Lee")
        page.mouse.dblclick(place["x"], place["y"])
        expect(page.get_by_text("Lee", exact=True).first).to_be_visible()  # in the list of regions
        submit.click()
        expect(page.get_by_text("No More Tasks Left")).to_be_visible()
    campaign.round()
    assert campaign.results()["row-0", "ann"]["label"] == '[[1,3,"PER"],[6,7,"PER"]]'


def test_two_people_draw_boxes(campaign: Campaign) -> None:
    human, model = Box("car", 90.17, 90.33, 290.1, 240.9), Box("car", *BOX)
    fields = page_items()["object_detection"]
    campaign.create(
        3,
        task="object_detection",
        content=fields["content"],
        unit="car",
        classes=["car", "bus"],
        human_label=write_boxes([human]),
        suggestions=[{"label": write_boxes([model]), "probability": 0.8}],
    )
    campaign.round()
    ann, bob = campaign.person("ann"), campaign.person("bob")
    tasks = campaign.tasks(ann)
    shown = predictions(tasks["0"])
    [box] = shown["model"]["result"]
    assert box["value"] == {
        "x": 15.625, "y": pytest.approx(100 / 4.8), "width": 31.25, "height": 31.25,
        "rotation": 0, "rectanglelabels": ["car"],
    }  # fmt: skip
    assert (box["original_width"], box["original_height"]) == (640, 480)
    ann.annotate(tasks["0"], *shown["human label"]["result"])
    ann.annotate(tasks["1"], box)
    moved = {**box, "value": {**box["value"], "x": 50.0}}
    ann.annotate(tasks["2"], moved)
    others = campaign.tasks(bob)
    bob.annotate(others["0"], *shown["human label"]["result"], moved)
    bob.annotate(others["1"])
    bob.annotate(others["2"], {**moved, "value": {**moved["value"], "rectanglelabels": ["bus"]}})
    campaign.round()
    assert "is of another class than 'car'" in campaign.tasks(bob)["2"]["data"][NOTE]
    results = campaign.results()
    decisions = {key: (row["decision"], read_boxes(row["label"])) for key, row in results.items()}
    right = Box("car", 320, 100, 520, 250)
    assert decisions == {
        ("row-0", "ann"): ("confirm", [human]),
        ("row-1", "ann"): ("accept", [model]),
        ("row-2", "ann"): ("relabel", [right]),
        ("row-0", "bob"): ("relabel", [human, right]),
        ("row-1", "bob"): ("relabel", []),
    }


def test_a_person_is_told_when_an_item_was_given_to_somebody_else(campaign: Campaign) -> None:
    campaign.create(3, labelers=["ann"])
    campaign.round()
    ann = campaign.person("ann")
    tasks = campaign.tasks(ann)
    ann.draft(tasks["0"], choice("spam"))  # ann is at it
    with campaign.admin() as client:
        client.force_release(campaign.name, labeler="ann")
    for name in ("cid", "dan"):
        with Client(campaign.server.address, labeler=name) as other:
            for lease in other.lease(campaign.name, max_items=3):
                other.submit(campaign.name, [confirm(lease)])
    ann.annotate(tasks["1"], choice("spam"))  # before the bridge knew
    campaign.round()
    campaign.round()
    left = campaign.tasks(ann)
    assert left.keys() == {"0", "1"}  # nobody had begun the third
    assert left["0"]["data"][NOTE] == TAKEN_BACK
    assert left["1"]["data"][NOTE] == LOST
    assert len(left["1"]["annotations"]) == 1  # what ann said is kept
    ann.annotate(left["0"], choice("spam"))
    campaign.round()
    assert campaign.tasks(ann)["0"]["data"][NOTE] == LOST
    assert {labeler for _, labeler in campaign.results()} == {"cid", "dan"}


def test_an_item_that_comes_back_is_asked_in_the_same_task(campaign: Campaign) -> None:
    campaign.create(3, labelers=["ann"])
    campaign.round()
    ann = campaign.person("ann")
    tasks = campaign.tasks(ann)
    ann.draft(tasks["0"], choice("spam"))
    with campaign.admin() as client:
        client.force_release(campaign.name, labeler="ann")
    campaign.round()
    again = campaign.tasks(ann)
    assert again.keys() == set("012")
    assert again["0"]["id"] == tasks["0"]["id"]
    assert again["0"]["data"][NOTE] == ""
    ann.annotate(again["0"], choice("spam"))
    assert "1 accepted" in campaign.round()


def test_an_absent_labelers_items_go_to_others_until_the_labeler_is_back(
    campaign: Campaign,
) -> None:
    campaign.create(7)
    moment, everything = 0.0, set("0123456")
    settings = Settings(absent_after_s=3600.0, now=lambda: moment)
    with Client(campaign.server.address, labeler="ann") as client:
        described = client.get_campaign(campaign.name)

        def bridge() -> LabelerBridge:
            return LabelerBridge(client, campaign.api, described, "ann", settings, print)

        def leased() -> set[str]:
            leases = client.list_leases(campaign.name)
            return {lease.item.name.rpartition("/")[2] for lease in leases}

        running = bridge()
        running.round(described)
        ann = campaign.person("ann")
        tasks = campaign.tasks(ann)
        ann.annotate(tasks["0"], choice("spam"))
        ann.draft(tasks["3"], choice("spam"))
        [annotation] = campaign.tasks(ann)["0"]["annotations"]
        [draft] = campaign.tasks(ann)["3"]["drafts"]
        moment = hour_after(annotation)
        running.round(described)
        assert leased() == everything - {"0"}  # a draft is work as well
        moment = hour_after(draft)
        running.round(described)
        assert campaign.tasks(ann).keys() == {"0", "1", "2", "3"}  # two, and what was begun
        assert leased() == {"1", "2", "3"}
        running.round(described)
        bridge().round(described)  # after a restart
        assert campaign.tasks(ann).keys() == {"0", "1", "2", "3"}
        ann.annotate(tasks["1"], choice("spam"))
        running.round(described)
        assert campaign.tasks(ann).keys() == everything
        assert leased() == everything - {"0", "1"}


def hour_after(work: Json) -> float:
    """And a moment, which the sum's rounding does not take away."""
    return datetime.fromisoformat(work["updated_at"]).timestamp() + 3600.0001


def test_the_guides_command_works(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign.create(3)
    [_, snippet, _] = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    exported, command = snippet.strip().splitlines()
    assert exported == "export LABEL_STUDIO_API_KEY=TOKEN"
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY_TOKEN)
    monkeypatch.setenv("RELABEL_ADDRESS", campaign.server.address)
    shown = command.replace("http://localhost:8080", campaign.url).replace("round-1", campaign.name)
    program, *arguments = shown.split()
    assert program == "relabel"
    done = CliRunner().invoke(app, [*arguments, "--once"], catch_exceptions=False)
    assert done.output.count("3 pushed") == 2


def test_a_project_that_was_deleted_is_made_anew(campaign: Campaign) -> None:
    campaign.create(4, labelers=["ann"])
    campaign.round()
    ann = campaign.person("ann")
    tasks = campaign.tasks(ann)
    ann.annotate(tasks["0"], choice("spam"))
    campaign.round()
    ann.annotate(tasks["1"], choice("spam"))  # the bridge has not seen it
    call(campaign.api, "DELETE", f"/api/projects/{ann.project}/")
    assert "projects/" in campaign.round()
    again = campaign.person("ann")
    assert again.project != ann.project
    assert campaign.tasks(again).keys() == {"1", "2", "3"}  # what was not taken is asked again


def test_an_adjudicator_settles(campaign: Campaign) -> None:
    campaign.create(3)
    campaign.round()
    ann, bob = campaign.person("ann"), campaign.person("bob")
    tasks, others = campaign.tasks(ann), campaign.tasks(bob)
    for number, label in enumerate(("ham", "spam", "spam")):
        ann.annotate(tasks[str(number)], choice(label))
    campaign.round()  # ann's votes are the first
    bob.annotate(others["0"], choice("spam"), comment("an advert"))
    bob.annotate(others["1"], choice(ESCALATED, ESCALATE), comment("what is it?"))
    bob.annotate(others["2"], choice("spam"))
    campaign.round()
    assert "cid: 2 pushed" in campaign.round("--adjudicator", "cid")
    cid = campaign.person("cid adjudicates")
    disputed = campaign.tasks(cid)
    assert disputed.keys() == {"0", "1"}
    assert disputed["0"]["data"][ASK].endswith(" · vote 1: ham · vote 2: spam: an advert")
    assert disputed["1"]["data"][ASK].endswith(" · vote 1: spam · vote 2: escalated: what is it?")
    said = predictions(disputed["0"])
    assert [*said] == ["human label", "model", "vote 1", "vote 2"]
    assert [one["result"][0]["value"]["choices"] for one in said.values()] == [
        ["ham"], ["spam"], ["ham"], ["spam"],
    ]  # fmt: skip
    assert [*predictions(disputed["1"])] == ["human label", "model", "vote 1"]
    cid.annotate(disputed["0"], *said["vote 2"]["result"])
    cid.annotate(disputed["1"], choice("ham"), comment("no doubt"))
    assert "cid: 2 accepted" in campaign.round("--adjudicator", "cid")
    with campaign.admin() as client:
        stats = client.stats(campaign.name)
    assert (stats.num_done, stats.num_escalated) == (3, 0)
    results = campaign.results()
    assert [results[f"row-{number}", "cid"]["decision"] for number in (0, 1)] == [
        "accept",
        "confirm",
    ]
    assert {results[key]["role"] for key in results if key[1] == "cid"} == {"adjudicator"}


def test_blind_items_come_without_the_models_view(campaign: Campaign) -> None:
    campaign.create(4, labelers=["ann"], blind_share=1.0)
    campaign.round()
    for task in campaign.tasks(campaign.person("ann")).values():
        assert predictions(task).keys() == {"human label"}


def test_tokens_of_people_and_personal_tokens_of_label_studio(
    tmp_path: Path, guarded: ServerProcess, label_studio: LabelStudioProcess, api: LabelStudioApi
) -> None:
    campaign = Campaign(tmp_path, guarded, label_studio, api, "bridge-tokens")
    admin = mint(SECRET.encode(), "boss", role="admin", lifetime_s=600)
    uri = write_findings(tmp_path, 3)
    with Client(guarded.address, token=admin) as client:
        client.create_campaign("bridge-tokens", findings_uri=uri, run_id="run")
    name, token = "ann@example.org", tmp_path / "token"
    token.write_text(mint(SECRET.encode(), name, lifetime_s=600))
    command = [
        "bridge", "label-studio", "--url", label_studio.url, "--campaign", "bridge-tokens",
        "--address", guarded.address, "--once", "--token", label_studio.personal_token(),
    ]  # fmt: skip
    own = [*command, "--labeler", f"{name}={token}"]
    assert "3 pushed" in CliRunner().invoke(app, own, catch_exceptions=False).output
    ann = campaign.person(name)
    ann.annotate(ann.next(), choice("spam"))
    frontend = mint(
        SECRET.encode(), "label-studio", role="frontend", labelers=(name,), lifetime_s=600
    )
    named = ["--token", frontend, *command, "--labeler", name]
    assert "1 accepted" in CliRunner().invoke(app, named, catch_exceptions=False).output
    with pytest.raises(PermissionDenied, match="is not an adjudicator"):
        CliRunner().invoke(
            app, [*command, "--adjudicator", f"{name}={token}"], catch_exceptions=False
        )
    token.write_text(mint(SECRET.encode(), "cid", role="adjudicator", lifetime_s=600))
    adjudicating = [*command, "--adjudicator", f"cid={token}"]
    assert "cid: " in CliRunner().invoke(app, adjudicating, catch_exceptions=False).output
    with Client(guarded.address, token=admin) as client:
        [line] = client.stats("bridge-tokens").labelers
    assert (line.labeler, line.num_results) == (name, 1)


class Losing(httpx.BaseTransport):
    """The network, which loses the responses of some calls, or these calls themselves."""

    def __init__(self, method: str, path: str, *, is_sent: bool) -> None:
        self._method, self._path, self._is_sent = method, path, is_sent
        self._network = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        is_lost = request.method == self._method and self._path in request.url.path
        if is_lost and not self._is_sent:
            raise httpx.ConnectError("lost", request=request)
        response = self._network.handle_request(request)
        if is_lost:
            response.read()
            response.close()
            raise httpx.ReadError("lost", request=request)
        return response

    def close(self) -> None:
        self._network.close()


class Unpredicted(Losing):
    """Imports lose their predictions, as where Label Studio repeats one, and so do later calls."""

    def __init__(self) -> None:
        super().__init__("POST", "/import/predictions", is_sent=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/import"):
            tasks = [{**task, "predictions": []} for task in json.loads(request.read())]
            headers = {k: v for k, v in request.headers.items() if k != "content-length"}
            request = httpx.Request(request.method, request.url, headers=headers, json=tasks)
        return super().handle_request(request)


def round_through(campaign: Campaign, transport: httpx.BaseTransport) -> None:
    """One round for ann alone, whose calls to Label Studio go through the transport."""
    bridge = Bridge(
        campaign.name,
        [Labeler("ann", lambda: Client(campaign.server.address, labeler="ann"))],
        lambda: LabelStudioApi(campaign.url, LEGACY_TOKEN, transport=transport),
        Settings(),
        Pace(),
        print,
    )
    bridge.run(threading.Event(), once=True)


def losing_round(campaign: Campaign, transport: httpx.BaseTransport) -> None:
    with pytest.raises(Unavailable):
        round_through(campaign, transport)


def test_tasks_have_predictions_though_the_database_was_locked(
    campaign: Campaign, label_studio: LabelStudioProcess
) -> None:
    campaign.create(3)
    locked = LockedImport(label_studio)
    round_through(campaign, locked)
    assert locked.num_attempts > 1
    tasks = campaign.tasks(campaign.person("ann"))
    assert tasks.keys() == set("012")
    for task in tasks.values():
        assert [one["model_version"] for one in task["predictions"]] == ["human label", "model"]


def test_predictions_that_were_lost_come_later_but_to_annotated_tasks(campaign: Campaign) -> None:
    campaign.create(3, labelers=["ann"])
    losing_round(campaign, Unpredicted())
    ann = campaign.person("ann")
    tasks = campaign.tasks(ann)
    assert [len(task["predictions"]) for task in tasks.values()] == [0, 0, 0]
    ann.annotate(tasks["1"])  # with nothing chosen, which the bridge refuses
    call(campaign.api, "POST", "/api/predictions/", prediction_of(tasks["2"]))
    call(campaign.api, "POST", "/api/predictions/", prediction_of(tasks["2"]))
    assert "predictions were missing" in campaign.round()
    tasks = campaign.tasks(ann)
    assert predictions(tasks["0"]).keys() == {"human label", "model"}
    assert predictions(tasks["0"])["human label"]["score"] == pytest.approx(0.1)
    assert predictions(tasks["1"]) == {}
    assert len(tasks["2"]["predictions"]) == 1  # what was there twice
    assert "missing" not in campaign.round()


def test_an_answer_is_taken_once_though_the_bridge_died_before_it_knew(campaign: Campaign) -> None:
    campaign.create(4, labelers=["ann"])
    campaign.round()
    ann = campaign.person("ann")
    tasks = campaign.tasks(ann)
    ann.annotate(tasks["0"], choice("spam"))
    ann.annotate(tasks["1"], choice("ham"))
    losing_round(campaign, Losing("PATCH", "/api/tasks/", is_sent=False))
    with campaign.admin() as client:
        assert client.stats(campaign.name).num_results == 2  # submitted, and not marked so
    ann.annotate(tasks["2"], choice("spam"))  # another batch than before
    assert "3 accepted" in campaign.round()
    results = campaign.results()
    assert {row: results[row, "ann"]["label"] for row, _ in results} == {
        "row-0": "spam", "row-1": "ham", "row-2": "spam",
    }  # fmt: skip


def test_tasks_are_there_once_though_the_response_to_their_import_was_lost(
    campaign: Campaign,
) -> None:
    campaign.create(4, labelers=["ann"])
    losing_round(campaign, Losing("POST", "/import", is_sent=True))
    losing_round(campaign, Losing("GET", "/api/tasks/", is_sent=True))
    campaign.round()
    assert campaign.tasks(campaign.person("ann")).keys() == set("0123")


def wait_for(bridge: subprocess.Popen[str], words: str, *, times: int = 1) -> str:
    """Read what the bridge prints until so many lines have the words; the last of these."""
    assert bridge.stdout is not None
    lines: list[str] = []
    while times:
        line = bridge.stdout.readline()
        assert line, f"the bridge ended: {lines}"
        lines.append(line)
        times -= words in line
    return lines[-1]


def kill(bridge: subprocess.Popen[str]) -> None:
    bridge.kill()
    bridge.communicate()


@contextmanager
def hinted(campaign: Campaign, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A bridge that listens at a free port; ended after a time in which any test ends."""
    bridge = campaign.start("--listen", "127.0.0.1:0", *options)
    last = threading.Timer(300, bridge.kill)
    last.start()
    try:
        yield bridge
    finally:
        last.cancel()
        kill(bridge)


def test_an_answer_comes_by_a_webhook_though_the_next_look_is_far(campaign: Campaign) -> None:
    campaign.create(4)
    with hinted(campaign, "--poll", "1000") as bridge:
        wait_for(bridge, "Label Studio tells http://127.0.0.1:", times=2)
        ann = campaign.person("ann")
        tasks = campaign.tasks(ann)
        ann.annotate(tasks["0"], choice("spam"))
        wait_for(bridge, "ann: 4 pushed, 1 accepted")
        bob = campaign.person("bob")
        bob.annotate(campaign.tasks(bob)["0"], choice("spam"))
        wait_for(bridge, "bob: 4 pushed, 1 accepted")
    with hinted(campaign, "--poll", "1000") as bridge:  # the first was killed
        wait_for(bridge, "Label Studio tells http://127.0.0.1:", times=2)
        ann.annotate(tasks["1"], choice("spam"))
        wait_for(bridge, "ann: 1 accepted")
        assert len(campaign.api.webhooks(ann.project)) == 1
        bridge.terminate()
        assert bridge.wait(120) == 0
    assert campaign.api.webhooks(ann.project) == []


def test_nothing_is_lost_where_nobody_listens_at_the_webhooks_address(campaign: Campaign) -> None:
    campaign.create(2, labelers=["ann"])
    nobody = f"http://127.0.0.1:{free_port()}"
    with hinted(campaign, "--webhook-url", nobody) as bridge:
        wait_for(bridge, f"Label Studio tells {nobody}")
        ann = campaign.person("ann")
        ann.annotate(campaign.tasks(ann)["0"], choice("spam"))
        wait_for(bridge, "1 accepted")


def test_a_webhook_that_is_refused_is_said_and_answers_come_all_the_same(
    campaign: Campaign,
) -> None:
    campaign.create(2, labelers=["ann"])
    refused = {f"http://{REFUSED_HOST}:80": "reserved network", "http://bridge:80": "a valid URL"}
    for number, (url, why) in enumerate(refused.items()):
        with hinted(campaign, "--webhook-url", url) as bridge:
            said = f"Label Studio takes no webhook to {url} ("
            assert why in wait_for(bridge, said)
            ann = campaign.person("ann")
            ann.annotate(campaign.tasks(ann)[str(number)], choice("spam"))
            wait_for(bridge, "1 accepted")


def test_nothing_is_lost_or_doubled_when_any_of_the_three_is_killed(
    campaign: Campaign, label_studio: LabelStudioProcess
) -> None:
    num_items, server = 12, campaign.server
    campaign.create(num_items)
    bridge = campaign.start()
    try:
        wait_for(bridge, f"{num_items} pushed", times=2)
        people = {name: campaign.person(name) for name in ("ann", "bob")}
        tasks = {name: campaign.tasks(person) for name, person in people.items()}
        said: dict[tuple[str, str], str] = {}

        def say(name: str, number: int) -> None:
            label = "spam" if number % 2 else "ham"
            people[name].annotate(tasks[name][str(number)], choice(label))
            said[f"row-{number}", name] = label

        say("ann", 0)
        wait_for(bridge, "1 accepted")
        for number in (1, 2, 3):
            say("ann", number)
            say("bob", number)
            kill(bridge)  # wherever it is
            bridge = campaign.start()
        say("ann", 4)
        label_studio.kill()
        wait_for(bridge, "cannot be reached")
        label_studio.start()
        say("bob", 4)
        server.kill()
        say("ann", 5)
        say("bob", 5)
        wait_for(bridge, "trying again")
        kill(bridge)
        server.start()
        bridge = campaign.start()
        for number in range(6, num_items):
            say("ann", number)
            say("bob", number)
        say("bob", 0)
        with campaign.admin() as client:
            for response in client.watch(campaign.name):
                if response.stats.num_results == 2 * num_items:
                    break
        results = campaign.results()
        assert {key: row["label"] for key, row in results.items()} == said
        assert bridge.wait(120) == 0  # the campaign has ended
    finally:
        kill(bridge)
