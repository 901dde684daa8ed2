"""The page in a real browser, on a real service: each task by keyboard alone; what goes wrong."""

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from deltalake import DeltaTable
from playwright.sync_api import Browser, Route, expect

from relabel_service import Client, accept, escalate
from relabel_service.server.auth import mint
from tests.integration.conftest import SECRET
from tests.support.browser import ITEM, Labeler, chromium
from tests.support.campaigns import write_findings
from tests.support.page_items import inline, page_items
from tests.support.servers import ServerProcess

MAX_PAGE_BYTES = 400_000  # gzipped, of a text task


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def ann(browser: Browser, server: ServerProcess) -> Iterator[Labeler]:
    labeler = Labeler(browser, server)
    yield labeler
    labeler.close()
    assert labeler.faults == []


def create(
    server: ServerProcess, folder: Path, num_items: int, *, settings: Any = None, **finding: Any
) -> str:
    folder = folder / uuid.uuid4().hex
    folder.mkdir()
    uri = write_findings(folder, num_items, **finding)
    with Client(server.address, labeler="admin") as admin:
        name = f"p-{uuid.uuid4().hex[:12]}"
        return admin.create_campaign(name, findings_uri=uri, run_id="run", **(settings or {})).name


def published(server: ServerProcess, campaign: str, folder: Path) -> list[dict[str, Any]]:
    uri = str(folder / f"results-{uuid.uuid4().hex}")
    with Client(server.address, labeler="admin") as admin:
        admin.finalize(campaign, results_uri=uri)
    rows: list[dict[str, Any]] = DeltaTable(uri).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: row["rank"])


# Of each task: keys of three answers, and what they say.
ANSWERS: dict[str, tuple[list[tuple[str, ...]], list[tuple[str, Any]]]] = {
    "text_classification": (
        [("c",), ("a",), ("2",)],
        [("confirm", "ham"), ("accept", "spam"), ("accept", "spam")],
    ),
    "image_classification": (
        [("c",), ("a",), ("1",)],
        [("confirm", "ham"), ("accept", "spam"), ("confirm", "ham")],
    ),
    "audio_classification": (
        [("c",), ("a",), ("2",)],
        [("confirm", "ham"), ("accept", "spam"), ("accept", "spam")],
    ),
    "token_classification": (
        [
            ("c",),
            # Unmark Angela Merkel; mark John Smith.
            ("Delete", *["ArrowRight"] * 3, "Shift+ArrowRight", "Enter", "f"),
            # John Smith as well: what the model says.
            (*["ArrowRight"] * 3, "Shift+ArrowRight", "Enter", "f"),
        ],
        [
            ("confirm", '[[0,2,"PER"],[8,9,"LOC"]]'),
            ("relabel", '[[3,5,"PER"]]'),
            ("accept", '[[0,2,"PER"],[3,5,"PER"],[8,9,"LOC"]]'),
        ],
    ),
    "object_detection": (
        [
            ("a",),
            # Ten pixels right and down is where the model has it.
            ("]", "Shift+ArrowRight", "Shift+ArrowDown", "f"),
            ("]", "Delete", "n", "ArrowLeft", "f"),
        ],
        [
            ("accept", [("car", 100, 100, 300, 250)]),
            ("accept", [("car", 100, 100, 300, 250)]),
            ("relabel", [("car", 255, 192, 383, 288)]),
        ],
    ),
    "sequence_generation": (
        [("c",), ("t", "Control+Enter"), ("i", "End", "!", "Control+Enter")],
        [
            ("confirm", "How go it you?"),
            ("accept", "How are you?"),
            ("relabel", "How go it you?!"),
        ],
    ),
    "click_through_rate": (
        [("c",), ("n",), ("y",)],
        [("confirm", "1"), ("accept", "0"), ("confirm", "1")],
    ),
}


