"""How fast the page is: from a key to the next item on screen, its weight, and 200 pages at once.

    python -m bench.page                    # 200 items by one person, beside 0 and 200 open pages
    python -m bench.page --pages 50

One replica on SQLite, one Chromium with one page. The other pages are open and idle on the same
campaign: they are clients that hold what a page holds, its leases and its stream of events, since
so many tabs on one machine would measure the browser. From the key press to the frame after the
next item was drawn, as the browser's own clock has it.
"""

import asyncio
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import typer
from playwright.sync_api import Page

from relabel_service import Client
from relabel_service.wire.metadata import LABELER_KEY
from tests.support.browser import Labeler, chromium
from tests.support.campaigns import write_findings
from tests.support.servers import ServerProcess

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

PATH = "/relabel_service.v1.RelabelService"
OPEN_S = 60.0  # in which a page opens
HELD = 7  # items that a page leases: one on screen, six ahead

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
            with _open_pages(server, campaign, num_others) as num_events:
                ann = Labeler(browser, server)
                num_bytes = _count_bytes(ann.page)
                ann.label(campaign)
                took_ms = np.array([float(ann.page.evaluate(TIMED_KEY)) for _ in range(items)])
                ann.wait_until_sent()
                ann.close()
            p50, p95, most = np.quantile(took_ms, [0.5, 0.95, 1.0])
            print(
                f"{num_others} other pages, told {num_events.total()} events: key to next item "
                f"{p50:.1f} ms at p50, {p95:.1f} at p95, {most:.1f} at most, of {items}; the page "
                f"weighs {sum(num_bytes):,} bytes"
            )


def _campaign(server: ServerProcess, folder: Path, num_items: int) -> str:
    folder = folder / uuid.uuid4().hex
    folder.mkdir()
    with Client(server.address, labeler="admin") as admin:
        uri = write_findings(folder, num_items)
        name = f"c-{uuid.uuid4().hex[:12]}"
        return admin.create_campaign(name, findings_uri=uri, run_id="run").name


@contextmanager
def _open_pages(server: ServerProcess, campaign: str, num_pages: int) -> Iterator[Counter[int]]:
    """Within it, each page has leased items ahead and hears events, which are counted by page."""
    events: Counter[int] = Counter()
    stop = threading.Event()
    opened = [threading.Event() for _ in range(num_pages)]

    async def keep_open(http: httpx.AsyncClient, number: int) -> None:
        headers = {LABELER_KEY: f"labeler-{number}"}
        body = {"parent": campaign, "maxItems": HELD, "requestId": str(uuid.uuid4())}
        leased = await http.post(f"{PATH}/LeaseItems", json=body, headers=headers)
        leased.raise_for_status()
        async with http.stream("GET", f"/{campaign}/events", headers=headers) as stream:
            stream.raise_for_status()
            opened[number].set()
            async for line in stream.aiter_lines():
                events[number] += line.startswith("event: campaign")

    async def keep_all_open() -> None:
        limits = httpx.Limits(max_connections=None)
        address = f"http://127.0.0.1:{server.http_port}"
        async with httpx.AsyncClient(base_url=address, limits=limits, timeout=None) as http:
            pages = [asyncio.create_task(keep_open(http, number)) for number in range(num_pages)]
            await asyncio.to_thread(stop.wait)
            for page in pages:
                page.cancel()
            for ended in await asyncio.gather(*pages, return_exceptions=True):
                if isinstance(ended, Exception):  # none of its own ends before
                    raise ended

    with ThreadPoolExecutor(1) as pool:
        keeping = pool.submit(asyncio.run, keep_all_open())
        try:
            if not all(each.wait(OPEN_S) for each in opened):
                raise RuntimeError("not all pages could be opened")
            yield events
        finally:
            stop.set()
            keeping.result()


def _count_bytes(page: Page) -> list[int]:
    """Filled as responses come: bytes of their bodies, compressed as they were sent."""
    sizes: list[int] = []

    def add(request: object) -> None:
        sizes.append(request.sizes()["responseBodySize"])  # type: ignore[attr-defined]

    page.on("requestfinished", add)
    return sizes


if __name__ == "__main__":
    app()
