"""The page of a run's findings, in a real browser: what is seen, filtered, and kept harmless."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cluster.data.rows import Source, latest
from cluster.mining.config import MineResult
from cluster.report import TableRows, write
from relabel_service.media.fetch import data_uri
from relabel_service.tables import schemas
from relabel_service.tasks import TASKS
from relabel_service.tasks.boxes import Box, write_boxes
from tests.support.browser import Browser
from tests.support.campaigns import finding
from tests.unit.test_report_terminal import EXAMPLES

HOSTILE = (
    "</script></style></title></textarea>--><script>document.title='owned'</script>"
    "<img src=x onerror=\"document.title='owned'\"><svg onload=\"document.title='owned'\">"
    "' \" onmouseover=alert(1) <!-- &lt;b&gt; \x00\x1b[2J\x07 \u202eright\u2066 \u2028 ]]>"
)
VISIBLE = "[...document.querySelectorAll('.items > li:not([hidden])')]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schemas.FINDINGS)


class Shown:
    """A page in the browser."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser, self._path = browser, folder / "page.html"
        self.num_bytes = 0

    def show(self, findings: pa.Table, rows: TableRows | None = None, *, width: int = 1000) -> None:
        self._browser.console.clear()
        self._browser.requested.clear()
        self.num_bytes = write(
            findings,
            rows or TableRows(),
            self._path,
            title="Findings of run",
            command="next <step>",
        )
        assert self.num_bytes == self._path.stat().st_size
        self._browser.open(self._path, width=width)
        assert self._browser.console == []
        fetched = [url for url in self._browser.requested if not url.startswith("data:")]
        assert fetched == [self._path.absolute().as_uri()]

    def __call__(self, script: str) -> Any:
        return self._browser.run(script)

    def text(self, selector: str) -> str:
        return str(self(f"document.querySelector({json.dumps(selector)}).innerText"))

    def visible_ids(self) -> list[str]:
        found: list[str] = self(f"{VISIBLE}.map(item => item.querySelector('h3 bdi').innerText)")
        return found

    def choose(self, name: str, text: str) -> None:
        self(
            f"""{{const select = document.querySelector('select[name={name}]');
            select.value = [...select.options].find(o => o.text.startsWith({text!r})).value;
            select.dispatchEvent(new Event('input', {{bubbles: true}}))}}"""
        )


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Shown:
    return Shown(browser, tmp_path)


@pytest.mark.parametrize("task", TASKS)
def test_an_item_of_each_task_is_on_the_page_with_both_labels(shown: Shown, task: str) -> None:
    shown.show(table(finding(0, task=task, **EXAMPLES[task][0])))
    assert shown.visible_ids() == ["row-0"]
    assert shown("document.querySelectorAll('.items dt').length") == 2
    marks = {
        "text_classification": ".text",
        "image_classification": ".items svg image",
        "audio_classification": ".items audio",
        "token_classification": ".tokens mark.both, .tokens mark.model",
        "object_detection": ".items g.given rect, .items g.model rect",
        "sequence_generation": ".items del, .items ins",
        "click_through_rate": ".fields td",
    }
    wanted = marks[task].split(", ")
    assert [shown(f"document.querySelectorAll('{mark}').length > 0") for mark in wanted] == [
        True
    ] * len(wanted)


def test_boxes_lie_where_their_labels_say(shown: Shown) -> None:
    fields = EXAMPLES["object_detection"][0]
    shown.show(table(finding(0, task="object_detection", **fields)))
    [given, model] = shown(
        "[...document.querySelectorAll('rect')].map(r => ['x','y','width','height']"
        ".map(name => r.getAttribute(name)))"
    )
    assert (given, model) == (["1", "1", "3", "3"], ["2", "2", "4", "4"])
    assert shown("document.querySelector('.items svg').getAttribute('viewBox')") == "0 0 16 8"


def test_sounds_can_be_played(shown: Shown) -> None:
    shown.show(
        table(finding(0, task="audio_classification", **EXAMPLES["audio_classification"][0]))
    )
    duration = shown(
        "new Promise(done => {const a = document.querySelector('audio');"
        "a.readyState ? done(a.duration) : (a.onloadedmetadata = () => done(a.duration),"
        "a.onerror = () => done(-1), a.load())})"
    )
    assert duration == pytest.approx(0.5, abs=0.15)


def findings_of_pairs() -> pa.Table:
    pairs = [("ham", "spam")] * 60 + [("spam", "ham")] * 3
    return table(
        *(
            finding(rank, human_label=given, suggestions=[{"label": model, "probability": 0.9}])
            for rank, (given, model) in enumerate(pairs)
        )
    )


