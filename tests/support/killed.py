"""Calls of a service that die by SIGKILL on the way, each in a process of its own.

python -m tests.support.killed reads [POINT, QUEUE_URL, RESULTS_URI], as JSON, a line each, and
prints for each the exit code that subprocess.Popen would report. It forks before it opens
anything, so that the libraries are loaded once.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from relabel_service.queue import campaigns, findings_reader, import_items
from relabel_service.queue.store import open_store
from relabel_service.server import background, results_stream
from relabel_service.server.service import LeaseService
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.support.campaigns import ADMIN, CAMPAIGN, request_id

STEP = 4
# Where to die: which module's function, and with which of its calls.
POINTS: dict[str, tuple[Any, str, int]] = {
    "import within a step": (campaigns, "add_imported", 1),
    "import between steps": (import_items, "_step", 2),
    "finalize while writing": (results_stream, "_row", 3),
    "finalize before marking": (campaigns, "mark_finalized", 1),
}


def fatal(function: Callable[..., Any], at_call: int) -> Callable[..., Any]:
    """The function, but that its call of that number kills this process."""
    left = at_call

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)

    return call


def main(point: str, queue_url: str, results_uri: str) -> None:
    module, name, at_call = POINTS[point]
    setattr(module, name, fatal(getattr(module, name), at_call))
    findings_reader.STEP = STEP
    background.LEASE_S = 0.0  # whoever comes next goes on at once
    service = LeaseService(open_store(queue_url))
    if point.startswith("import"):
        service.background.round(turn_s=60.0)
    else:
        request = rpc.FinalizeCampaignRequest(
            name=CAMPAIGN, results_uri=results_uri, request_id=request_id()
        )
        service.FinalizeCampaign(request, ADMIN)


if __name__ == "__main__":
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            main(*json.loads(line))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
