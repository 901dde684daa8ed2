"""A real Label Studio in a process of its own, which a test may kill, on SQLite.

It lives in an environment of its own, since its pins are not this project's: build/ keeps it
between runs, and `make tools` makes it.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from relabel_service.bridge.label_studio_api import Json, LabelStudioApi
from relabel_service.errors import RelabelError
from tests.support.ports import free_port

VERSION = "1.23.2"
ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / "build" / f"label-studio-{VERSION}"
PROGRAM = ENVIRONMENT / "bin/label-studio"
MIGRATED = ENVIRONMENT / "data"  # an empty database, which takes minutes to make
START_S = 1800.0  # on a busy machine
REFUSED_HOST = "127.0.0.2"  # where Label Studio sends no webhooks
USER, PASSWORD, LEGACY_TOKEN = "tests@example.org", "tests-password", "b" * 40


def install() -> Path:
    """The program, installed where it is not yet. Raises RuntimeError without network."""
    if PROGRAM.exists() and (ENVIRONMENT / "ready").exists():
        return PROGRAM
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    pip = [str(ENVIRONMENT / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, f"label-studio=={VERSION}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(
            f"Label Studio {VERSION} cannot be installed from the package index: is the network "
            f"reachable? Run `make tools` again where it is.\n{done.stderr[-1000:]}"
        )
    MIGRATED.mkdir()
    with LabelStudioProcess(MIGRATED, program=PROGRAM):
        pass
    (ENVIRONMENT / "ready").touch()
    return PROGRAM


class LabelStudioProcess:
    """Restarted, it keeps its port and its database."""

    def __init__(self, folder: Path, *, program: Path | None = None) -> None:
        """`folder` keeps database and log. Without `program`: the installed one, on a copy of its
        empty database."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder, self._program = folder, program or install()
        if program is None:
            shutil.copytree(MIGRATED, folder, dirs_exist_ok=True)
        self.database = folder / "label_studio.sqlite3"
        self._log = folder / "label-studio.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "LabelStudioProcess":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Return when it answers. Raises RuntimeError with its log when it ends before."""
        environment = os.environ | {
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
            "SENTRY_DSN": "",
            "LOG_LEVEL": "INFO",  # LockedImport reads it
            # Webhooks may go to this machine, but to REFUSED_HOST, as to all of it by default.
            "USE_DEFAULT_BANNED_SUBNETS": "false",
            "USER_ADDITIONAL_BANNED_SUBNETS": f"{REFUSED_HOST}/32",
        }
        environment.pop("PYTHONPATH", None)
        command = [
            str(self._program), "start", "--no-browser", "--port", str(self.port),
            "--data-dir", str(self._folder), "--username", USER, "--password", PASSWORD,
            "--user-token", LEGACY_TOKEN,
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        ends = time.monotonic() + START_S
        while time.monotonic() < ends and self._process.poll() is None:
            try:
                with self.api() as api:
                    next(api.projects(), None)
            except RelabelError:
                time.sleep(0.5)  # it tells nobody when it is ready
            else:
                return
        self.kill()
        raise RuntimeError(f"Label Studio does not serve: {self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL, with what it started: as when power goes."""
        if self._process is None:
            return
        processes = [psutil.Process(self._process.pid)] if self._process.poll() is None else []
        for process in [child for one in processes for child in one.children(True)] + processes:
            process.kill()
        self._process.wait()
        self._process = None

    def num_in_log(self, words: str) -> int:
        return self._log.read_text(errors="replace").count(words)

    def api(self, token: str = LEGACY_TOKEN) -> LabelStudioApi:
        return LabelStudioApi(self.url, token, timeout_s=120)

    def personal_token(self) -> str:
        """A new personal access token of the user's."""
        with self.api() as api:
            return str(call(api, "POST", "/api/token/", {})["token"])


def call(api: LabelStudioApi, method: str, path: str, body: Any = None) -> Any:
    """What the web page calls and the bridge does not."""
    return api._call(method, path, body=body, repeat=False)


class LockedImport(httpx.BaseTransport):
    """The network, and another program that locks Label Studio's database when tasks are imported,
    until Label Studio has given up its first attempt and begins the second, which may fail too."""

    BEGINS = "Try to serialize tasks with annotations"  # Label Studio's line of each attempt

    def __init__(self, label_studio: LabelStudioProcess) -> None:
        self.num_attempts = 0
        self._label_studio = label_studio
        self._network = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/import"):
            return self._network.handle_request(request)
        before = self._label_studio.num_in_log(self.BEGINS)
        is_over = threading.Event()
        database = sqlite3.connect(self._label_studio.database, check_same_thread=False)
        database.execute("BEGIN IMMEDIATE")

        def unlock() -> None:
            while self._label_studio.num_in_log(self.BEGINS) < before + 2:
                if is_over.wait(0.05):
                    break
            database.rollback()

        unlocking = threading.Thread(target=unlock)
        unlocking.start()
        try:
            return self._network.handle_request(request)
        finally:
            is_over.set()
            unlocking.join()
            database.close()
            self.num_attempts = self._label_studio.num_in_log(self.BEGINS) - before

    def close(self) -> None:
        self._network.close()


class LabelStudioPerson:
    """Somebody who labels in one project, through the calls that the web page makes."""

    def __init__(self, api: LabelStudioApi, project: int) -> None:
        self.api, self.project = api, project

    def next(self) -> Json:
        """The task that "Label All Tasks" shows."""
        task: Json = call(self.api, "GET", f"/api/projects/{self.project}/next")
        return task

    def annotate(self, task: Json, *results: Json, seconds: float = 3.0, skip: bool = False) -> int:
        body = {"result": list(results), "lead_time": seconds, "was_cancelled": skip}
        path = f"/api/tasks/{task['id']}/annotations/?project={self.project}"
        return int(call(self.api, "POST", path, body)["id"])

    def correct(self, annotation: int, *results: Json) -> None:
        call(self.api, "PATCH", f"/api/annotations/{annotation}/", {"result": list(results)})

    def draft(self, task: Json, *results: Json) -> None:
        path = f"/api/tasks/{task['id']}/drafts?project={self.project}"
        call(self.api, "POST", path, {"result": list(results), "lead_time": 1})


if __name__ == "__main__":
    print(install())
