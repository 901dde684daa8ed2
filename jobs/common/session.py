"""The Ray session of a job: joins the cluster it was submitted to, or starts one on this machine.

Global knobs are set here and nowhere deeper.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import ray.data
import typer
from rich.console import Console

from cluster.engine.base import Engine
from cluster.engine.ray import RayEngine
from relabel_service.errors import RelabelError

# A training worker, Ray Data's tasks and actors and a Serve replica run side by side, none of
# them busy all the time; with fewer slots than these, they would wait for each other.
MIN_LOCAL_SLOTS = 4

# Processes that every read of parquet starts to read footers, each with 128 threads. Ray's 32
# (2.60), also for a single file, keep a small machine busy for longer than the read itself.
FOOTER_READERS = "1"

# After Ray's one second the next step would start new processes, and import torch in each.
IDLE_WORKER_MS = "60000"


@contextmanager
def ray_session() -> Iterator[Engine]:
    """Within it, Ray is connected: to RAY_ADDRESS where that is set, as in a submitted job."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    os.environ.setdefault("RAY_DATA_PARQUET_FOOTER_NUM_ACTORS", FOOTER_READERS)
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    else:
        _start_node()
    for name in ("ray.data", "ray.train", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield RayEngine()
    finally:
        ray.shutdown()


def _start_node() -> None:
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray's own noise on start and stop
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", IDLE_WORKER_MS)
    ray.init(
        num_cpus=max(os.cpu_count() or 1, MIN_LOCAL_SLOTS),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )


def run(app: typer.Typer) -> None:
    """Run a job's command; errors meant for people go to stderr, with exit code 1."""
    try:
        app()
    except RelabelError as error:
        Console(stderr=True).print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)
