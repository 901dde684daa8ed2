"""What a loop brought: a table for the terminal, JSON, and one HTML page with its curves."""

import html as markup
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import plotly.graph_objects as plot
from plotly.subplots import make_subplots
from rich.table import Table

from cluster.io.folder import Folder
from cluster.report.markup import Html
from cluster.report.page import style
from jobs.loop import report_quality
from jobs.loop.quality import Quality
from jobs.loop.rounds import Metrics, Round
from jobs.loop.stages import Stage
from relabel_service.cli import output

STAGES = "stages.json"


@dataclass(frozen=True)
class Report:
    """Rounds in order; ceiling: how good a model trained on all gold labels is, if known.

    stages: what each step took, over all runs of a loop that was stopped.
    """

    rounds: Sequence[Round]
    ceiling: Metrics | None
    stages: Sequence[Stage]

    @property
    def curves(self) -> list[tuple[str, str]]:
        """(test, metric) pairs that every version has that a model was trained on."""
        return [
            (test, name)
            for test, evaluation in self.rounds[0].metrics.items()
            for name in evaluation.metrics
        ]

    @property
    def headlines(self) -> list[tuple[str, str]]:
        """The first metric of each test."""
        first = self.rounds[0].metrics
        return [(test, next(iter(evaluation.metrics))) for test, evaluation in first.items()]

    @property
    def qualities(self) -> dict[str, Quality]:
        """What answers say of the labels, by version."""
        return {turn.version: turn.quality for turn in self.rounds if turn.quality is not None}

    @property
    def about_labels(self) -> list[str]:
        """The same in words, a sentence for each version."""
        return report_quality.sentences([*self.qualities], [*self.qualities.values()])

    @property
    def left_out(self) -> list[str]:
        """What was left out of the figures, and why: a sentence for each version and test."""
        versions = [(turn.version, turn.metrics) for turn in self.rounds]
        if self.ceiling is not None:
            versions.append(("ceiling", self.ceiling))
        without_gold = [
            f"{turn.version}: wrong, precision and recall leave out {turn.num_without_gold} rows, "
            "whose gold label is missing or invalid"
            for turn in self.rounds
            if turn.num_without_gold
        ]
        return without_gold + [
            f"{version}: {test} figures are of {coverage.num_evaluated} rows; "
            f"{coverage.num_left_out} are left out, most often because "
            f"{coverage.left_out_because}"
            for version, metrics in versions
            for test, evaluation in metrics.items()
            if (coverage := evaluation.coverage).num_left_out
        ]


def table(report: Report) -> Table:
    """One row a version, and the ceiling; of each test the headline metric."""
    shown = output.table(_headings(report.headlines), title="What the loop brought", right=True)
    for cells in _rows(report, report.headlines):
        shown.add_row(*cells)
    return shown


def as_json(report: Report) -> dict[str, Any]:
    return {
        "rounds": [asdict(turn) | {"metrics": _to_dict(turn.metrics)} for turn in report.rounds],
        "ceiling": None if report.ceiling is None else _to_dict(report.ceiling),
        "stages": [asdict(stage) for stage in report.stages],
    }


def stages_so_far(folder: Folder, done: Sequence[Stage]) -> list[Stage]:
    """What this run's steps took, added to what `folder` keeps of earlier ones; kept again."""
    stages: dict[str, Stage] = {}
    if folder.exists(STAGES):
        stages = {stage["name"]: Stage(**stage) for stage in json.loads(folder.read(STAGES))}
    for stage in done:
        stages[stage.name] = stages[stage.name].then(stage) if stage.name in stages else stage
    folder.write(STAGES, json.dumps([asdict(stage) for stage in stages.values()]).encode())
    return list(stages.values())


