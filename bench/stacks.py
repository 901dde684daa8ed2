"""Runs a command with a time limit, and dumps the stacks of its Python processes when it is silent.

Each Python process that starts under the command, Ray's workers included, finds a sitecustomize
module on PYTHONPATH that registers a signal handler of faulthandler. So no debugger is needed, nor
the right to look into other processes, which containers often withhold; and the handler writes
even while a thread is stuck in C code.
"""

import contextlib
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SIGNAL = signal.SIGUSR2
WRITE_S = 1.0  # that processes have to write their stacks
SITE = """import faulthandler, os
_stacks = open(os.path.join({folder!r}, f"{{os.getpid()}}.stacks"), "w")
faulthandler.register({signal}, _stacks, all_threads=True)
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended. returncode: None where it was killed at its limit."""

    returncode: int | None
    wall_s: float


def run(
    command: Sequence[str],
    *,
    limit_s: float,
    silent_s: float,
    on_line: Callable[[str], None],
    on_stacks: Callable[[str], None],
) -> Outcome:
    """Run a command; on_line gets each line of its output as it comes.

    on_stacks: gets the stacks of all its Python processes each time that it has said nothing for
    silent_s, and once more before it is killed at limit_s, with all that it started.
    """
    with tempfile.TemporaryDirectory() as local:
        folder, started = Path(local), time.monotonic()
        process = _start(command, folder)
        lines: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
        reader.start()
        heard_at = started
        while (now := time.monotonic()) < started + limit_s:
            try:
                line = lines.get(
                    timeout=max(min(heard_at + silent_s, started + limit_s) - now, 0.01)
                )
            except queue.Empty:
                if time.monotonic() >= heard_at + silent_s:
                    on_stacks(stacks(process.pid, folder))
                    heard_at = time.monotonic()
                continue
            if line is None:
                return Outcome(process.wait(), time.monotonic() - started)
            heard_at = time.monotonic()
            on_line(line)
        on_stacks(stacks(process.pid, folder))
        _kill(process.pid)
        process.wait()
        return Outcome(None, time.monotonic() - started)


def stacks(pid: int, folder: Path) -> str:
    """Of the process and all that it started, as far as they are Python and wrote to `folder`."""
    written: dict[int, int] = {}
    names: dict[int, str] = {}
    for process in _tree(pid):
        path = folder / f"{process.pid}.stacks"
        # The signal would end a process that has not registered a handler.
        with contextlib.suppress(psutil.NoSuchProcess):
            if path.exists():
                written[process.pid] = path.stat().st_size
                names[process.pid] = " ".join(process.cmdline())[:100]
                process.send_signal(SIGNAL)
    time.sleep(WRITE_S)
    texts = [
        f"--- {number} {names[number]}\n"
        + (folder / f"{number}.stacks").read_bytes()[size:].decode(errors="replace")
        for number, size in written.items()
    ]
    return "\n".join(texts)


def _start(command: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    (folder / "sitecustomize.py").write_text(SITE.format(folder=str(folder), signal=int(SIGNAL)))
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
    )


def _read(process: "subprocess.Popen[str]", lines: "queue.Queue[str | None]") -> None:
    assert process.stdout is not None
    with process.stdout as output:
        for line in output:
            lines.put(line.rstrip("\n"))
    lines.put(None)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill(pid: int) -> None:
    for process in _tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
