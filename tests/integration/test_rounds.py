"""A loop that was stopped goes on where it was: what people have answered is not asked again."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from cluster.data.rows import Source, latest
from cluster.engine.local import LocalEngine
from cluster.inference.predict import InferenceConfig
from cluster.mining.selection import Selection
from cluster.training.config import TrainConfig
from jobs.common.progress import LogProgress
from jobs.loop.config import LoopConfig
from jobs.loop.labelers import simulated
from jobs.loop.rounds import LabelCampaign, Round, Rounds
from jobs.loop.service import Service
from relabel_service.client import Client
from tests.support.servers import ServerProcess
from tests.tasks.test_text_classification import planted


@pytest.fixture
def config(tmp_path: Path) -> LoopConfig:
    rows = planted(90, noise=0.2)
    columns = {"id": rows.ids, "text": rows.contents, "label": rows.labels, "gold": rows.gold}
    write_deltalake(str(tmp_path / "data"), pa.table(columns))
    return LoopConfig(
        source=latest(
            Source(str(tmp_path / "data"), "text_classification", ("text",), "label", "id")
        ),
        out=str(tmp_path / "out"),
        num_rounds=1,
        training=TrainConfig(num_folds=2, epochs=2),
        selection=Selection(top=10),
        inference=InferenceConfig(),
        gold_column="gold",
        tests={},
    )


def test_answers_outlast_the_loop_that_asked_for_them(
    server: ServerProcess, config: LoopConfig
) -> None:
    people = simulated(config, server.address, error_rate=0.0, seed=0)
    calls: list[str] = []

    def label_and_stop(client: Client, campaign: str, on_answers: Callable[[int], None]) -> None:
        people(client, campaign, on_answers)
        client.finalize(campaign, results_uri=f"{config.out}/results")
        raise InterruptedError

    def ask_nobody(*_: object) -> None:
        calls.append("label")

    def run(label: LabelCampaign) -> list[Round]:
        def connect() -> Client:
            calls.append("connect")
            return client

        with Client(server.address, labeler="loop") as client, LogProgress() as progress:
            service = Service(lambda: calls.append("start"), connect, lambda: None)
            rounds = Rounds(
                config, engine=LocalEngine(), service=service, label=label, progress=progress
            )
            return list(rounds.run())

    with pytest.raises(InterruptedError):
        run(label_and_stop)
    assert calls == ["start", "connect"]
    first, last = run(ask_nobody)
    assert "label" not in calls
    assert first.merged is not None
    assert first.num_leased == first.merged.num_decided == 10
    assert (last.num_wrong or 0) < (first.num_wrong or 0)
    calls.clear()
    assert run(ask_nobody) == [first, last]
    assert calls == []  # nor is there a service