def html(report: Report, items: Html | None = None) -> str:
    """A page that needs no network: the plot library is within. items: of report_items.py."""
    head = "".join(f"<th>{markup.escape(name)}</th>" for name in _headings(report.curves))
    body = "".join(
        "<tr>" + "".join(f"<td>{markup.escape(cell)}</td>" for cell in cells) + "</tr>"
        for cells in _rows(report, report.curves)
    )
    plots: str = _figure(report).to_html(full_html=False, include_plotlyjs=True)
    left_out = "".join(f"<p>{markup.escape(sentence)}</p>" for sentence in report.left_out)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>What the loop brought</title>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<style>{style()}</style>"
        f"<h1>What the loop brought</h1><div class=wide><table><tr>{head}</tr>{body}</table></div>"
        f"{left_out}{plots}{_quality(report)}{items or ''}"
        f"<h2>What it took</h2>{_stages(report.stages)}</html>"
    )


def _quality(report: Report) -> str:
    if not report.qualities:
        return ""
    names, qualities = [*report.qualities], [*report.qualities.values()]
    text = "".join(f"<p>{markup.escape(sentence)}</p>" for sentence in report.about_labels)
    plots: str = report_quality.figure(names, qualities).to_html(
        full_html=False, include_plotlyjs=False
    )
    return f"<h2>The labels</h2>{text}{plots}"


def _stages(stages: Sequence[Stage]) -> str:
    rows = "".join(
        f"<tr><td>{markup.escape(stage.name)}</td><td>{stage.seconds:.1f}</td>"
        f"<td>{stage.peak_bytes / 2**30:.2f}</td></tr>"
        for stage in stages
    )
    return f"<table><tr><th>step</th><th>seconds</th><th>peak GiB</th></tr>{rows}</table>"


def _headings(curves: Sequence[tuple[str, str]]) -> list[str]:
    tests = [f"{test} {name.replace('_', ' ')}" for test, name in curves]
    return ["version", "wrong", "leased", "precision", "recall", "changed", "left", *tests]


def _rows(report: Report, curves: Sequence[tuple[str, str]]) -> list[list[str]]:
    rows = [
        [
            turn.version,
            _number(turn.num_wrong),
            _number(turn.num_leased),
            _percent(turn.precision),
            _percent(turn.recall),
            _number(turn.merged.num_changed if turn.merged else None),
            report_quality.errors_left(turn.quality),
            *(_measured(turn.metrics, test, name) for test, name in curves),
        ]
        for turn in report.rounds
    ]
    if report.ceiling is not None:
        values = [_measured(report.ceiling, test, name) for test, name in curves]
        rows.append(["ceiling", "0", "", "", "", "", "", *values])
    return rows


def _figure(report: Report) -> plot.Figure:
    """Metrics by version with the ceiling dashed; beside them, precision and wrong labels left."""
    figure = make_subplots(cols=2, subplot_titles=("Metrics by version", "Labels by version"))
    versions = [turn.version for turn in report.rounds]
    for test, name in report.curves:
        values = [_metric(turn.metrics, test, name) for turn in report.rounds]
        title = f"{test} {name}"
        figure.add_scatter(
            x=versions,
            y=values,
            name=title,
            mode="lines+markers",
            connectgaps=True,
            col=1,
            row=1,
        )
        if report.ceiling is not None:
            figure.add_scatter(
                x=versions,
                y=[_metric(report.ceiling, test, name)] * len(versions),
                name=f"{title}, all gold",
                mode="lines",
                line={"dash": "dot"},
                col=1,
                row=1,
            )
    for title, counts in (
        ("wrong labels", [turn.num_wrong for turn in report.rounds]),
        ("leased", [turn.num_leased for turn in report.rounds]),
        ("changed", [turn.merged and turn.merged.num_changed for turn in report.rounds]),
    ):
        figure.add_bar(x=versions, y=counts, name=title, col=2, row=1)
    figure.update_layout(template="plotly_white", height=520)
    return figure


def _metric(metrics: Metrics, test: str, name: str) -> float | None:
    """None for a version that no model was trained on."""
    return metrics[test].metrics[name] if test in metrics else None


def _measured(metrics: Metrics, test: str, name: str) -> str:
    """The metric, and beside it how many rows of the test it is not of."""
    note = metrics[test].coverage.note() if test in metrics else ""
    return _percent(_metric(metrics, test, name)) + note


def _to_dict(metrics: Metrics) -> dict[str, dict[str, float | str]]:
    return {test: evaluation.to_dict() for test, evaluation in metrics.items()}


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
