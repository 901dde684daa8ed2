"""What integration tests share: a running service, both engines, one trained data set.

What imports torch is imported where it is used: the process that shares the files out among others
loads this module, too, before they start.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from cluster.data.rows import Source, latest
from cluster.engine.base import Engine
from cluster.engine.workers import Workers
from cluster.training.config import TrainConfig
from tests.support.object_store import object_store
from tests.support.servers import ServerProcess


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an empty bucket in a store of its own, which the environment tells how to reach."""
    with object_store() as (url, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield url


# Of the package: they end with its last test, for one of them at rest takes a tenth of a core.
@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A `relabel serve` on SQLite, shared by all files: give campaigns names of their own."""
    with ServerProcess(tmp_path_factory.mktemp("serve")) as started:
        yield started
        assert started.stop() == 0


@pytest.fixture(scope="package")
def ray_cluster() -> Iterator[Engine]:
    """The engine on a Ray that this package starts; Ray Data reads small tables, too."""
    from jobs.common.session import ray_session

    with pytest.MonkeyPatch.context() as patched:
        # Its processes have imported torch: the next test that needs them may be far off.
        patched.setenv("RAY_idle_worker_killing_time_threshold_ms", "600000")
        with ray_session(Workers()):
            from cluster.engine.ray import RayEngine

            yield RayEngine(max_bytes_here=0)


@pytest.fixture(params=["local", "ray"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn: what a test asserts with it holds on both."""
    from cluster.engine.local import LocalEngine

    if request.param == "local":
        return LocalEngine()
    started: Engine = request.getfixturevalue("ray_cluster")
    return started


TRAINING = TrainConfig(num_folds=3, epochs=6)


@dataclass(frozen=True)
class Trained:
    """A data set with planted errors and invalid rows, and a training on it."""

    source: Source
    store_uri: str
    num_rows: int
    num_invalid: int
    gold: dict[str, str]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    from cluster.engine.local import LocalEngine
    from cluster.training.train import train
    from tests.tasks.test_text_classification import planted

    folder = tmp_path_factory.mktemp("trained")
    rows = planted(300, noise=0.15)
    invalid = [
        {"id": "empty", "text": "", "label": "sport"},
        {"id": "no-label", "text": "a text", "label": None},
        {"id": None, "text": "no id", "label": "sport"},
        {"id": "row-7", "text": "another text with the id of a row", "label": "sport"},
    ]
    valid = [
        {"id": name, "text": text, "label": label}
        for name, text, label in zip(rows.ids, rows.contents, rows.labels, strict=True)
    ]
    uri = str(folder / "data")
    for some in (valid[:150], valid[150:] + invalid):  # two files
        write_deltalake(uri, pa.Table.from_pylist(some), mode="append")
    source = latest(Source(uri, "text_classification", ("text",), "label", "id"))
    train(source, TRAINING, str(folder / "model"), LocalEngine())
    return Trained(
        source=source,
        store_uri=str(folder / "model"),
        num_rows=len(valid) + len(invalid),
        num_invalid=len(invalid),
        gold=dict(zip(rows.ids, rows.gold, strict=True)),
    )


SECRET = secrets.token_hex(32)
HEARTBEAT_S = 1.5
FRONTEND = "https://frontend.test"


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose files `guarded` shows to those who lease an item that names one."""
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="package")
def guarded(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Iterator[ServerProcess]:
    """A `relabel serve` that takes tokens signed with SECRET and nobody without one, set as
    behind a gateway: streams say every HEARTBEAT_S that they live, and the pages of FRONTEND
    may call. Shared by all files, as `server` is."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "secret").write_text(SECRET)
    options = (
        *("--secret", str(folder / "secret"), "--heartbeat", str(HEARTBEAT_S)),
        *("--media-prefix", str(media), "--cors-origin", FRONTEND),
    )
    with ServerProcess(folder, options=options) as started:
        yield started
