"""What a Delta table takes is known before people are asked; what it holds is read as it is."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from deltalake import DeltaTable, write_deltalake

from cluster.data.rows import Source, latest, require_mergeable
from cluster.io.tables import count_rows, read_table
from cluster.versions.plan import Action, WriteConfig
from cluster.versions.write import write
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.queue.import_items import describe
from relabel_service.tables import delta, preflight, schemas
from tests.support.campaigns import write_findings
from tests.support.handmade_delta import write_table

ROWS = pa.table(
    {
        "id": ["a", "b", "c", "d"],
        "text": ["one", "two", "three", "four"],
        "label": ["ham", "spam", "ham", "spam"],
        "number": pa.array([1, 2, 3, 4], pa.int32()),
    }
)
MERGEABLE: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "no longer append-only": {
        "features": ["appendOnly"],
        "configuration": {"delta.appendOnly": "false"},
    },
    "check constraint": {
        "features": ["checkConstraints"],
        "configuration": {"delta.constraints.known": "label <> 'eggs'"},
    },
    "generated column": {
        "features": ["generatedColumns"],
        "fields": {"number": {"delta.generationExpression": "number"}},
    },
    "mapped by name": {"features": ["columnMapping"], "physical": {"label": "text", "text": "c-2"}},
    "mapped by id": {
        "features": ["columnMapping"],
        "physical": {"label": "c-9"},
        "configuration": {"delta.columnMapping.mode": "id"},
    },
    "mapping unused": {"features": ["columnMapping"]},
    "deletion vectors unused": {"features": ["deletionVectors"]},
    "deletion vectors": {"features": ["deletionVectors"], "deleted": {0: [1]}},
    "both": {
        "features": ["deletionVectors", "columnMapping"],
        "deleted": {0: [1]},
        "physical": {"label": "c-9"},
    },
    "v2 checkpoints": {
        "features": ["v2Checkpoint"],
        "configuration": {"delta.checkpointPolicy": "v2"},
    },
    "change data feed": {
        "features": ["changeDataFeed"],
        "configuration": {"delta.enableChangeDataFeed": "true"},
    },
}
REFUSED: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "append-only": (
        {"features": ["appendOnly"], "configuration": {"delta.appendOnly": "true"}},
        "append-only .* set delta.appendOnly=false",
    ),
    "identity columns": (
        {"features": ["identityColumns"]},
        "uses identityColumns, .* DROP FEATURE identityColumns",
    ),
    "row tracking": (
        {"features": ["rowTracking", "domainMetadata"]},
        "rowTracking, .* set delta.enableRowTracking=false, then",
    ),
    "clustering": (
        {"features": ["clustering", "domainMetadata"]},
        "uses clustering, .* CLUSTER BY NONE",
    ),
    "in-commit timestamps": ({"features": ["inCommitTimestamp"]}, "uses inCommitTimestamp"),
    "unknown": ({"features": ["frobnication"]}, "uses frobnication"),
    "several": (
        {"features": ["identityColumns", "allowColumnDefaults", "deletionVectors"]},
        "uses allowColumnDefaults, identityColumns, with",
    ),
    "generated label": (
        {
            "features": ["generatedColumns"],
            "fields": {"label": {"delta.generationExpression": "lower(text)"}},
        },
        "'label' .* is generated as 'lower",
    ),
    "column generated from the label": (
        {
            "features": ["generatedColumns"],
            "fields": {"text": {"delta.generationExpression": "lower(label)"}},
        },
        "'text' .* is generated from 'label'",
    ),
    "expression of another engine": (
        {
            "features": ["checkConstraints"],
            "configuration": {"delta.constraints.json": "get_json_object(text, '$.a') = 1"},
        },
        "the constraint 'json', .* cannot be computed here",
    ),
}


def source(uri: str, **other: Any) -> Source:
    return Source(uri, "text_classification", ("text",), "label", "id", **other)


def labels(uri: str) -> dict[str, str]:
    rows = pa.concat_tables(read_table(uri, ["id", "label"]))
    return dict(zip(rows["id"].to_pylist(), rows["label"].to_pylist(), strict=True))


def decide(uri: str, tmp_path: Path, new: str = "new") -> int:
    decision = {
        name: None for name in schemas.LINEAGE.names if name not in ("action", "merge_time")
    } | {"id": "a", "unit": "", "previous_label": "ham", "new_label": new}
    config = WriteConfig(source(uri), [decision], "campaign", str(tmp_path / "lineage"))
    return write(config).version


@pytest.mark.parametrize("kind", MERGEABLE)
def test_tables_that_can_be_written_are_read_and_merged_as_they_are(
    kind: str, tmp_path: Path
) -> None:
    uri = write_table(tmp_path / "table", ROWS, **MERGEABLE[kind])
    require_mergeable(latest(source(uri)))
    before = dict(zip(ROWS["id"].to_pylist(), ROWS["label"].to_pylist(), strict=True))
    if MERGEABLE[kind].get("deleted"):
        del before["b"]
    assert labels(uri) == before
    assert count_rows(uri) == len(before)
    assert decide(uri, tmp_path) == 1
    assert labels(uri) == before | {"a": "new"}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_written_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    settings, told = REFUSED[kind]
    uri = write_table(tmp_path / "table", ROWS, **settings)
    with pytest.raises(InvalidInput, match=told):
        require_mergeable(latest(source(uri)))
    if "generated" not in kind and "expression" not in kind:
        with pytest.raises(InvalidInput, match=told):  # not "kept changing"
            decide(uri, tmp_path)


@pytest.mark.parametrize("feature", ["typeWidening", "vacuumProtocolCheck"])
def test_what_cannot_be_read_is_refused_by_name(feature: str, tmp_path: Path) -> None:
    uri = write_table(tmp_path / "table", ROWS, features=[feature])
    with pytest.raises(InvalidInput, match=rf"uses {feature}, .* cannot be read"):
        latest(source(uri))


def test_results_for_a_table_that_takes_none_are_refused(tmp_path: Path) -> None:
    uri = write_table(tmp_path / "table", ROWS, features=["identityColumns"])
    with pytest.raises(InvalidInput, match="uses identityColumns"):
        delta.append_once(uri, ROWS, app_id="a")


def test_several_files_are_read_in_order_and_batches(tmp_path: Path) -> None:
    files = [pa.table({"id": [f"{k}-{i}" for i in range(3000)]}) for k in range(3)]
    uri = write_table(
        tmp_path / "table",
        *files,
        features=["deletionVectors", "columnMapping"],
        physical={"id": "c-1"},
        deleted={1: [0, 2999]},
    )
    tables = list(read_table(uri, ["id"]))
    assert max(table.num_rows for table in tables) <= 1024
    every = [value for table in files for value in table["id"].to_pylist()]
    kept = [value for value in every if value not in ("1-0", "1-2999")]
    assert pa.concat_tables(tables)["id"].to_pylist() == kept


def test_a_filter_sees_columns_by_their_names(tmp_path: Path) -> None:
    uri = write_table(tmp_path / "table", ROWS, **MERGEABLE["mapped by name"])
    found = delta.scanner(DeltaTable(uri), ["id"], where=pads.field("label") == "spam").to_table()
    assert found["id"].to_pylist() == ["b", "d"]
    assert delta.read_where(uri, {"label": "ham"}, columns=["text"])["text"].to_pylist() == [
        "one",
        "three",
    ]


def test_versions_that_are_not_there_are_refused(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    write_deltalake(uri, ROWS)
    with pytest.raises(NotFound, match=r"no version 7, .* the latest is 0"):
        latest(source(uri, version=7))


def test_a_version_whose_files_were_vacuumed_is_refused(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    write_deltalake(uri, ROWS)
    write_deltalake(uri, ROWS.slice(0, 2), mode="overwrite")
    DeltaTable(uri).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(NotFound, match=r"version 0 of .* has lost 1 of its 1 files"):
        latest(source(uri, version=0))
    assert count_rows(latest(source(uri)).uri) == 2


def test_a_broken_log_is_told(tmp_path: Path) -> None:
    uri = write_table(tmp_path / "table", ROWS)
    log = Path(uri) / "_delta_log" / f"{0:020d}.json"
    log.write_text(json.dumps({"commitInfo": {}}) + "\n")
    with pytest.raises(InvalidInput, match="cannot be opened"):
        latest(source(uri))


@pytest.mark.parametrize(
    "uri_of", [lambda path: str(path), lambda path: f"file://{path}"], ids=["path", "url"]
)
def test_a_campaign_about_a_table_that_takes_no_labels_is_refused(
    uri_of: Callable[[Path], str], tmp_path: Path
) -> None:
    write_table(tmp_path / "table", ROWS, **REFUSED["append-only"][0])
    origin = preflight.origin("run", dataset=uri_of(tmp_path / "table"), label_column="label")
    findings = write_findings(tmp_path, 3, metadata=origin)
    with pytest.raises(InvalidInput, match="is append-only"):
        describe(findings, "run", item_order="worst_first")


def test_a_campaign_about_a_table_out_of_reach_is_made(tmp_path: Path) -> None:
    origin = preflight.origin("run", dataset=str(tmp_path / "elsewhere"), label_column="label")
    assert (
        describe(write_findings(tmp_path, 3, metadata=origin), "run", item_order="worst_first")[
            "num_items"
        ]
        == 3
    )


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    for kind in ("plain", "deletion vectors"):
        uri = write_table(tmp_path / kind, ROWS, **MERGEABLE[kind])
        (tmp_path / kind / "part-0.parquet").unlink()
        with pytest.raises(InvalidInput, match=r"part-0.parquet not found.*; where a file is gone"):
            labels(uri)


@pytest.mark.parametrize("kind", ["plain", "deletion vectors", "mapped by name"])
def test_rows_are_counted_where_the_log_does_not_say_how_many(kind: str, tmp_path: Path) -> None:
    rows = ROWS.set_column(0, "id", pa.array([None, "b", "c", "d"]))
    uri = write_table(tmp_path / "table", rows, **MERGEABLE[kind], stats=False)
    assert count_rows(uri) == 4 - len(MERGEABLE[kind].get("deleted", ()))


def test_a_new_weight_column_of_a_table_with_mapped_columns_is_refused(tmp_path: Path) -> None:
    uri = write_table(tmp_path / "table", ROWS, **MERGEABLE["mapped by name"])
    decision = dict.fromkeys(schemas.LINEAGE.names) | {
        "id": "a", "unit": "", "previous_label": "ham", "new_label": "ham", "weight": 0.5
    }  # fmt: skip
    config = WriteConfig(
        source(uri), [decision], "rule", str(tmp_path / "lineage"), action=Action.WEIGHT
    )
    with pytest.raises(InvalidInput, match=r"'weight' is no column .* ADD COLUMN"):
        write(config)
