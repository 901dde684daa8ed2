"""Consensus that weighs the model and each labeler's quality, by cleanlab's CROWDLAB.

Goh, Tkachenko, Mueller: "CROWDLAB: Supervised learning to infer consensus labels and
quality scores for data with multiple annotators" (2022). For tasks whose label is one
of a few classes; the other tasks take votes.majority.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from cleanlab.multiannotator import get_label_quality_multiannotator

from relabel_service.errors import InvalidInput
from relabel_service.votes.majority import Key, decisions_of, results_on_rows

# One labeler. quality in [0, 1], higher is better: how far its votes are to be believed.
QUALITY = pa.schema(
    [
        pa.field("labeler", pa.string()),
        pa.field("quality", pa.float64()),
        pa.field(
            "agreement", pa.float64()
        ),  # with the consensus where others voted, too; null without
        pa.field("num_votes", pa.int64()),
    ]
)


def crowdlab(results: pa.Table, findings: pa.Table) -> tuple[pa.Table, pa.Table]:
    """votes.majority.DECISIONS and QUALITY of one campaign.

    results: schemas.RESULTS; findings: schemas.FINDINGS of the run, for the model's prediction.
    Raises InvalidInput when the task has no classes, a label is not a single class, or nobody
    voted, or no two people on the same row: then there is nothing to weigh.
    """
    classes = findings["classes"][0].as_py() if findings.num_rows else []
    if not classes:
        raise InvalidInput.of("findings", "name no classes; use the majority of the votes")
    rows = results_on_rows(results)
    votes = pd.DataFrame(rows.select(["id", "unit", "labeler", "label", "role"]).to_pylist())
    votes = (
        votes[votes["label"].notna() & (votes["role"] != "adjudicator")] if len(votes) else votes
    )
    if not len(votes):
        raise InvalidInput.of("results", "hold no votes; finalize after people have answered")
    codes = {name: code for code, name in enumerate(classes)}
    _check_votes(votes, codes)
    wide = (
        votes.assign(code=votes["label"].map(codes).astype(float))
        .pivot(index=["id", "unit"], columns="labeler", values="code")
        .sort_index()
    )
    found = get_label_quality_multiannotator(
        wide.reset_index(drop=True), _model_view(list(wide.index), findings, codes), verbose=False
    )
    consensus = dict(zip(wide.index, found["label_quality"]["consensus_label"], strict=True))

    def choose(key: Key, _: Sequence[Mapping[str, Any]]) -> str | None:
        return str(classes[int(consensus[key])])

    return decisions_of(results, choose), _quality(found["annotator_stats"])


def _check_votes(votes: pd.DataFrame, codes: Mapping[str, int]) -> None:
    strange = votes["label"][~votes["label"].isin(list(codes))]
    if len(strange):
        raise InvalidInput.of(
            "results",
            f"hold the label {strange.iloc[0][:80]!r}, which is no single class; "
            "use the majority of the votes",
        )
    if votes.groupby(["id", "unit"]).size().max() < 2:
        raise InvalidInput.of(
            "results",
            "hold one vote a row, so no two people can be compared; ask for more votes "
            "(votes_required), or use the majority of the votes",
        )


def _model_view(
    keys: Sequence[Key], findings: pa.Table, codes: Mapping[str, int]
) -> npt.NDArray[np.float64]:
    """Probabilities [keys, classes]: the suggestions', and what is left spread over the others."""
    suggested = {
        (row["id"], row["unit"] or ""): row["suggestions"] or []
        for row in findings.select(["id", "unit", "suggestions"]).to_pylist()
    }
    view = np.full((len(keys), len(codes)), np.nan)
    for place, key in enumerate(keys):
        for one in suggested.get(key, []):  # none: a row that was audited
            view[place, codes[one["label"]]] = one["probability"]
    missing = np.isnan(view)
    left = np.clip(1 - np.nansum(view, axis=1), 1e-6, None)
    share = left / np.maximum(missing.sum(axis=1), 1)
    view = np.where(missing, share[:, None], view)
    result: npt.NDArray[np.float64] = view / view.sum(axis=1, keepdims=True)
    return result


def _quality(stats: pd.DataFrame) -> pa.Table:
    rows = [
        {
            "labeler": str(labeler),
            "quality": float(line["annotator_quality"]),
            "agreement": None if np.isnan(agreement) else float(agreement),
            "num_votes": int(line["num_examples_labeled"]),
        }
        for labeler, line in stats.sort_index().iterrows()
        for agreement in [line["agreement_with_consensus"]]
    ]
    return pa.Table.from_pylist(rows, schema=QUALITY)
