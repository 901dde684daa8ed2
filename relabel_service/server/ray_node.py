"""A Ray node of this process's own, on a machine that may have others.

Beside it only app.py imports Ray.
"""

import logging
from contextlib import suppress
from functools import partialmethod
from typing import Any

import psutil
import ray
from ray._private import ray_constants
from ray._private import worker as ray_worker
from ray._private.parameter import RayParams

# Of the node's agent: any free one. Beside a node that has Ray's own, 52365, each start waits 3.3 s
# while the agent tries to take it, and ray.init has no setting for it (2.60).
AGENT_PORT = {"dashboard_agent_listen_port": 0}

NEEDED = (ray_constants.PROCESS_TYPE_GCS_SERVER, ray_constants.PROCESS_TYPE_RAYLET)
RAYLET_PID = "RAY_RAYLET_PID"  # in the environment of a node's workers


def start_ray_node(*, num_cpus: int, **options: Any) -> None:
    """Connect this process to a new node, which ends with it. options: others of ray.init."""
    init = RayParams.__init__
    RayParams.__init__ = partialmethod(init, **AGENT_PORT)  # type: ignore[method-assign,assignment]
    try:
        ray.init(
            address="local",  # not a cluster that somebody else has started on this machine
            num_cpus=num_cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            **options,
        )
    finally:
        RayParams.__init__ = init  # type: ignore[method-assign]


def ended_process() -> str:
    """Which process that the node of start_ray_node cannot be without has ended; empty: none.

    Ray does not tell: whoever is connected waits, and ray.shutdown() never returns (2.60).
    """
    ended = (kind for kind, _ in _node().dead_processes() if kind in NEEDED)
    return next(ended, "")


def kill_node() -> None:
    """End what is left of the node: its workers would hold their ports for a minute (2.60)."""
    node = _node()
    [raylet] = node.all_processes[ray_constants.PROCESS_TYPE_RAYLET]
    pid = str(raylet.process.pid)
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(RAYLET_PID) == pid:
                process.kill()
    node.kill_all_processes(check_alive=False, allow_graceful=False)


def _node() -> Any:
    return ray_worker._global_node
