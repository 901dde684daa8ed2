"""The last release's service in a process of its own, on a queue database that others use, too.

It is started with the last release's code first on its path; it reads commands from standard
input, one a line of JSON, and answers each with a line of JSON.
"""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ARCHIVE = ROOT / "tests/data/last_release.tar.xz"


class LastRelease:
    """Raises RuntimeError with what it says where a command fails."""

    def __init__(self, folder: Path, queue_url: str) -> None:
        """`folder` keeps its code and its log."""
        code, self._log = folder / "last_release", folder / "last_release.log"
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(code, filter="data")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, Path(__file__), queue_url],
                env=os.environ | {"PYTHONPATH": f"{code}{os.pathsep}{ROOT}"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self("ready")

    def __call__(self, command: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([command, *arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the last release's process ended: {self._log.read_text()}")
        return json.loads(line)

    def __enter__(self) -> "LastRelease":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def main(queue_url: str) -> None:
    import relabel_service
    from relabel_service.queue.store import open_store
    from relabel_service.server.service import LeaseService
    from relabel_service.v1 import relabel_service_pb2 as rpc
    from tests.support.campaigns import ADMIN, create_request, request_id
    from tests.support.people import Person, stats

    assert "last_release" in relabel_service.__file__
    store = open_store(queue_url)
    service = LeaseService(store)

    def create(findings_uri: str) -> str:
        return service.CreateCampaign(create_request(findings_uri), ADMIN).campaign.name

    def label(name: str, decision: str, num: int) -> list[int]:
        person = Person(service, name)
        return [person.say(lease, decision) for lease in person.lease(num)]

    def lease(name: str) -> str:
        return Person(service, name).lease()[0].SerializeToString().hex()

    def finalize(results_uri: str) -> int:
        request = rpc.FinalizeCampaignRequest(
            name="campaigns/test", results_uri=results_uri, request_id=request_id()
        )
        return service.FinalizeCampaign(request, ADMIN).campaign.state

    commands: dict[str, Callable[..., Any]] = {
        "ready": lambda: True,
        "create": create,
        "label": label,
        "lease": lease,
        "finalize": finalize,
        "num_results": lambda: stats(service).num_results,
    }
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(commands[command](*arguments)), flush=True)
    store.close()


if __name__ == "__main__":
    main(sys.argv[1])
