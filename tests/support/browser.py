"""A real Chromium that labels on the page of a real service."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Dialog, Page, expect, sync_playwright

from tests.support.servers import ServerProcess

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 60_000
ITEM = "[data-item]"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's: `make tools` brings it."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert path, f"none of {', '.join(CHROMIUM)} is installed; run `make tools`"
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, chromium_sandbox=os.getuid() != 0
        )
        yield browser
        browser.close()


class Labeler:
    """One person's browser profile: a page, and what went wrong on it."""

    def __init__(
        self, browser: Browser, server: ServerProcess, name: str = "ann", token: str = ""
    ) -> None:
        self.address = f"http://127.0.0.1:{server.http_port}"
        self.context = browser.new_context()
        self.context.set_default_timeout(TIMEOUT_MS)
        credentials = json.dumps({"token": token} if token else {"labeler": name})
        self.context.add_init_script(
            f"sessionStorage.getItem('relabel:credentials') ?? "
            f"sessionStorage.setItem('relabel:credentials', {json.dumps(credentials)})"
        )
        self.faults: list[str] = []
        self.page = self.open_tab()

    def open_tab(self) -> Page:
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: self._note(message))
        page.on("dialog", self._refuse)
        return page

    def label(self, campaign: str, mode: str = "", page: Page | None = None) -> Page:
        """The page of a campaign, with an item on it."""
        page = page or self.page
        page.goto(f"{self.address}/#/{campaign}{mode}")
        page.wait_for_selector(ITEM)
        return page

    def press(self, *keys: str) -> None:
        """Answers an item: returns when the next one is shown, or none is left."""
        before = self.shown()
        for key in keys:
            self.page.keyboard.press(key)
        # Not wait_for_function: the page's security policy lets nothing be evaluated in it.
        self.page.locator(f'.work:not([data-item="{before}"])').wait_for()

    def shown(self) -> str:
        """The item's name; empty when there is none."""
        name: str = self.page.evaluate("document.querySelector('[data-item]')?.dataset.item ?? ''")
        return name

    def wait_until_sent(self) -> None:
        """Until the service has what was answered."""
        expect(self.page.locator("#waiting")).to_have_attribute("data-waiting", "0")

    def close(self) -> None:
        self.context.close()

    def _refuse(self, dialog: Dialog) -> None:
        self.faults.append(dialog.message)
        dialog.dismiss()

    def _note(self, message: Any) -> None:
        # A call that the service refuses is an error to the console, whatever the page makes of it.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(message.text)
