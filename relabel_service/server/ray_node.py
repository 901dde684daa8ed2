"""A Ray node of this process's own, on a machine that may have others.

Beside it only app.py imports Ray.
"""

import logging
from functools import partialmethod
from typing import Any

import ray
from ray._private.parameter import RayParams

# Of the node's agent: any free one. Beside a node that has Ray's own, 52365, each start waits 3.3 s
# while the agent tries to take it, and ray.init has no setting for it (2.60).
AGENT_PORT = {"dashboard_agent_listen_port": 0}


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