def readable(label: str) -> Any:
    """Boxes as tuples; other labels as they are."""
    if not label.startswith('[{"'):
        return label
    return [
        (box["class_name"], box["x_min"], box["y_min"], box["x_max"], box["y_max"])
        for box in json.loads(label)
    ]


@pytest.mark.parametrize("task", page_items())
def test_every_task_is_answered_by_keyboard_alone(
    server: ServerProcess, ann: Labeler, tmp_path: Path, task: str
) -> None:
    campaign = create(server, tmp_path, 3, task=task, **page_items()[task])
    page = ann.label(campaign)
    answers, expected = ANSWERS[task]
    for keys in answers:
        if task == "object_detection":
            page.wait_for_selector(".boxes button")  # the picture is decoded
        ann.press(*keys)
    ann.wait_until_sent()
    rows = published(server, campaign, tmp_path)
    assert [(row["decision"], readable(row["label"])) for row in rows] == expected


@pytest.mark.parametrize("task", page_items())
def test_every_task_is_accessible_on_a_phone_too(
    server: ServerProcess, ann: Labeler, tmp_path: Path, task: str
) -> None:
    campaign = create(server, tmp_path, 1, task=task, **page_items()[task])
    for width in (1280, 360):
        ann.page.set_viewport_size({"width": width, "height": 800})
        page = ann.label(campaign)
        page.keyboard.press("?")
        if task == "object_detection":
            page.wait_for_selector(".boxes button")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert serious(ann) == []


def serious(labeler: Labeler) -> list[str]:
    violations = Axe().run(labeler.page).response["violations"]
    return [
        f"{each['id']}: {[node['html'][:200] for node in each['nodes']]}"
        for each in violations
        if each["impact"] in ("serious", "critical")
    ]


def test_a_person_signs_in_and_finds_the_campaign(
    server: ServerProcess, browser: Browser, tmp_path: Path
) -> None:
    campaign = create(server, tmp_path, 1)
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.http_port}/")
    expect(page.locator("#credential")).to_be_focused()
    page.keyboard.type("Zoë")
    page.keyboard.press("Enter")
    page.get_by_role("link", name=campaign.removeprefix("campaigns/")).click()
    page.wait_for_selector(ITEM)
    page.keyboard.press("m")
    page.keyboard.type("sure")
    page.keyboard.press("Enter")
    page.keyboard.press("a")
    expect(page.locator("#main")).to_contain_text("Nothing is left for you now")
    context.close()
    [row] = published(server, campaign, tmp_path)
    assert (row["labeler"], row["label"], row["comment"]) == ("Zoë", "spam", "sure")
    assert row["seconds_spent"] > 0


def test_a_link_with_a_token_signs_in_and_keeps_it_out_of_the_address(
    guarded: ServerProcess, browser: Browser
) -> None:
    token = mint(SECRET.encode(), "ann", lifetime_s=600)
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{guarded.http_port}/#token={token}")
    expect(page.get_by_text("ann (labeler)")).to_be_visible()
    assert token not in page.url
    assert context.cookies() == []
    context.close()


def test_the_page_is_light(server: ServerProcess, ann: Labeler, tmp_path: Path) -> None:
    sizes: list[int] = []
    ann.page.on("response", lambda got: sizes.append(got.request.sizes()["responseBodySize"]))
    ann.label(create(server, tmp_path, 1))
    assert 0 < sum(sizes) < MAX_PAGE_BYTES


def test_a_reload_goes_on_where_it_was(server: ServerProcess, ann: Labeler, tmp_path: Path) -> None:
    campaign = create(server, tmp_path, 4)
    ann.label(campaign)
    ann.press("a")
    shown = ann.shown()
    ann.page.reload()
    ann.page.wait_for_selector(ITEM)
    assert ann.shown() == shown
    for _ in range(3):
        ann.press("a")
    ann.wait_until_sent()
    rows = published(server, campaign, tmp_path)
    assert [row["rank"] for row in rows] == [0, 1, 2, 3]


