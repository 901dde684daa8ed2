"""What people label with in Label Studio, a control for each task, and the way of labels there and
back.

A control says how its part of the labeling configuration looks, how a label becomes Label Studio's
results, and what results mean; `relabel export --to` and the bridge share it. Labels are in the
task's text form (tasks/base.py); offsets are in characters (code points), boxes in pixels of the
upright picture.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from xml.sax.saxutils import quoteattr

from relabel_service.errors import InvalidInput
from relabel_service.tables.formats.label_studio import (
    BOXED,
    CHOICES,
    LABELS,
    WRITTEN,
    box_in_pixels,
    in_characters,
)
from relabel_service.tasks import spans
from relabel_service.tasks.boxes import near, read_boxes, write_boxes
from relabel_service.tasks.spans import Span
from relabel_service.v1 import items_pb2

NAME, CONTENT = "label", "content"  # of the control, and of what it labels
CONTENTS = {  # kind of content -> its tag, without attributes
    "text": f'Text name="{CONTENT}" valueType="text"',
    "image": f'Image name="{CONTENT}" zoom="true"',
    "audio": f'Audio name="{CONTENT}"',
    "table": f'Table name="{CONTENT}"',
}

Json = dict[str, Any]


class Control(Protocol):
    shows: str
    """What its content is, where the task says no other: a key of CONTENTS."""

    def config(self, classes: Sequence[str]) -> str:
        """The control's XML.

        Raises InvalidInput without classes, where it chooses one, and for classes that Label
        Studio would not show as they are.
        """

    def facts(self, content: items_pb2.Content, shown: Mapping[str, Any]) -> Json:
        """What results are read with, kept with the task. shown: text, or width and height."""

    def results(self, label: str, facts: Json) -> list[Json]:
        """Label Studio's results of a label. Raises InvalidInput where they cannot be written."""

    def label(self, results: Sequence[Json], facts: Json, shown: Sequence[str]) -> str:
        """The label that results mean. shown: labels that were shown, taken where nothing moved.

        Raises InvalidInput, for the person who labels, where they mean none.
        """


class Choices:
    def __init__(self, shows: str) -> None:
        self.shows = shows

    def config(self, classes: Sequence[str]) -> str:
        return (
            f'<Choices name="{NAME}" toName="{CONTENT}" choice="single" showInline="true">'
            f"{_options('Choice', classes)}</Choices>"
        )

    def facts(self, content: items_pb2.Content, shown: Mapping[str, Any]) -> Json:
        return {}

    def results(self, label: str, facts: Json) -> list[Json]:
        return [_result("choices", CHOICES, {CHOICES: [label]})]

    def label(self, results: Sequence[Json], facts: Json, shown: Sequence[str]) -> str:
        chosen = [str(name) for one in results for name in one["value"].get(CHOICES, ())]
        if len(chosen) != 1:
            raise InvalidInput.of("label", f"{len(chosen)} classes are chosen; choose one")
        return chosen[0]


class Written:
    """A text that is written anew."""

    shows = "text"

    def config(self, classes: Sequence[str]) -> str:
        return (
            f'<TextArea name="{NAME}" toName="{CONTENT}" editable="true" maxSubmissions="1" '
            'rows="4"/>'
        )

    def facts(self, content: items_pb2.Content, shown: Mapping[str, Any]) -> Json:
        return {}

    def results(self, label: str, facts: Json) -> list[Json]:
        return [_result("text", WRITTEN, {"text": [label]})]

    def label(self, results: Sequence[Json], facts: Json, shown: Sequence[str]) -> str:
        texts = [text for one in results for text in texts_of(one)]
        if len(texts) != 1 or not texts[0].strip():
            raise InvalidInput.of("label", f"{len(texts)} texts are written; write one")
        return texts[0]