def test_items_are_filtered_by_pair_unit_reason_and_words(shown: Shown) -> None:
    rows = [
        finding(0, unit="ORG", reason="missing: model sees 'A'", **_spans("A")),
        finding(1, unit="PER", reason="spurious: model sees no entity; missing: B", **_spans("B")),
        finding(2, unit="PER", reason="spurious: model sees no entity", **_spans("C")),
    ]
    shown.show(table(*rows))
    assert shown.visible_ids() == ["row-0", "row-1", "row-2"]
    shown.choose("unit", "PER")
    assert shown.visible_ids() == ["row-1", "row-2"]
    shown.choose("kind", "missing")
    assert shown.visible_ids() == ["row-1"]
    assert shown.text("#status") == "1 of 1 items shown (3 without filters)"
    shown("document.querySelector('button[type=reset]').click()")
    shown("new Promise(done => setTimeout(done))")
    assert len(shown.visible_ids()) == 3
    shown(
        "{const words = document.querySelector('input[name=words]'); words.value = 'token C';"
        "words.dispatchEvent(new Event('input', {bubbles: true}))}"
    )
    assert shown.visible_ids() == ["row-2"]


def _spans(name: str) -> dict[str, Any]:
    return {
        "task": "token_classification",
        "content": json.dumps(["token", name]),
        "human_label": "[]",
        "suggestions": [{"label": '[[1,2,"ORG"]]', "probability": 0.8}],
    }


def test_a_cell_of_the_matrix_leads_to_its_items(shown: Shown) -> None:
    mined = MineResult("run", None, 100, 100, 0, 0, 63, classes=["ham", "spam"],
                       noise_matrix=[[0.9, 0.1], [0.25, 0.75]])  # fmt: skip
    shown.show(findings_of_pairs(), TableRows(mined=mined))
    assert len(shown.visible_ids()) == 50  # a page of them
    shown("document.querySelector('.more').click()")
    assert len(shown.visible_ids()) == 63
    buttons = shown("[...document.querySelectorAll('.matrix button')].map(b => b.innerText)")
    assert sorted(buttons) == ["3", "60"]
    # Rows of the model's class: of the rows that are truly ham, 10 % are given spam.
    assert "10.0%" in shown("[...document.querySelectorAll('.matrix button')]"
                            ".find(b => b.innerText == '3').parentElement.innerText")  # fmt: skip
    shown("[...document.querySelectorAll('.matrix button')].find(b => b.innerText == '3').click()")
    assert shown.visible_ids() == ["row-60", "row-61", "row-62"]


