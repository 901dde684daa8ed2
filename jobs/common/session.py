"""The engine of a job: this process, or the Ray cluster it was submitted to or starts.

Global knobs are set here and nowhere deeper. Ray is imported only where it is used.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import typer
from rich.console import Console
from rich.markup import escape

from cluster.engine.base import Engine
from cluster.engine.local import LocalEngine
from cluster.engine.workers import Workers
from relabel_service.errors import InvalidInput, RelabelError

# A training worker, Ray Data's tasks and actors and a Serve replica run side by side, none of
# them busy all the time; with fewer slots than these, they would wait for each other.
MIN_LOCAL_SLOTS = 4

# Processes that every read of parquet starts to read footers, each with 128 threads. Ray's 32
# (2.60), also for a single file, keep a small machine busy for longer than the read itself.
FOOTER_READERS = "1"

# Ray starts a process for each slot at once (2.60), though few are used: RayEngine.start_workers.
PRESTART = "0"

# After Ray's one second the next step would start new processes, and import torch in each.
IDLE_WORKER_MS = "60000"

TOKEN_LOGGER = "ray._private.authentication.authentication_token_setup"


class EngineName(StrEnum):
    """Which engine to use."""

    AUTO = "auto"
    LOCAL = "local"
    RAY = "ray"


def choose_engine(wanted: EngineName, *, workers: Workers) -> tuple[EngineName, str]:
    """LOCAL or RAY, and why.

    How large the table is does not matter: one worker of Ray predicts no faster than one thread of
    this process, which has one for each core (bench/results/README.md).
    """
    if wanted is not EngineName.AUTO:
        return wanted, f"--engine {wanted.value}"
    if address := os.environ.get("RAY_ADDRESS"):
        return EngineName.RAY, f"RAY_ADDRESS is {address}"
    if workers.num > 1:
        return EngineName.RAY, f"{workers.num} workers share the work"
    if workers.use_gpu:
        return EngineName.RAY, "a GPU is asked for"
    return EngineName.LOCAL, "one worker"


@contextmanager
def session(wanted: EngineName, *, workers: Workers, serves: bool = False) -> Iterator[Engine]:
    """Within it, the engine; says on stderr which, and why.

    serves: whether Ray Serve will run too, which needs Ray whatever the engine.
    Raises InvalidInput when Ray is needed and not installed.
    """
    name, reason = choose_engine(wanted, workers=workers)
    if (serves or name is EngineName.RAY) and importlib.util.find_spec("ray") is None:
        need = "the service runs on it" if serves else reason
        raise InvalidInput.of(
            "engine",
            f"ray is not installed ({need}); install it with pip install 'relabel-service[cluster]'"
            + ("" if serves else ", or use --engine local"),
        )
    print(f"engine: {name.value} ({reason})", file=sys.stderr)
    if name is EngineName.LOCAL:
        yield LocalEngine()
        return
    with ray_session(workers) as engine:
        yield engine


@contextmanager
def ray_session(workers: Workers) -> Iterator[Engine]:
    """Within it, Ray is connected and its engine ready; a Ray started here starts the workers."""
    os.environ.setdefault("RAY_DATA_PARQUET_FOOTER_NUM_ACTORS", FOOTER_READERS)
    with connect_ray(num_slots=max(os.cpu_count() or 1, MIN_LOCAL_SLOTS)):
        import ray.data

        from cluster.engine.ray import RayEngine

        settings = ray.data.DataContext.get_current()  # sets up its loggers, too
        settings.enable_progress_bars = False
        settings.raise_original_map_exception = True  # its own says nothing of what failed (2.60)
        logging.getLogger("ray.train").setLevel(logging.ERROR)
        # At ERROR it writes tracebacks of what is raised here anyway.
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        engine = RayEngine()
        if not os.environ.get("RAY_ADDRESS") and not workers.use_gpu:
            engine.start_workers(workers.num)
        yield engine


@contextmanager
def connect_ray(*, num_slots: int) -> Iterator[None]:
    """Within it, Ray is connected: to RAY_ADDRESS where that is set, as in a submitted job.

    num_slots: CPUs that a Ray started here says it has.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    import ray

    from relabel_service.server.ray_node import start_ray_node

    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    else:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray's noise on start and stop
        # It warns of the token that a cluster for this job alone asks for (2.60).
        logging.getLogger(TOKEN_LOGGER).setLevel(logging.ERROR)
        os.environ.setdefault("RAY_prestart_worker_first_driver", PRESTART)
        os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", IDLE_WORKER_MS)
        start_ray_node(num_cpus=num_slots)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def warn(sentences: Iterable[str]) -> None:
    """Say on stderr what looks odd; nothing stops for it."""
    for sentence in sentences:
        print(f"warning: {sentence}", file=sys.stderr)


def run(app: typer.Typer) -> None:
    """Run a job's command; errors meant for people go to stderr, with exit code 1."""
    try:
        app()
    except RelabelError as error:
        told = f"[red]error:[/red] {escape(str(error))}"
        Console(stderr=True).print(told, highlight=False, soft_wrap=True)
        sys.exit(1)
