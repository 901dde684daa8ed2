"""PgBouncer in transaction pooling before the tests' PostgreSQL; Debian's package has it."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import psycopg

from tests.support.ports import free_port
from tests.support.postgres import DROP, NOBODY, PostgresServer

PROGRAM = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"


class PgBouncer:
    """Gives each transaction one of `num_connections` to the server."""

    def __init__(self, server: PostgresServer, *, num_connections: int) -> None:
        if not Path(PROGRAM).exists():
            raise RuntimeError("the tests need pgbouncer: apt-get install pgbouncer")
        self._folder = Path(tempfile.mkdtemp(prefix="relabel-pgbouncer-"))
        self.port = free_port()
        (self._folder / "users").write_text('"relabel" ""\n')
        (self._folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {self._folder}/users\npool_mode = transaction\n"
            f"default_pool_size = {num_connections}\n"
        )
        as_user = []
        if os.geteuid() == 0:  # it refuses to run as root
            as_user = [sys.executable, "-c", DROP]
            for path in (self._folder, *self._folder.iterdir()):
                os.chown(path, NOBODY, NOBODY)
        self._process = subprocess.Popen(
            [*as_user, PROGRAM, str(self._folder / "pgbouncer.ini")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._folder)
