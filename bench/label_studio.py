"""A real Label Studio on this machine: next task out, annotation in.

In an environment of its own, since its pins are not this project's:

    python3 -m venv /tmp/label-studio && /tmp/label-studio/bin/pip install label-studio==1.23.2

Used by bench/queue.py.
"""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.label_studio import LEGACY_TOKEN, LabelStudioProcess

CONFIG = """<View><Text name="text" value="$text"/>
<Choices name="label" toName="text"><Choice value="ham"/><Choice value="spam"/></Choices></View>"""
RESULT = [
    {
        "from_name": "label",
        "to_name": "text",
        "type": "choices",
        "value": {"choices": ["spam"]},
    }
]


@dataclass(frozen=True)
class LabelStudio:
    address: str
    project: int

    def label_one(self) -> bool:
        """Take the next task and annotate it; whether there was one."""
        try:
            task = call(self.address, f"/api/projects/{self.project}/next")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return False
            raise
        call(self.address, f"/api/tasks/{task['id']}/annotations/", {"result": RESULT})
        return True

    def items_per_s(self, *, num_clients: int, seconds: float) -> float:
        """Items annotated a second by concurrent clients; failed pairs of calls do not count."""
        ends, counts = time.monotonic() + seconds, [0] * num_clients
        failures: list[str] = []
        lock = threading.Lock()

        def work(number: int) -> None:
            while time.monotonic() < ends:
                try:
                    counts[number] += self.label_one()
                except (urllib.error.URLError, OSError) as error:
                    with lock:
                        failures.append(str(error))

        started = time.monotonic()
        with ThreadPoolExecutor(num_clients) as pool:
            list(pool.map(work, range(num_clients)))
        if not sum(counts):
            raise RuntimeError(f"Label Studio took nothing: {failures[:3]}")
        return sum(counts) / (time.monotonic() - started)


@contextmanager
def label_studio(program: Path, folder: Path, *, num_tasks: int) -> Iterator[LabelStudio]:
    """Start it on SQLite, with one project of `num_tasks` texts."""
    with LabelStudioProcess(folder, program=program) as process:
        address = process.url
        project = call(address, "/api/projects", {"title": "bench", "label_config": CONFIG})["id"]
        tasks = [{"text": f"text {number}"} for number in range(num_tasks)]
        call(address, f"/api/projects/{project}/import", tasks)
        yield LabelStudio(address, project)


def call(address: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        address + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Token {LEGACY_TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.loads(response.read())
