"""A label's wire form in words: one line, as a terminal, a page and a report show it.

Looked up by the payload that is set, so that nobody asks which task it is. What an item holds is
made visible (visible.py); what shows the words escapes its own markup.
"""

from collections.abc import Callable, Mapping

from google.protobuf.json_format import MessageToJson

from relabel_service.v1 import items_pb2, labels_pb2
from relabel_service.visible import visible


def label_text(label: labels_pb2.Label, item: items_pb2.Item) -> str:
    """The label in words; item: what it is of, whose tokens are quoted. JSON where nothing here
    words the payload."""
    payload = label.WhichOneof("payload")
    if payload in WORDS:
        return visible(WORDS[payload](label, item))
    return MessageToJson(label, indent=None)


def _class_label(label: labels_pb2.Label, item: items_pb2.Item) -> str:
    return label.class_label.class_name


def _spans(label: labels_pb2.Label, item: items_pb2.Item) -> str:
    tokens = item.content.tokens.tokens
    shown = [
        f"{span.class_name} {span.start}-{span.end - 1} ({' '.join(tokens[span.start : span.end])})"
        for span in label.spans.spans
    ]
    return ", ".join(shown) or "no entity"


def _boxes(label: labels_pb2.Label, item: items_pb2.Item) -> str:
    shown = [
        f"{box.class_name} ({box.x_min:g}, {box.y_min:g}, {box.x_max:g}, {box.y_max:g})"
        for box in label.boxes.boxes
    ]
    return ", ".join(shown) or "no box"


def _sequence(label: labels_pb2.Label, item: items_pb2.Item) -> str:
    return label.sequence.text


def _click(label: labels_pb2.Label, item: items_pb2.Item) -> str:
    return "clicked" if label.click.clicked else "not clicked"


WORDS: Mapping[str, Callable[[labels_pb2.Label, items_pb2.Item], str]] = {
    "class_label": _class_label,
    "spans": _spans,
    "boxes": _boxes,
    "sequence": _sequence,
    "click": _click,
}