def test_answers_are_undone(server: ServerProcess, ann: Labeler, tmp_path: Path) -> None:
    campaign = create(server, tmp_path, 2)
    ann.label(campaign)
    first = ann.shown()
    ann.press("s")
    ann.press("u")
    assert ann.shown() == first
    ann.press("c")
    ann.press("e")
    ann.wait_until_sent()
    rows = published(server, campaign, tmp_path)
    assert [row["decision"] for row in rows] == ["confirm", "escalate"]


def test_a_second_tab_asks_before_it_takes_over(
    server: ServerProcess, ann: Labeler, tmp_path: Path
) -> None:
    campaign = create(server, tmp_path, 3)
    ann.label(campaign)
    shown = ann.shown()
    second = ann.open_tab()
    second.goto(f"{ann.address}/#/{campaign}")
    second.get_by_role("button", name="Take over").click()
    second.wait_for_selector(ITEM)
    expect(ann.page.get_by_text("Another tab has taken over")).to_be_visible()
    assert second.evaluate("document.querySelector('[data-item]').dataset.item") == shown


def test_what_is_answered_while_the_service_is_away_arrives_later(
    server: ServerProcess, ann: Labeler, tmp_path: Path
) -> None:
    campaign = create(server, tmp_path, 5)
    ann.label(campaign)
    ann.press("a")
    ann.wait_until_sent()
    server.kill()
    ann.press("a")
    ann.press("c")
    assert ann.page.evaluate("JSON.parse(Object.entries(localStorage)[0][1]).length") == 2
    ann.page.close()  # the tab dies with what it has not sent
    server.start()
    ann.page = ann.open_tab()
    ann.label(campaign)
    ann.wait_until_sent()
    rows = published(server, campaign, tmp_path)
    assert [row["label"] for row in rows] == ["spam", "spam", "ham"]


def test_an_answer_on_its_way_when_the_replica_ends_arrives(
    server: ServerProcess, ann: Labeler, tmp_path: Path
) -> None:
    campaign = create(server, tmp_path, 2)
    ann.label(campaign)
    with closing(sqlite3.connect(server.folder / "queue.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # so that the answer stays under way
        with ann.page.expect_request("**/SubmitResults"):
            ann.press("a")
        with Client(server.address, labeler="admin") as admin:
            admin.get_campaign(campaign)  # sent after the answer
        with ann.page.expect_response(lambda response: response.status == 500):
            for replica in server.processes("ServeReplica"):
                replica.kill()  # Serve says 500, and starts another
    ann.wait_until_sent()
    rows = published(server, campaign, tmp_path)
    assert [row["label"] for row in rows] == ["spam"]


@pytest.mark.parametrize("status", [200, 403, 429, 500])
def test_what_a_gateway_says_in_the_place_of_the_service_costs_no_answer(
    server: ServerProcess, ann: Labeler, tmp_path: Path, status: int
) -> None:
    campaign = create(server, tmp_path, 2)
    ann.label(campaign)

    def answer(route: Route) -> None:
        route.fulfill(status=status, content_type="text/html", body="<h1>Please sign in</h1>")

    ann.page.route("**/SubmitResults", answer, times=1)
    ann.press("a")
    ann.wait_until_sent()
    rows = published(server, campaign, tmp_path)
    assert [row["label"] for row in rows] == ["spam"]


def test_a_token_that_expires_costs_no_answer(
    guarded: ServerProcess, browser: Browser, tmp_path: Path
) -> None:
    uri = write_findings(tmp_path, 3)
    with Client(
        guarded.address, token=mint(SECRET.encode(), "boss", role="admin", lifetime_s=600)
    ) as boss:
        campaign = boss.create_campaign(
            f"p-{uuid.uuid4().hex[:12]}", findings_uri=uri, run_id="run"
        ).name
        ann = Labeler(browser, guarded, token=mint(SECRET.encode(), "ann", lifetime_s=600))
        ann.label(campaign)
        ann.page.evaluate(
            "token => sessionStorage.setItem('relabel:credentials', JSON.stringify({token}))",
            mint(SECRET.encode(), "ann", lifetime_s=-60),
        )
        ann.page.reload()
        ann.page.wait_for_selector("#credential")
        expect(ann.page.get_by_role("alert")).to_contain_text("expired")
        ann.page.fill("#credential", mint(SECRET.encode(), "ann", lifetime_s=600))
        ann.page.keyboard.press("Enter")
        ann.page.wait_for_selector(ITEM)
        ann.press("a")
        ann.wait_until_sent()
        ann.close()
        assert boss.stats(campaign).num_done == 1


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("<img src=x onerror=alert(1)><script>alert(2)</script>", "<script>alert(2)</script>"),
        ("\x1b[31mred\u202egnirts\u2066", "red"),
        ("long " * 2_000_000, "Show more of 10,000,000 characters"),
    ],
    ids=["markup", "controls", "ten-megabytes"],
)
def test_hostile_text_is_text(
    server: ServerProcess, ann: Labeler, tmp_path: Path, content: str, shown: str
) -> None:
    page = ann.label(create(server, tmp_path, 1, content=content, human_label="ham"))
    expect(page.locator(".item")).to_contain_text(shown)
    assert page.locator(".item img, .item script").count() == 0


