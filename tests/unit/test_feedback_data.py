"""What people answered is laid beside what mining said when it asked; all else teaches nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from cluster.data.rows import Source
from cluster.engine.local import LocalEngine
from cluster.inference.predict import InferenceConfig
from cluster.mining.feedback_data import BY_MODELS, groups_of, learn_from_lineage
from cluster.mining.selection import Selection
from cluster.scores.feedback import Evidence, Feedback, learn
from cluster.training.config import TrainConfig
from jobs.loop.config import LoopConfig
from jobs.loop.rounds import Rounds
from relabel_service.tables import delta, schemas

TASK = "text_classification"


def finding(number: int, **other: Any) -> dict[str, Any]:
    signals = {BY_MODELS: 0.1 + 0.05 * number, "suspicion_ensemble": 0.5, "p_label": 0.9}
    return {
        "run_id": "round-1",
        "rank": number,
        "id": f"row-{number}",
        "unit": "",
        "human_label": "sport" if number % 2 else "money",
        "signals": list(signals.items()),
        "task": TASK,
    } | other


def decision(number: int, **other: Any) -> dict[str, Any]:
    """Every third label was wrong."""
    return {
        "id": f"row-{number}",
        "unit": "",
        "changed": number % 3 == 0,
        "findings_uri": other.pop("findings_uri", None),
        "run_id": "round-1",
    } | other


def write(uri: str, rows: list[dict[str, Any]], schema: pa.Schema, app_id: str) -> None:
    delta.append_once(uri, pa.Table.from_pylist(rows, schema=schema), app_id=app_id)


@pytest.fixture
def lineage(tmp_path: Path) -> str:
    """Ten findings and two audited rows; of the first eight, and of those, people have decided."""
    uri = str(tmp_path / "findings")
    write(uri, [finding(number) for number in range(10)], schemas.FINDINGS, "round-1")
    audited = [finding(number, rank=number - 10) for number in (10, 11)]
    write(delta.audit_of(uri), audited, schemas.FINDINGS, "round-1")
    decided = [decision(number, findings_uri=uri) for number in (*range(8), 10, 11)]
    write(str(tmp_path / "lineage"), decided, schemas.LINEAGE, "merge-1")
    return str(tmp_path / "lineage")


def expected() -> Feedback:
    numbers = np.array([*range(8), 10, 11])
    evidence = Evidence(
        0.1 + 0.05 * numbers,
        ["sport" if number % 2 else "money" for number in numbers],
        {"suspicion_ensemble": np.full(10, 0.5)},
    )
    return learn(evidence, numbers % 3 == 0)


def test_findings_of_earlier_releases_teach_by_the_names_of_today(tmp_path: Path) -> None:
    uri, lineage = str(tmp_path / "findings"), str(tmp_path / "lineage")
    rows = [finding(number) for number in range(10)]
    for row in rows:
        row["signals"] = [
            ("suspicion_pool" if name == "suspicion_ensemble" else name, value)
            for name, value in row["signals"]
        ]
    write(uri, rows, schemas.FINDINGS, "round-1")
    decided = [decision(number, findings_uri=uri) for number in range(8)]
    write(lineage, decided, schemas.LINEAGE, "merge-1")
    numbers = np.arange(8)
    evidence = Evidence(
        0.1 + 0.05 * numbers,
        ["sport" if number % 2 else "money" for number in numbers],
        {"suspicion_ensemble": np.full(8, 0.5)},
    )
    assert learn_from_lineage(lineage) == learn(evidence, numbers % 3 == 0)


def test_findings_and_audited_rows_that_people_decided_teach(lineage: str) -> None:
    found = learn_from_lineage(lineage)
    assert found == expected()
    assert found.num_answers == 10
    assert found.groups["money"] > found.groups["sport"]  # 0, 6 of five; 3 of five


def test_policies_and_findings_that_are_gone_or_not_mined_teach_nothing(
    lineage: str, tmp_path: Path
) -> None:
    uri = str(tmp_path / "findings")
    by_rule = decision(8, findings_uri=uri, policy="drop", action="drop")
    gone = decision(9, findings_uri=str(tmp_path / "gone"))
    other_run = decision(9, findings_uri=uri, run_id="round-9")
    write(lineage, [by_rule, gone, other_run], schemas.LINEAGE, "merge-2")
    patterns = [finding(number, run_id="pattern", signals=[]) for number in range(3)]
    write(uri, patterns, schemas.FINDINGS, "pattern")
    asked = [decision(number, findings_uri=uri, run_id="pattern") for number in range(3)]
    write(lineage, asked, schemas.LINEAGE, "merge-3")
    assert learn_from_lineage(lineage) == expected()


def test_without_decisions_nothing_is_learned(tmp_path: Path) -> None:
    assert learn_from_lineage(None) == Feedback()
    assert learn_from_lineage(str(tmp_path / "none")) == Feedback()
    write(str(tmp_path / "lineage"), [], schemas.LINEAGE, "merge-1")
    assert learn_from_lineage(str(tmp_path / "lineage")) == Feedback()


def test_groups_are_units_or_classes_where_there_are_any() -> None:
    assert groups_of(TASK, ["money", "sport"], ["", ""]) == ["money", "sport"]
    assert groups_of("token_classification", ["[]", "[]"], ["PER", "LOC"]) == ["PER", "LOC"]
    assert groups_of("sequence_generation", ["a text"], [""]) == [""]


@pytest.mark.parametrize("feedback", [True, False])
def test_a_loop_mines_by_what_people_have_decided(
    lineage: str, tmp_path: Path, feedback: bool
) -> None:
    data = str(tmp_path / "data")
    write_deltalake(data, pa.table({"id": ["a"], "text": ["b"], "label": ["c"]}))
    loop = LoopConfig(
        source=Source(data, TASK, ("text",), "label", "id"),
        out=str(tmp_path),
        num_rounds=2,
        training=TrainConfig(),
        selection=Selection(),
        inference=InferenceConfig(),
        gold_column=None,
        tests={},
        feedback=feedback,
    )
    steps = Rounds(loop, engine=LocalEngine(), service=None, label=None, progress=None)  # type: ignore[arg-type]
    mining = steps.mining(2)
    assert mining.feedback == (expected() if feedback else Feedback())
    assert len(mining.decided.contents) == 10