class Spans:
    """Entities in the tokens, set one after the other with spaces between."""

    shows = "text"

    def config(self, classes: Sequence[str]) -> str:
        return f'<Labels name="{NAME}" toName="{CONTENT}">{_options("Label", classes)}</Labels>'

    def facts(self, content: items_pb2.Content, shown: Mapping[str, Any]) -> Json:
        offsets, end = [], -1
        for token in content.tokens.tokens:
            start = end + 1
            end = start + len(token)
            offsets.append([start, end])
        return {"text": shown["text"], "offsets": offsets}

    def results(self, label: str, facts: Json) -> list[Json]:
        text, offsets = facts["text"], facts["offsets"]
        written = []
        for span in spans.from_text(label):
            start, end = offsets[span.start][0], offsets[span.end - 1][1]
            value = {"start": start, "end": end, "text": text[start:end]}
            name = f"{span.start}-{span.end}"
            written.append(_result(name, LABELS, {**value, LABELS: [span.class_name]}))
        return written

    def label(self, results: Sequence[Json], facts: Json, shown: Sequence[str]) -> str:
        found = {self._span(one["value"], facts) for one in results}
        ordered = sorted(found)
        if fault := spans.fault_of(ordered, ()):
            raise InvalidInput.of("label", fault)
        return spans.to_text(ordered)

    def _span(self, value: Mapping[str, Any], facts: Json) -> Span:
        """The tokens that a stretch of text touches."""
        names = value.get(LABELS, ())
        start, end = in_characters(facts["text"], dict(value))
        what = facts["text"][start:end]
        if len(names) != 1:
            raise InvalidInput.of("label", f"{what!r} has {len(names)} classes; give it one")
        touched = [
            index
            for index, (first, last) in enumerate(facts["offsets"])
            if first < end and start < last
        ]
        if not touched:
            raise InvalidInput.of("label", f"{what!r} marks no word; mark one, or remove it")
        return Span(touched[0], touched[-1] + 1, str(names[0]))


class Rectangles:
    shows = "image"

    def config(self, classes: Sequence[str]) -> str:
        return (
            f'<RectangleLabels name="{NAME}" toName="{CONTENT}" canRotate="false">'
            f"{_options('Label', classes)}</RectangleLabels>"
        )

    def facts(self, content: items_pb2.Content, shown: Mapping[str, Any]) -> Json:
        return {key: shown[key] for key in ("width", "height") if key in shown}

    def results(self, label: str, facts: Json) -> list[Json]:
        if not facts:
            raise InvalidInput.of("image", "has no size that can be read; boxes cannot be shown")
        width, height = facts["width"], facts["height"]
        written = []
        for number, box in enumerate(read_boxes(label)):
            value = {
                "x": 100 * box.x_min / width,
                "y": 100 * box.y_min / height,
                "width": 100 * (box.x_max - box.x_min) / width,
                "height": 100 * (box.y_max - box.y_min) / height,
                "rotation": 0,
                BOXED: [box.class_name],
            }
            size = {"original_width": width, "original_height": height, "image_rotation": 0}
            written.append({**_result(f"box-{number}", BOXED, value), **size})
        return written

    def label(self, results: Sequence[Json], facts: Json, shown: Sequence[str]) -> str:
        old = [box for text in shown for box in read_boxes(text)]
        found = []
        for one in results:
            if len(one["value"].get(BOXED, ())) != 1:
                raise InvalidInput.of("label", "a box has no class, or several; give it one")
            drawn = box_in_pixels(one, _size(one, facts))
            same = (box for box in old if box.class_name == drawn.class_name and near(box, drawn))
            found.append(next(same, drawn))
        return write_boxes(found)


def _size(result: Json, facts: Json) -> tuple[float, float]:
    """The picture's, as the bridge knows it, or as Label Studio measured it in the browser."""
    if facts:
        return float(facts["width"]), float(facts["height"])
    if result.get("original_width") and result.get("original_height"):
        return float(result["original_width"]), float(result["original_height"])
    raise InvalidInput.of("label", "a box comes without the picture's size; draw it again")


def _options(tag: str, classes: Sequence[str]) -> str:
    if not classes:
        raise InvalidInput.of("classes", "are none; Label Studio needs at least one to choose")
    for name in classes:
        if name.startswith("$"):
            raise InvalidInput.of(
                "classes",
                f"{name!r} begins with $, which Label Studio takes for a key of the task's data; "
                "rename the class, or label on the page",
            )
    return "".join(f"<{tag} value={quoteattr(name)}/>" for name in classes)


def texts_of(result: Json) -> list[str]:
    """What is written in a text area."""
    text = result["value"].get("text")
    return [str(one) for one in text] if isinstance(text, list) else [] if text is None else [text]


def _result(name: str, kind: str, value: Json) -> Json:
    return {
        "id": f"relabel-{name}",
        "from_name": NAME,
        "to_name": CONTENT,
        "type": kind,
        "value": value,
    }


CONTROLS: dict[str, Control] = {
    "text_classification": Choices("text"),
    "image_classification": Choices("image"),
    "audio_classification": Choices("audio"),
    "token_classification": Spans(),
    "object_detection": Rectangles(),
    "sequence_generation": Written(),
    "click_through_rate": Choices("table"),
}
