"""How fast the page is: from a key to the next item on screen, its weight, and 200 pages at once.

    python -m bench.page                    # 200 items by one person, beside 0 and 200 open pages
    python -m bench.page --pages 50

One replica on SQLite, one Chromium; the other pages are open and idle on the same campaign. From
the key press to the frame after the next item was drawn, as the browser's own clock has it.
"""

import tempfile
import uuid
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from playwright.sync_api import Browser, Page

from relabel_service import Client
from tests.support.browser import Labeler, chromium
from tests.support.campaigns import write_findings
from tests.support.servers import ServerProcess

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

# Resolves with the milliseconds from the key to the frame after the item has changed.
TIMED_KEY = """
() => new Promise((resolve) => {
  const panel = document.querySelector(".work");
  const start = performance.now();
  new MutationObserver((_, observer) => {
    observer.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - start)));
  }).observe(panel, { attributes: true, attributeFilter: ["data-item"] });
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "a", bubbles: true }));
})
"""


@app.command()
def main(
    items: Annotated[int, typer.Option(help="items answered in each turn")] = 200,
    pages: Annotated[int, typer.Option(help="pages open beside it in the second turn")] = 200,
) -> None:
    """Milliseconds from key to next item, without and with other pages open; and bytes."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(Path(folder)) as server,
        chromium() as browser,
    ):
        for num_others in (0, pages):
            campaign = _campaign(server, Path(folder), items + 20 + 8 * num_others)
            others = _open_pages(browser, server, campaign, num_others)
            ann = Labeler(browser, server)
            num_bytes = _count_bytes(ann.page)
            ann.label(campaign)
            took_ms = np.array([float(ann.page.evaluate(TIMED_KEY)) for _ in range(items)])
            ann.wait_until_sent()
            p50, p95, most = np.quantile(took_ms, [0.5, 0.95, 1.0])
            print(
                f"{num_others} other pages: key to next item {p50:.1f} ms at p50, {p95:.1f} at "
                f"p95, {most:.1f} at most, of {items}; the page weighs {sum(num_bytes):,} bytes"
            )
            ann.close()
            for other in others:
                other.close()


def _campaign(server: ServerProcess, folder: Path, num_items: int) -> str:
    folder = folder / uuid.uuid4().hex
    folder.mkdir()
    with Client(server.address, labeler="admin") as admin:
        uri = write_findings(folder, num_items)
        name = f"c-{uuid.uuid4().hex[:12]}"
        return admin.create_campaign(name, findings_uri=uri, run_id="run").name


def _open_pages(
    browser: Browser, server: ServerProcess, campaign: str, num_pages: int
) -> list[Labeler]:
    opened = [Labeler(browser, server, f"labeler-{number}") for number in range(num_pages)]
    for each in opened:
        each.label(campaign)
    return opened


def _count_bytes(page: Page) -> list[int]:
    """Filled as responses come: bytes of their bodies, compressed as they were sent."""
    sizes: list[int] = []

    def add(request: object) -> None:
        sizes.append(request.sizes()["responseBodySize"])  # type: ignore[attr-defined]

    page.on("requestfinished", add)
    return sizes


if __name__ == "__main__":
    app()
