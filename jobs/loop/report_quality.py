"""The report's part on labels: errors left, whether P(wrong) holds, how labels go wrong."""

from collections.abc import Sequence

import plotly.graph_objects as plot
from plotly.subplots import make_subplots

from jobs.loop.quality import Quality

MOST_CLASSES = 60  # beyond, a matrix of all classes cannot be read


def errors_left(quality: Quality | None) -> str:
    """'12 (5 to 30)' by an audit, '~12 (5 to 30)' without; '? (audit 300)' where it needs one."""
    if quality is None:
        return ""
    left = quality.errors_left
    if left.audit_size is not None:
        return f"? (audit {left.audit_size})"
    sign = "" if left.by_audit else "~"
    return f"{sign}{left.expected:.0f} ({left.low:.0f} to {left.high:.0f})"


def sentences(names: Sequence[str], qualities: Sequence[Quality]) -> list[str]:
    """What each round's answers say, in words. names: of the rounds' versions."""
    return [_sentence(name, quality) for name, quality in zip(names, qualities, strict=True)]


def _sentence(name: str, quality: Quality) -> str:
    worth = quality.num_worth_asking
    return (
        f"{name}: people found {quality.num_errors_found} wrong labels; {_left(quality)}. The next "
        f"rows hold about {quality.errors_per_minute:.2f} errors a labeler-minute"
        + (f"; {worth} rows are worth asking about." if worth is not None else ".")
    )


def _left(quality: Quality) -> str:
    left = quality.errors_left
    if left.audit_size is not None:
        return (
            "how many are left among the rows nobody was asked about does not follow from these "
            f"answers: ask about {left.audit_size} random rows (--audit {left.audit_size})"
        )
    source = "the audit" if left.by_audit else "the model and the answers about other rows"
    return f"of the rows nobody was asked about, {errors_left(quality)} are wrong by {source}"


def figure(names: Sequence[str], qualities: Sequence[Quality]) -> plot.Figure:
    """Reliability of each round, errors left with their interval, and the first noise matrix."""
    shown = make_subplots(
        cols=3,
        subplot_titles=(
            "Found wrong against P(wrong)",
            "Errors left among rows not asked about",
            f"P(label | true class) by the model, {names[0]}",
        ),
    )
    for name, quality in zip(names, qualities, strict=True):
        _reliability(shown, name, quality)
    ideal = {"x": [0, 1], "y": [0, 1], "name": "ideal", "mode": "lines", "line": {"dash": "dot"}}
    shown.add_scatter(**ideal, row=1, col=1)
    left = [quality.errors_left for quality in qualities]
    shown.add_scatter(
        x=list(names),
        y=[count.expected for count in left],
        error_y={
            "array": [count.high - count.expected for count in left],
            "arrayminus": [count.expected - count.low for count in left],
        },
        name="errors left",
        mode="markers",
        row=1,
        col=2,
    )
    first = qualities[0]
    if first.noise_matrix and len(first.classes) <= MOST_CLASSES:
        shown.add_heatmap(
            z=[list(row) for row in first.noise_matrix],
            x=list(first.classes),
            y=list(first.classes),
            zmin=0,
            zmax=1,
            colorscale="Blues",
            row=1,
            col=3,
        )
        shown.update_xaxes(title="label", row=1, col=3)
        shown.update_yaxes(title="true class", autorange="reversed", row=1, col=3)
    # Beneath the plots: at the right stands the matrix's scale.
    return shown.update_layout(template="plotly_white", height=480, legend={"orientation": "h"})


def _reliability(shown: plot.Figure, name: str, quality: Quality) -> None:
    curve = quality.reliability
    shown.add_scatter(
        x=[point.predicted for point in curve],
        y=[point.observed for point in curve],
        error_y={
            "array": [point.high - point.observed for point in curve],
            "arrayminus": [point.observed - point.low for point in curve],
        },
        name=name,
        mode="lines+markers",
        row=1,
        col=1,
    )
