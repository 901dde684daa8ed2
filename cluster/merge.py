"""People's decisions become the data set's next version: one Delta commit, once."""

from dataclasses import dataclass

import pyarrow as pa

from cluster.dataset import Source
from cluster.versions import Writing, require_versions, write
from relabel_service import tables
from relabel_service.consensus import answers_on_rows, majority
from relabel_service.errors import NotFound


@dataclass(frozen=True)
class Merging:
    """Results of one campaign into the Delta table they are about.

    skip_changed: leave rows alone whose label changed meanwhile, or that an answer does not
    fit, rather than refuse.
    """

    source: Source
    results_uri: str
    campaign: str
    lineage_uri: str
    skip_changed: bool = False


@dataclass(frozen=True)
class Merged:
    """What a merge did, in decisions (a row or unit each).

    num_undecided: asked about, but without a majority. num_skipped: left alone
    as skip_changed says. version is version_before when
    nothing changed.
    """

    version_before: int
    version: int
    num_decided: int
    num_changed: int
    num_undecided: int
    num_skipped: int


def merge(merging: Merging) -> Merged:
    """Write the next version and its lineage. Run again, it changes nothing and tells the same.

    Raises NotFound when there is no such campaign; else as versions.write.
    """
    require_versions(merging.source)
    results = _results(merging)
    decisions = majority(results)
    num_asked = len({(row["id"], row["unit"]) for row in results.to_pylist()})
    written = write(
        Writing(
            source=merging.source,
            decisions=decisions.to_pylist(),
            app_id=f"merge/{merging.campaign}/{results['run_id'][0].as_py()}",
            lineage_uri=merging.lineage_uri,
            skip_changed=merging.skip_changed,
        )
    )
    return Merged(
        version_before=written.version_before,
        version=written.version,
        num_decided=len(written.decisions),
        num_changed=sum(row["changed"] for row in written.decisions),
        num_undecided=num_asked - decisions.num_rows,
        num_skipped=decisions.num_rows - len(written.decisions),
    )


def _results(merging: Merging) -> pa.Table:
    results = answers_on_rows(
        tables.read_where(merging.results_uri, {"campaign": merging.campaign})
    )
    if not results.num_rows:
        raise NotFound(
            f"{merging.results_uri!r} holds no results of campaign {merging.campaign!r}; "
            "finalize it first, or name another"
        )
    return results
