"""The worst items on a terminal: each task's content and both labels, in lines that fit."""

import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from rich.cells import cell_len

from cluster.report import TableRows
from cluster.report.terminal import worst
from relabel_service.media.fetch import data_uri
from relabel_service.tables import schemas
from relabel_service.tasks import TASKS
from relabel_service.tasks.boxes import Box, write_boxes
from relabel_service.tasks.click_through_rate import write_features
from tests.data import png
from tests.support.campaigns import finding

PICTURE = data_uri(png.encode(np.full((8, 16), 255, np.uint8)), "image/png")
SUGGESTED = {"label": "spam", "probability": 0.9}


def sound_uri() -> str:
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(4000) / 5), 8000, format="WAV")
    return data_uri(file.getvalue(), "audio/wav")


EXAMPLES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "text_classification": (
        {"content": "buy now"},
        ["1. row-0 · suspicion 0.90", "    buy now", "    label ham → model spam (90%)"],
    ),
    "image_classification": (
        {"content": PICTURE},
        ["    picture of 16x8 pixels", "    label ham → model spam (90%)"],
    ),
    "audio_classification": (
        {"content": sound_uri()},
        ["    sound of 0.50 s", "    label ham → model spam (90%)"],
    ),
    "token_classification": (
        {
            "content": json.dumps([*"abcdef", "Acme", "Corp", "in", "Rome"]),
            "unit": "ORG",
            "human_label": '[[6,7,"ORG"]]',
            "suggestions": [{"label": '[[6,8,"ORG"]]', "probability": 0.8}],
            "reason": "wrong boundary: 'Acme' is 'Acme Corp' for the model",
        },
        [
            "1. row-0 · ORG · suspicion 0.90",
            "    label: … d e f [Acme]ORG Corp in Rome",
            "    model: … d e f [Acme Corp]ORG in Rome",
            "    why: wrong boundary: 'Acme' is 'Acme Corp' for the model",
        ],
    ),
    "object_detection": (
        {
            "content": PICTURE,
            "unit": "cat",
            "human_label": write_boxes([Box("cat", 1, 1, 4, 4)]),
            "suggestions": [{"label": write_boxes([Box("cat", 2, 2, 6, 6)]), "probability": 0.7}],
            "reason": "badly placed: cat (1, 1, 4, 4), IoU 0.30 with one of score 0.70",
        },
        [
            "    picture of 16x8 pixels",
            "    label: cat (1, 1, 4, 4)",
            "    model: cat (2, 2, 6, 6) (70%)",
            "    why: badly placed: cat (1, 1, 4, 4), IoU 0.30 with one of score 0.70",
        ],
    ),
    "sequence_generation": (
        {
            "content": "ein Hund",
            "human_label": "a cat",
            "suggestions": [{"label": "a dog", "probability": 0.7}],
        },
        ["    ein Hund", "    label: a cat", "    model: a dog (70%)"],
    ),
    "click_through_rate": (
        {
            "content": write_features({"age": 7, "site": "a"}),
            "human_label": "0",
            "suggestions": [{"label": "1", "probability": 0.8}],
        },
        ["    age 7 site a", "    label not clicked → model clicked (80%)"],
    ),
}


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schemas.FINDINGS)


@pytest.mark.parametrize("task", TASKS)
def test_an_item_of_each_task_is_shown_with_both_labels(task: str) -> None:
    fields, expected = EXAMPLES[task]
    lines = worst(
        table(finding(0, task=task, **fields)), TableRows(), num_items=10, width=80
    ).split("\n")
    assert [line for line in expected if line not in lines] == []


def test_the_worst_come_first_and_no_more_than_asked_for() -> None:
    shown = worst(table(*map(finding, (3, 0, 2, 1))), TableRows(), num_items=2, width=80)
    assert [line.split(" ")[1] for line in shown.split("\n") if line[0].isdigit()] == [
        "row-0",
        "row-1",
    ]
    assert worst(table(), TableRows(), num_items=2, width=80) == "no findings"


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("task", TASKS)
def test_lines_fit_the_terminal_and_hold_nothing_that_moves_its_cursor(
    task: str, width: int
) -> None:
    fields = EXAMPLES[task][0] | {"id": "界" * 60, "reason": "\x1b[2J\r\u202e" + "why " * 60}
    if task == "text_classification":
        fields |= {"content": "\x1b]0;title\x07 漢字 " * 1000}
    shown = worst(table(finding(0, task=task, **fields)), TableRows(), num_items=1, width=width)
    assert max(map(cell_len, shown.split("\n"))) <= width
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(shown)
