"""One running service for the tests that only call it."""

from collections.abc import Iterator

import pytest

from tests.integration.servers import ServerProcess


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A `relabel serve` on SQLite, shared by the session: give campaigns names of their own."""
    with ServerProcess(tmp_path_factory.mktemp("serve")) as started:
        yield started
        assert started.stop() == 0