def test_a_broken_picture_is_told_and_can_be_skipped(
    server: ServerProcess, ann: Labeler, tmp_path: Path
) -> None:
    campaign = create(
        server, tmp_path, 2, task="image_classification", content=inline(b"broken", "image/png")
    )
    page = ann.label(campaign)
    expect(page.get_by_role("alert")).to_contain_text("The picture cannot be shown")
    ann.press("s")
    ann.press("s")
    ann.wait_until_sent()
    assert [row["decision"] for row in published(server, campaign, tmp_path)] == ["skip"] * 2


def test_who_labels_blind_sees_nothing_of_the_model(
    server: ServerProcess, ann: Labeler, tmp_path: Path
) -> None:
    page = ann.label(create(server, tmp_path, 1, settings={"blind_share": 1.0}))
    assert page.get_by_text("The model").count() == 0


def test_an_adjudicator_sees_the_votes_side_by_side(
    server: ServerProcess, ann: Labeler, tmp_path: Path
) -> None:
    campaign = create(server, tmp_path, 1, settings={"votes_required": 2})
    for name, comment in (("bob", ""), ("cem", "hard to say")):
        with Client(server.address, labeler=name) as person:
            [lease] = person.lease(campaign)
            person.submit(campaign, [escalate(lease, comment) if comment else accept(lease)])
    page = ann.label(campaign, mode="/adjudicate")
    expect(page.get_by_text("escalated: hard to say")).to_be_visible()
    page.locator(".vote").filter(has_text="spam").get_by_role("button", name="is right").click()
    ann.wait_until_sent()
    adjudicated = [row for row in published(server, campaign, tmp_path) if row["labeler"] == "ann"]
    assert [row["label"] for row in adjudicated] == ["spam"]


def test_whoever_runs_the_campaign_sees_it_move_and_finalizes_it(
    server: ServerProcess, ann: Labeler, tmp_path: Path
) -> None:
    campaign = create(server, tmp_path, 2)
    page = ann.page
    page.goto(f"{ann.address}/#/{campaign}/admin")
    expect(page.get_by_text("Items are given out.")).to_be_visible()
    with Client(server.address, labeler="bob") as bob:
        bob.submit(campaign, [escalate(bob.lease(campaign)[0])])
    expect(page.get_by_role("row", name="bob")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("The campaign is paused")).to_be_visible()
    assert serious(ann) == []
    page.fill("#results", str(tmp_path / "published"))
    page.get_by_role("button", name="Finalize").click()
    expect(page.get_by_text("its answers are published")).to_be_visible()
    assert DeltaTable(str(tmp_path / "published")).to_pyarrow_table().num_rows == 1
