"""What integration tests share: a running service, both engines, one trained data set."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from cluster.data.rows import Source, latest
from cluster.engine.base import Engine
from cluster.engine.local import LocalEngine
from cluster.engine.workers import Workers
from cluster.training.config import TrainConfig
from cluster.training.train import train
from jobs.common.session import ray_session
from tests.support.servers import ServerProcess
from tests.tasks.test_text_classification import planted


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A `relabel serve` on SQLite, shared by the session: give campaigns names of their own."""
    with ServerProcess(tmp_path_factory.mktemp("serve")) as started:
        yield started
        assert started.stop() == 0


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Engine]:
    """The engine on a Ray that this session starts; Ray Data reads small tables, too."""
    with ray_session(Workers()):
        from cluster.engine.ray import RayEngine

        yield RayEngine(max_bytes_here=0)


@pytest.fixture(params=["local", "ray"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn: what a test asserts with it holds on both."""
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


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A `relabel serve` that takes tokens signed with SECRET and nobody without one."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "secret").write_text(SECRET)
    with ServerProcess(folder, options=("--secret", str(folder / "secret"))) as started:
        yield started