def test_the_keyboard_reaches_everything_and_is_seen(shown: Shown, browser: Browser) -> None:
    shown.show(findings_of_pairs())
    seen = []
    for _ in range(14):
        browser.press("Tab")
        seen.append(shown("document.activeElement.tagName"))
        if seen[-1] == "BODY":
            break  # once around
        assert shown("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert {"A", "SELECT", "INPUT", "BUTTON", "PRE"} <= set(seen)
    unnamed = shown(
        "[...document.querySelectorAll('select, input, button')]"
        ".filter(e => !(e.labels && e.labels.length) && !e.innerText && !e.ariaLabel).length"
    )
    assert unnamed == 0


CONTRAST = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d');
  const rgb = (colour) => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (e) => { for (; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (colour != 'rgba(0, 0, 0, 0)') return colour; } return 'white'; };
  const ratios = [...document.querySelectorAll('body *')]
    .filter(e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
    .filter(e => !['SCRIPT', 'STYLE'].includes(e.tagName))
    .map(e => { const [a, b] = [getComputedStyle(e).color, ground(e)].map(c => light(rgb(c)));
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); });
  return Math.min(...ratios);
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(shown: Shown, browser: Browser, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", features=features)
    fields = EXAMPLES["sequence_generation"][0]
    shown.show(table(finding(0, task="sequence_generation", **fields)))
    assert shown(CONTRAST) >= 4.5  # WCAG 2.2, 1.4.3
    shown.show(findings_of_pairs())
    assert shown(CONTRAST) >= 4.5


@pytest.mark.parametrize("task", TASKS)
def test_a_phone_need_not_scroll_sideways(shown: Shown, task: str) -> None:
    fields = EXAMPLES[task][0] | {"id": "x" * 200}
    shown.show(table(finding(0, task=task, **fields)), width=360)
    assert shown("document.documentElement.scrollWidth") <= 360


def hostile_findings() -> pa.Table:
    broken = data_uri(b"\x89PNG\r\n\x1a\n not a picture", "image/png")
    svg = data_uri(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "image/svg+xml")
    rows: list[dict[str, Any]] = [
        {"content": HOSTILE},
        {"content": HOSTILE + "x" * 10_000_000},
        {"task": "image_classification", "content": broken},
        {"task": "image_classification", "content": svg},
        {"task": "image_classification", "content": "file:///etc/passwd"},
        {"task": "audio_classification", "content": data_uri(b"RIFFxxxxWAVE", "audio/wav")},
        {"task": "token_classification", "content": json.dumps([HOSTILE, "a"])}
        | {"human_label": json.dumps([[0, 1, HOSTILE]]), "suggestions": []},
        {"task": "sequence_generation", "content": HOSTILE}
        | {"suggestions": [{"label": HOSTILE[::-1], "probability": 0.5}]},
        {"task": "click_through_rate", "content": json.dumps({HOSTILE: HOSTILE})}
        | {"human_label": "1", "suggestions": [{"label": "0", "probability": 0.5}]},
        {"task": "object_detection", "content": EXAMPLES["object_detection"][0]["content"]}
        | {"human_label": write_boxes([Box(HOSTILE, 1, 1, 5, 5)]), "suggestions": []},
    ]
    both = {"reason": HOSTILE, "human_label": HOSTILE}
    return table(
        *(
            finding(rank, **{"id": f"{rank}{HOSTILE}", **both, **row})
            for rank, row in enumerate(rows)
        )
    )


def test_hostile_contents_are_shown_as_text_and_do_nothing(shown: Shown, tmp_path: Path) -> None:
    source_path = str(tmp_path / "<b>&.parquet")
    labels = [HOSTILE, HOSTILE.upper()]
    pq.write_table(pa.table({"text": [HOSTILE] * 2, "label": labels}), source_path)
    source = latest(Source(source_path, "text_classification", ("text",), "label"))
    shown.show(hostile_findings(), TableRows(source))
    assert shown("document.title") == "Findings of run"
    assert shown("document.querySelectorAll('script').length") == 1
    active = "img, iframe, object, embed, [onload], [onerror], [onmouseover]"
    assert shown(f"document.querySelectorAll('{active}').length") == 0
    assert shown("document.querySelectorAll('.items > li').length") == 10
    first = shown.text(".items > li .text")
    assert "<script>document.title='owned'</script>" in first
    assert "⟨U+0000⟩⟨U+001B⟩[2J⟨U+0007⟩ ⟨U+202E⟩right⟨U+2066⟩" in first
    assert "characters more" in shown("document.querySelectorAll('.text')[1].innerText")
    faults = shown("[...document.querySelectorAll('.fault')].map(f => f.innerText)")
    assert len(faults) == 4
    assert any("is not a readable picture" in fault for fault in faults)
    assert any("is not opened" in fault for fault in faults)
    assert shown.num_bytes < 500_000
    assert shown.text("pre") == "next <step>"


def test_a_page_of_many_large_pictures_stays_small(shown: Shown) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    uri = data_uri(file.getvalue(), "image/jpeg")
    rows = [finding(rank, task="image_classification", content=uri) for rank in range(300)]
    shown.show(table(*rows))
    assert shown.num_bytes < 4_000_000
    assert shown("document.querySelectorAll('.items image').length") > 100


def test_duplicates_whose_labels_differ_come_first(shown: Shown, tmp_path: Path) -> None:
    words = "the committee meets on tuesday morning in the large hall of the city library"
    texts = ["buy two tickets for the evening show now"] * 3 + [words, words.upper(), "other", "x"]
    labels = ["ham"] * 3 + ["ham", "spam", "ham", "Ham"]
    uri = str(tmp_path / "data.parquet")
    ids = [str(number) for number in range(len(texts))]
    pq.write_table(pa.table({"id": ids, "text": texts, "label": labels}), uri)
    source = latest(Source(uri, "text_classification", ("text",), "label", "id"))
    shown.show(findings_of_pairs(), TableRows(source))
    groups = shown("[...document.querySelectorAll('.group')].map(g => g.innerText)")
    assert len(groups) == 2
    assert "2 rows, nearly the same" in groups[0]
    assert "ham: 1, spam: 1" in groups[0]
    assert "3 rows, the same" in groups[1]
    assert "'ham' (5 rows), 'Ham' (1 rows)" in shown.text("#names")
    assert shown.text("#labels tr:nth-child(2)").split()[:2] == ["ham", "5"]


def test_what_people_decided_stands_beside_the_label(shown: Shown) -> None:
    findings = table(*map(finding, range(3)))
    decided = pa.array(["spam", "ham", None])
    shown.show(findings.append_column("decided_label", decided))
    told = shown("[...document.querySelectorAll('.items .decided dd')].map(d => d.innerText)")
    assert told == ["spam changed", "ham confirmed"]
