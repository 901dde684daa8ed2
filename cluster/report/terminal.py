"""The worst items for a terminal: plain text of a width, what stands in a row made harmless."""

import io
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from cluster.report.items import Item, read_items
from cluster.report.rows import TableRows
from relabel_service.errors import InvalidInput
from relabel_service.media import audio, images
from relabel_service.v1 import items_pb2, labels_pb2
from relabel_service.visible import visible

INDENT = 4
MAX_TEXT = 2_000  # characters of a text that are looked at
CONTEXT = 3  # tokens shown before the first and after the last that a labelling names
MAX_REASON = 300  # characters
MIN_WIDTH = 40
# Labels whose own line says what a reason would: which class, and how sure the model is.
SAYS_WHY = frozenset({"class_label", "click"})
_PLAIN = Console(no_color=True, file=io.StringIO())


def worst(findings: pa.Table, rows: TableRows, *, num_items: int, width: int) -> str:
    """The worst findings as a person reads them, each line at most `width` columns wide.

    findings: schemas.FINDINGS. rows: reads pictures and sounds that lie at an address.
    """
    width = max(width, MIN_WIDTH)
    shown = [
        "\n".join([_fitted(_heading(item, number), width), *_lines(item, rows, width)])
        for number, item in enumerate(read_items(findings, num_items=num_items), 1)
    ]
    return "\n".join(shown) if shown else "no findings"


def _heading(item: Item, number: int) -> str:
    unit = f" · {item.unit}" if item.unit else ""
    copies = f" · and {item.num_copies} copies" if item.num_copies else ""
    return f"{number}. {item.id}{unit} · suspicion {item.suspicion:.2f}{copies}"


def _lines(item: Item, rows: TableRows, width: int) -> list[str]:
    """Content and both labels, indented and cut; the reason may take some lines more."""
    payload = item.content.WhichOneof("payload") or ""
    content = CONTENT[payload](item, rows) if payload in CONTENT else ["(nothing to show)"]
    label_payload = item.label.WhichOneof("payload") or ""
    labels = LABELS.get(label_payload, _both_labels)(item)
    inside = width - INDENT
    lines = [_fitted(line, inside) for line in [*content, *labels]]
    if item.reason and label_payload not in SAYS_WHY:
        why = f"why: {' '.join(visible(item.reason[:MAX_REASON]).split())}"
        lines += [line.plain.rstrip() for line in Text(why).wrap(_PLAIN, inside)]
    return [" " * INDENT + line for line in lines]


def _text(item: Item, rows: TableRows) -> list[str]:
    return [" ".join(item.content.text.text[:MAX_TEXT].split())]


def _image(item: Item, rows: TableRows) -> list[str]:
    def size(data: bytes) -> str:
        width, height = images.size(data)
        return f"picture of {width}x{height} pixels"

    return _media(item.content.image, rows, size)


def _audio(item: Item, rows: TableRows) -> list[str]:
    def duration(data: bytes) -> str:
        mono, rate = audio.samples(data)
        return f"sound of {len(mono) / rate:.2f} s"

    return _media(item.content.audio, rows, duration)


def _media(
    media: items_pb2.MediaContent, rows: TableRows, describe: Callable[[bytes], str]
) -> list[str]:
    address = [media.uri] if media.uri else []
    try:
        return [*address, describe(rows.media(media))]
    except InvalidInput as error:
        return [*address, f"not shown: {error}"]


def _tokens(item: Item, rows: TableRows) -> list[str]:
    """Nothing: the labels' lines hold the tokens."""
    return []


def _fields(item: Item, rows: TableRows) -> list[str]:
    fields = sorted(item.content.fields.fields.items())
    return ["  ".join(f"{name} {value}" for name, value in fields)[:MAX_TEXT]]


CONTENT: Mapping[str, Callable[[Item, TableRows], list[str]]] = {
    "text": _text,
    "image": _image,
    "audio": _audio,
    "tokens": _tokens,
    "fields": _fields,
}


def _both_labels(item: Item) -> list[str]:
    return [f"label: {item.label_words}", *_model(item)]


def _class_pair(item: Item) -> list[str]:
    """On one line."""
    if not item.suggestions:
        return [f"label {item.label_words}"]
    best = item.suggestions[0]
    return [f"label {item.label_words} → model {best.words} ({best.probability:.0%})"]


def _spans(item: Item) -> list[str]:
    """The tokens twice: bracketed as the label has them, and as the model does."""
    best = item.suggestions[0].label if item.suggestions else None
    shown = [span for label in (item.label, best) if label for span in label.spans.spans]
    start = max(min((span.start for span in shown), default=0) - CONTEXT, 0)
    lines = [f"label: {_bracketed(item, item.label, start)}"]
    if best is not None:
        lines.append(f"model: {_bracketed(item, best, start)}")
    return lines


def _bracketed(item: Item, label: labels_pb2.Label, start: int) -> str:
    """The tokens from `start` on: the [Acme Corp]ORG said."""
    tokens = list(item.content.tokens.tokens)
    for span in label.spans.spans:
        if span.end <= len(tokens):
            tokens[span.start] = f"[{tokens[span.start]}"
            tokens[span.end - 1] += f"]{span.class_name}"
    return ("… " if start else "") + " ".join(tokens[start:])[:MAX_TEXT]


def _model(item: Item) -> list[str]:
    return [f"model: {one.words} ({one.probability:.0%})" for one in item.suggestions[:1]]


LABELS: Mapping[str, Callable[[Item], Sequence[str]]] = {
    "class_label": _class_pair,
    "click": _class_pair,
    "spans": _spans,
}


def _fitted(line: str, width: int) -> str:
    """The line without line breaks, cut to so many columns of a terminal."""
    flat = " ".join(visible(line).split())
    return flat if cell_len(flat) <= width else f"{set_cell_size(flat, width - 1).rstrip()}…"
