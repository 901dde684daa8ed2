"""A real browser for the tests: Chromium without a window, driven over pipes.

Debian's package has it. The DevTools protocol goes over two pipes, messages end with a zero byte.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = shutil.which("chromium") or "/usr/bin/chromium"
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
)
# The browser reads from descriptor 3 and writes to 4.
MOVE = (
    "import fcntl, os, sys; "
    "ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]; "
    "[os.dup2(end, place) for place, end in enumerate(ends, 3)]; "
    "os.execv(sys.argv[3], sys.argv[3:])"
)


class Browser:
    """One tab. `console` holds what pages logged, errors among it."""

    def __init__(self) -> None:
        if not Path(PROGRAM).exists():
            raise RuntimeError("the tests need chromium: apt-get install chromium")
        self.console: list[str] = []
        self.requested: list[str] = []
        self._number = 0
        self._folder = tempfile.mkdtemp(prefix="relabel-chromium-")
        commands_in, commands_out = os.pipe()
        answers_in, answers_out = os.pipe()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", MOVE, str(commands_in), str(answers_out)),
                *(PROGRAM, *OPTIONS, f"--user-data-dir={self._folder}"),
            ],
            pass_fds=(commands_in, answers_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands_in)
        os.close(answers_out)
        self._commands = os.fdopen(commands_out, "wb")
        self._answers = os.fdopen(answers_in, "rb")
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, page: Path, *, width: int = 1000, height: int = 800) -> None:
        """Open a page, and wait until it is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.call("Page.navigate", url=page.absolute().as_uri())
        loaded = "new Promise(done => document.readyState == 'complete' ? done(true) : "
        loaded += "addEventListener('load', () => done(true)))"
        self.call("Runtime.evaluate", expression=loaded, awaitPromise=True)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str, *, text: str = "") -> None:
        """A key of the keyboard, such as Tab."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": {"Tab": 9, "Enter": 13}[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command to the tab, and its result."""
        return self._call(method, self._session, **parameters)

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while (answer := self._receive()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        received = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser ended"
            received += byte
        answer: dict[str, Any] = json.loads(received)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        """Keep what tells of errors and of what was fetched."""
        parameters = event.get("params", {})
        match event.get("method"):
            case "Log.entryAdded":
                self.console.append(parameters["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.console.append(json.dumps(parameters["exceptionDetails"]))
            case "Network.requestWillBeSent":
                self.requested.append(parameters["request"]["url"])

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._commands.close()
        self._answers.close()
        shutil.rmtree(self._folder, ignore_errors=True)
