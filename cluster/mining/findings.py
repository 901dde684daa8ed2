"""A run's rows in its tables: findings, audited rows and the quarantine, each in one commit.

Each shard that has any writes files beside its tables' own; a file belongs to a table only once
it is committed. A repeated run writes files of the same names, and commits nothing twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.interfaces import Array
from cluster.io.folder import Folder
from cluster.io.shards import read_shard, write_shard
from cluster.mining.config import MineConfig
from cluster.mining.scored_shards import FAULT, ScoredTable, read_with_ensemble
from cluster.mining.scoring import Scoring
from cluster.mining.table_stats import TableStats
from cluster.tasks import model_task
from relabel_service.tables import delta, preflight, schemas


@dataclass(frozen=True)
class ShardRows:
    """What of a shard goes into tables. chosen: table -> its rows, as rank.CHOSEN."""

    shard: str
    has_faults: bool
    chosen: Mapping[str, pa.Table]


@dataclass(frozen=True)
class _File:
    table: str
    name: str
    size_bytes: int
    num_rows: int


def write_tables(
    table: ScoredTable, rows: Sequence[ShardRows], config: MineConfig, stats: TableStats
) -> None:
    """Write the rows, and commit each of the config's outputs once, the findings last."""
    uris = {name: uri for name, (uri, _) in config.outputs.items()}
    written = table.engine.for_each(
        _write_shard_rows, rows, table.run, config.run_id, table.scoring, stats, uris
    )
    files = [file for of_shard in written for file in of_shard]
    origin = preflight.origin(
        config.run_id, dataset=config.source.uri, label_column=config.source.label_column
    )
    for name, (uri, schema) in config.outputs.items():
        actions = [
            delta.add_file(file.name, size_bytes=file.size_bytes, num_rows=file.num_rows)
            for file in files
            if file.table == name
        ]
        delta.commit_files_once(uri, actions, schema=schema, app_id=config.run_id, metadata=origin)


def _write_shard_rows(
    rows: ShardRows,
    run: Folder,
    run_id: str,
    scoring: Scoring,
    stats: TableStats,
    uris: Mapping[str, str],
) -> list[_File]:
    name = f"{run_id}-{rows.shard.rpartition('/')[2]}"
    tables = {}
    if rows.has_faults:
        tables["quarantine"] = _quarantine(
            read_shard(run, rows.shard, ["id", FAULT, "row"]), run_id
        )
    chosen = {table: picked for table, picked in rows.chosen.items() if picked.num_rows}
    if chosen:
        scored = read_with_ensemble(
            run, rows.shard, has_ensemble=bool(stats.weights), with_content=True
        )
        for table, picked in chosen.items():
            tables[table] = _findings(scored.take(picked["row"]), picked, run_id, scoring, stats)
    return [
        _File(table, name, write_shard(Folder(uris[table]), name, content), content.num_rows)
        for table, content in tables.items()
    ]


def _findings(
    scored: pa.Table, chosen: pa.Table, run_id: str, scoring: Scoring, stats: TableStats
) -> pa.Table:
    """FINDINGS. chosen: rank and suspicion of the scored rows."""
    num_rows, task = scored.num_rows, model_task(scoring.task)
    shown = task.calibrate(scored, stats.sums)
    return pa.table(
        {
            "run_id": pa.array([run_id] * num_rows),
            "rank": chosen["rank"],
            "id": scored["id"],
            "unit": scored["unit"],
            "content": scored["content"],
            "human_label": scored["label"],
            "suggestions": shown["suggestions"],
            "suspicion": chosen["suspicion"],
            "signals": _signals(scoring.signals(scored, stats.sums), num_rows),
            "reason": task.reasons(shown),
            "task": pa.array([scoring.task] * num_rows),
            "classes": pa.array([list(scoring.classes)] * num_rows, pa.list_(pa.string())),
            "preferred_label": pa.nulls(num_rows),
            "copies": chosen["copies"],
        }
    ).cast(schemas.FINDINGS)


def _signals(signals: Mapping[str, Array], num_rows: int) -> pa.MapArray:
    names = list(signals)
    values = np.stack(list(signals.values()), axis=1).ravel() if names else np.empty(0)
    offsets = pa.array(np.arange(num_rows + 1) * len(names), pa.int32())
    return pa.MapArray.from_arrays(offsets, pa.array(names * num_rows, pa.string()), values)


def _quarantine(shard: pa.Table, run_id: str) -> pa.Table:
    """QUARANTINE of a shard's rows that have a fault."""
    invalid = shard.filter(pc.is_valid(shard[FAULT]))
    return pa.table(
        {
            "run_id": pa.array([run_id] * invalid.num_rows),
            "id": invalid["id"],
            "row": invalid["row"],
            "reason": invalid[FAULT],
        }
    ).cast(schemas.QUARANTINE)
