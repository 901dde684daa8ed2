"""Empty queue databases of each kind, for tests that must hold on all of them."""

import atexit
import functools
import shutil
import tempfile
import uuid
from pathlib import Path

from relabel_service.queue.store import STORES, open_store
from tests.support.postgres import PostgresServer

KINDS = list(STORES)
TEMPLATE = "template_queue"


def new_queue_url(kind: str, folder: Path) -> str:
    """The URL of an empty queue database; `folder` keeps it where it is a file."""
    if kind == "sqlite":
        shutil.copy(_sqlite_template(), folder / "queue.db")
        return f"sqlite:///{folder / 'queue.db'}"
    return postgres_server().create_database(f"queue_{uuid.uuid4().hex}", template=TEMPLATE)


@functools.cache
def _sqlite_template() -> Path:
    """A queue's file at the newest schema: every step of the migrations takes a tenth of a second
    together, for hundreds of tests."""
    folder = Path(tempfile.mkdtemp(prefix="relabel-template-"))
    atexit.register(shutil.rmtree, folder)
    open_store(f"sqlite:///{folder / 'queue.db'}").close()
    assert not (folder / "queue.db-wal").exists()  # all is in the file
    return folder / "queue.db"


@functools.cache
def postgres_server() -> PostgresServer:
    """One PostgreSQL for the whole test run, started when first asked for."""
    server = PostgresServer()
    atexit.register(server.close)
    open_store(server.create_database(TEMPLATE)).close()
    return server
