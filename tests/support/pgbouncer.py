"""PgBouncer in transaction pooling before the tests' PostgreSQL, of two Debian releases.

1.18 is this machine's package on Debian 12. 1.24, of Debian 13, is unpacked by `make tools`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from tests.support import debian
from tests.support.ports import free_port
from tests.support.postgres import DROP, NOBODY, PostgresServer

INSTALLED = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
NEWER = "trixie"


class PgBouncer:
    """Gives each transaction one of `num_connections` to the server."""

    def __init__(
        self, server: PostgresServer, *, num_connections: int, newer: bool = False, more: str = ""
    ) -> None:
        """newer: Debian 13's, not the installed one. more: lines of its [pgbouncer] settings."""
        self._program = _newer_program() if newer else _installed_program()
        self._folder = Path(tempfile.mkdtemp(prefix="relabel-pgbouncer-"))
        self.port = free_port()
        (self._folder / "users").write_text('"relabel" ""\n')
        (self._folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {self._folder}/users\npool_mode = transaction\n"
            f"default_pool_size = {num_connections}\n{more}\n"
        )
        as_user = []
        if os.geteuid() == 0:  # it refuses to run as root
            as_user = [sys.executable, "-c", DROP]
            for path in (self._folder, *self._folder.iterdir()):
                os.chown(path, NOBODY, NOBODY)
        self._process = subprocess.Popen(
            [*as_user, *self._program, str(self._folder / "pgbouncer.ini")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def version(self) -> str:
        """As "1.18.0"."""
        told = subprocess.run([*self._program, "--version"], check=True, capture_output=True)
        return told.stdout.split()[1].decode()

    def url(self, database: str) -> str:
        """SQLAlchemy URL, once it takes connections."""
        dsn = f"host=127.0.0.1 port={self.port} user=relabel dbname={database}"
        while True:
            try:
                psycopg.connect(dsn, prepare_threshold=None).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None:
                    raise
            else:
                return f"postgresql+psycopg://relabel@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> "PgBouncer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._folder)


def _installed_program() -> list[str]:
    if not Path(INSTALLED).exists():
        raise RuntimeError("the tests need pgbouncer: apt-get install pgbouncer")
    return [INSTALLED]


def _newer_program() -> list[str]:
    return debian.command(NEWER, "pgbouncer", "usr/sbin/pgbouncer")
