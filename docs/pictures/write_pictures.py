"""Writes the pictures of the documents: python docs/pictures/write_pictures.py

The labeling page on a real service in Chromium, one picture for each task and each state, and the
report of an audit. Written as WebP beside this script; labeling-page.md shows those of the page.
Names of states, such as `admin away`, write those alone.
"""

import contextlib
import io
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # the project's own modules, wherever this is started

from PIL import Image  # noqa: E402
from playwright.sync_api import Browser, Page, ViewportSize, expect  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from relabel_service import Client, accept, escalate  # noqa: E402
from relabel_service.cli.main import app  # noqa: E402
from tests.support.browser import Labeler, chromium  # noqa: E402
from tests.support.campaigns import write_findings  # noqa: E402
from tests.support.page_items import inline, page_items  # noqa: E402
from tests.support.servers import ServerProcess  # noqa: E402

HERE = Path(__file__).parent
WIDE, PHONE = ViewportSize(width=1000, height=680), ViewportSize(width=390, height=760)
QUALITY = 80  # of WebP, to 100
MAX_BYTES = 150_000
TWEETS = ROOT / "tests/data/text_classification/vader_tweets/train.parquet"


class Pictures:
    """Campaigns of one service, seen by one browser."""

    def __init__(self, browser: Browser, server: ServerProcess, folder: Path) -> None:
        self.browser, self.server, self.folder = browser, server, folder

    def create(self, num_items: int, *, settings: Any = None, **finding: Any) -> str:
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        uri = write_findings(folder, num_items, **finding)
        with Client(self.server.address, labeler="admin") as admin:
            task = finding.get("task", "text_classification").replace("_", "-")
            name = f"{task}-{folder.name[:4]}"
            made = admin.create_campaign(name, findings_uri=uri, run_id="run", **(settings or {}))
            return str(made.name)

    @contextmanager
    def person(self, name: str = "ann", size: ViewportSize = WIDE) -> Iterator[Labeler]:
        labeler = Labeler(self.browser, self.server, name)
        labeler.page.set_viewport_size(size)
        yield labeler
        labeler.close()

    def item(self, name: str, campaign: str, mode: str = "", size: ViewportSize = WIDE) -> None:
        with self.person(size=size) as ann:
            save(ann.label(campaign, mode), name)


def save(page: Page, name: str) -> None:
    """The window as it is, as a WebP of at most MAX_BYTES."""
    data = io.BytesIO()
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(
        data, "WEBP", quality=QUALITY, method=6
    )
    if data.tell() > MAX_BYTES:
        raise ValueError(f"{name} has {data.tell():,} bytes, more than {MAX_BYTES:,}")
    (HERE / f"{name}.webp").write_bytes(data.getvalue())
    print(f"{name}.webp: {data.tell():,} bytes")


def tasks(on: Pictures) -> None:
    for task, fields in page_items().items():
        on.item(task.replace("_", "-"), on.create(3, task=task, **fields))


def phone(on: Pictures) -> None:
    fields = page_items()["token_classification"]
    on.item("phone", on.create(3, task="token_classification", **fields), size=PHONE)


def blind(on: Pictures) -> None:
    on.item("blind", on.create(3, settings={"blind_share": 1.0}))


def broken(on: Pictures) -> None:
    campaign = on.create(2, task="image_classification", content=inline(b"broken", "image/png"))
    with on.person() as ann:
        page = ann.label(campaign)
        expect(page.get_by_role("alert")).to_be_visible()
        save(page, "broken-picture")


def finished(on: Pictures) -> None:
    campaign = on.create(1)
    with on.person() as ann:
        ann.label(campaign)
        ann.press("a")
        ann.wait_until_sent()
        save(ann.page, "finished")


def second_tab(on: Pictures) -> None:
    campaign = on.create(2)
    with on.person() as ann:
        ann.label(campaign)
        second = ann.open_tab()
        second.set_viewport_size(WIDE)
        second.goto(f"{ann.address}/#/{campaign}")
        second.get_by_role("button", name="Take over").wait_for()
        save(second, "second-tab")


def adjudicator(on: Pictures) -> None:
    campaign = on.create(1, settings={"votes_required": 2})
    with Client(on.server.address, labeler="bob") as bob:
        bob.submit(campaign, [accept(bob.lease(campaign)[0])])
    with Client(on.server.address, labeler="cem") as cem:
        cem.submit(campaign, [escalate(cem.lease(campaign)[0], "hard to say")])
    on.item("adjudicator", campaign, "/adjudicate")


def admin(on: Pictures) -> None:
    campaign = on.create(20)
    with (
        Client(on.server.address, labeler="ann") as client,
        client.leases(campaign, max_items=8) as leases,
    ):
        client.submit(campaign, [accept(lease) for lease in leases])
    with on.person("admin") as boss:
        boss.page.goto(f"{boss.address}/#/{campaign}/admin")
        boss.page.locator("progress, .progress, table").first.wait_for()
        save(boss.page, "admin")


def campaigns(on: Pictures) -> None:
    with on.person() as ann:
        ann.page.goto(f"{ann.address}/#/")
        ann.page.locator("main a, main button").first.wait_for()
        save(ann.page, "campaigns")


def sign_in(on: Pictures) -> None:
    context = on.browser.new_context(viewport=WIDE)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{on.server.http_port}/")
    page.wait_for_selector("#credential")
    save(page, "sign-in")
    context.close()


def away(on: Pictures) -> None:
    """Last: the service is killed."""
    campaign = on.create(4)
    with on.person() as ann:
        ann.label(campaign)
        ann.press("a")
        ann.wait_until_sent()
        on.server.kill()
        ann.press("a")
        expect(ann.page.locator("#waiting")).not_to_have_attribute("data-waiting", "0")
        save(ann.page, "service-away")


def report(on: Pictures) -> None:
    page = on.folder / "audit.html"
    shutil.copy(TWEETS, on.folder / "tweets.parquet")
    with contextlib.chdir(on.folder):  # the page names the table as it was given
        done = CliRunner().invoke(app, ["audit", "tweets.parquet", "--label-column", "label",
                                    "--content-column", "text", "--page", str(page)])  # fmt: skip
    if done.exit_code:
        raise RuntimeError(done.output)
    context = on.browser.new_context(viewport={"width": 1000, "height": 900})
    shown = context.new_page()
    shown.goto(page.as_uri())
    shown.locator("article, section").first.wait_for()
    save(shown, "report")
    context.close()


STATES: tuple[Callable[[Pictures], None], ...] = (
    report, sign_in, tasks, phone, blind, broken, finished, second_tab, adjudicator, admin,
    campaigns, away,
)  # fmt: skip


def main(names: list[str]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        chromium() as browser,
        ServerProcess(Path(folder)) as server,
    ):
        on = Pictures(browser, server, Path(folder))
        for state in STATES:
            if not names or state.__name__ in names:
                state(on)


if __name__ == "__main__":
    main(sys.argv[1:])
