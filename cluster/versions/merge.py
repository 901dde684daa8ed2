"""People's decisions become the data set's next version: one Delta commit, once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa

from cluster.data.rows import Source
from cluster.io.tables import column_names
from cluster.versions.plan import WriteConfig
from cluster.versions.write import require_versions, write
from relabel_service.errors import NotFound
from relabel_service.tables import delta
from relabel_service.tables.fingerprint import content_fingerprint
from relabel_service.tables.results import read_results
from relabel_service.votes.majority import majority, results_on_rows


class Consensus(StrEnum):
    """How votes become decisions."""

    MAJORITY = "majority"  # more than half of them
    CROWDLAB = "crowdlab"  # weighed by the model's prediction and by each labeler's quality


@dataclass(frozen=True)
class MergeConfig:
    """Results of one campaign into the Delta table they are about.

    consensus: CROWDLAB needs classes, and rows that several people voted on; it decides on
    every row that has a vote, where the majority leaves ties alone.
    skip_changed: leave rows alone whose label changed meanwhile, or whose
    content the new label is incompatible with, rather than refuse.
    incarnation: of the campaign, where the results hold several; results.FIRST for the unnamed one.
    """

    source: Source
    results_uri: str
    campaign: str
    lineage_uri: str
    skip_changed: bool = False
    consensus: Consensus = Consensus.MAJORITY
    incarnation: str | None = None


@dataclass(frozen=True)
class MergeResult:
    """What a merge did, in decisions (a row or unit each).

    num_undecided: asked about, but without a majority. num_skipped: left alone
    as skip_changed says. version is version_before when
    nothing changed. labelers: rows of crowdlab.QUALITY, where the consensus weighs labelers.
    """

    version_before: int
    version: int
    num_decided: int
    num_changed: int
    num_undecided: int
    num_skipped: int
    labelers: Sequence[Mapping[str, Any]] = ()


def merge(config: MergeConfig) -> MergeResult:
    """Write the next version and its lineage. Idempotent: run again, it returns the same result.

    Raises NotFound when there is no such campaign, InvalidInput when its votes cannot be weighed
    as asked, or when several campaigns had its id and it is not said which; else as versions.write.
    """
    require_versions(config.source)
    results = _results(config)
    decisions, labelers = decide(results, config.consensus)
    num_asked = len({(row["id"], row["unit"]) for row in results.to_pylist()})
    written = write(
        WriteConfig(
            source=config.source,
            decisions=_with_findings(decisions.to_pylist()),
            app_id=_app_id(config, results.slice(0, 1).to_pylist()[0]),
            lineage_uri=config.lineage_uri,
            skip_changed=config.skip_changed,
        )
    )
    return MergeResult(
        version_before=written.version_before,
        version=written.version,
        num_decided=len(written.decisions),
        num_changed=sum(row["changed"] for row in written.decisions),
        num_undecided=num_asked - decisions.num_rows,
        num_skipped=decisions.num_rows - len(written.decisions),
        labelers=labelers,
    )


def decide(results: pa.Table, consensus: Consensus) -> tuple[pa.Table, list[dict[str, Any]]]:
    """votes.majority.DECISIONS, and rows of crowdlab.QUALITY where labelers are weighed.

    results: schemas.RESULTS of one campaign. Raises InvalidInput when its votes cannot be weighed.
    """
    if consensus is Consensus.MAJORITY:
        return majority(results), []
    from cluster.versions.crowdlab import crowdlab  # cleanlab, which only this needs

    uri, run_id = (results[name][0].as_py() for name in ("findings_uri", "run_id"))
    columns = ["rank", "id", "unit", "suggestions", "classes"]
    decisions, quality = crowdlab(results, delta.read_run(uri, run_id, columns=columns))
    return decisions, quality.to_pylist()


def _with_findings(decisions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With what their findings say: the ids of rows that are the same, and what people saw where
    results of an earlier release do not. As they are where the findings are gone."""
    if not decisions:
        return decisions
    uri, run_id = decisions[0]["findings_uri"], decisions[0]["run_id"]
    if not delta.is_delta(uri):
        return decisions
    is_old = any(row["fingerprint"] is None for row in decisions)
    wanted = ["rank", "id", "unit", "copies", *(["content"] if is_old else [])]
    present = set(column_names(uri))
    try:
        columns = [name for name in wanted if name in present]
        findings = delta.read_run(uri, run_id, columns=columns).to_pylist()
    except NotFound:
        return decisions
    found = {(row["id"], row["unit"] or ""): row for row in findings}
    completed = []
    for row in decisions:
        of_row = found.get((row["id"], row["unit"]), {})
        shown = row["fingerprint"]
        if shown is None and of_row.get("content") is not None:
            shown = content_fingerprint(of_row["content"])
        completed.append({**row, "fingerprint": shown, "copies": of_row.get("copies")})
    return completed


def _app_id(config: MergeConfig, result: Mapping[str, Any]) -> str:
    """Of its own for each consensus: to decide anew what is decided already is a conflict."""
    incarnation = f"/{result['incarnation']}" if result["incarnation"] is not None else ""
    weighed = "" if config.consensus is Consensus.MAJORITY else f"/{config.consensus}"
    return f"merge/{config.campaign}/{result['run_id']}{incarnation}{weighed}"


def _results(config: MergeConfig) -> pa.Table:
    results = results_on_rows(
        read_results(config.results_uri, config.campaign, incarnation=config.incarnation)
    )
    if not results.num_rows:
        raise NotFound(
            f"{config.results_uri!r} holds no results of campaign {config.campaign!r}; "
            "finalize it first, or name another"
        )
    return results
