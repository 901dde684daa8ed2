"""Label Studio's JSON export: an array of tasks, each with its annotations.

A row is a task with the label that one control gave: a choice, spans of a text, boxes or a text.
The file is read twice: once to learn its data and controls, once to bring them in. Of several
annotations the row takes the one that counts: ground truth, else the first that was not cancelled.
The whole task is kept, so that ids, predictions and other controls come back.
"""

import json
import math
import mimetypes
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa

from relabel_service.errors import InvalidInput
from relabel_service.media import fetch
from relabel_service.tables import files
from relabel_service.tables.formats import boxes, media
from relabel_service.tables.formats.base import (
    BOXES,
    MEDIA,
    ORIGINAL,
    ROW_NUMBER,
    TAGS,
    ImportOptions,
    Origin,
    Table,
    details_of,
    free_name,
    in_batches,
    origin_of,
    with_origin,
)
from relabel_service.tables.formats.json_stream import JsonStream
from relabel_service.tasks import spans
from relabel_service.tasks.boxes import Box
from relabel_service.tasks.spans import Span

WORDS = re.compile(r"\w+|[^\w\s]")
CHOICES, LABELS, BOXED, WRITTEN = "choices", "labels", "rectanglelabels", "textarea"
TYPES = {CHOICES: pa.string(), LABELS: TAGS, BOXED: BOXES, WRITTEN: pa.string()}
NO_LABEL = "tasks have no label that a row can hold (none, several or overlapping): it is null"
DIFFER = "tasks have annotations that differ: the ground truth counts, or else the first"
INLINE = ("data:image/", "data:audio/")
GIVEN_TOKENS = "tokens"  # of the data: what `relabel export --to label-studio` cut the text into
Json = dict[str, Any]
_dumps = json.JSONEncoder(ensure_ascii=False).encode


class LabelStudio:
    name = "label_studio"
    about = "Label Studio's JSON export"

    def looks_like(self, path: str) -> bool:
        if not path.lower().endswith((".json", ".json.gz")):
            return False
        head = files.head(path).lstrip()
        return head[:1] == b"[" and b'"data"' in head and b'"annotations"' in head

    def read(self, path: str, options: ImportOptions) -> pa.RecordBatchReader:
        layout = _layout(path, options.control)
        taken = [*layout.columns, "id"]
        columns = [pa.field("id", pa.int64() if layout.ids_are_whole else pa.string())]
        kinds = {"media": MEDIA, "text": pa.string(), "json": pa.string()}
        columns += [pa.field(name, kinds[kind]) for name, kind in layout.columns.items()]
        names = {"label": free_name("label", taken), "tokens": free_name("tokens", taken)}
        if layout.type == LABELS:
            columns.append(pa.field(names["tokens"], pa.list_(pa.string())))
        columns.append(pa.field(names["label"], TYPES[layout.type]))
        original = free_name(ORIGINAL, taken)
        columns.append(pa.field(original, pa.string()))
        origin = Origin(
            self.name, free_name(ROW_NUMBER, taken), original, {**vars(layout), "names": names}
        )
        schema = with_origin(columns, origin)
        rows = (_row(path, task, layout, origin, options) for task in _tasks(path))
        return in_batches(rows, schema, num_bytes=lambda row: _num_bytes(row, layout))

    def write(self, table: Table, path: str) -> None:
        details = dict(details_of(table.schema, self.name))
        origin = origin_of(table.schema)
        if not details or origin is None:
            raise InvalidInput.of(
                "--format",
                "label_studio is written for tables that came from Label Studio, as its controls "
                "have names that others do not say; choose jsonl or coco, which it imports",
            )
        names = details.pop("names")
        layout = Layout(**details)
        with files.created_text(path) as stream:
            stream.write("[")
            number = 0
            for batch in table.batches():
                for row in batch.to_pylist():
                    if row.get(origin.original) is None:
                        raise InvalidInput.of(
                            "table",
                            f"row {number} did not come from Label Studio, and has no task; drop "
                            "it, or choose another --format",
                        )
                    task = json.loads(row[origin.original])
                    tokens = row.get(names["tokens"])
                    _change(task, row[names["label"]], tokens, layout, row)
                    stream.write((",\n" if number else "\n") + _dumps(task))
                    number += 1
            stream.write("\n]\n")


@dataclass(frozen=True)
class Layout:
    """control and type: which results are the labels; content: the data they are about; columns:
    each key of the data, with what it holds (media, text or json); to_name: the object that new
    results are for."""

    control: str
    type: str
    content: str
    columns: Mapping[str, str]
    ids_are_whole: bool
    to_name: str


def _tasks(path: str) -> Iterator[Json]:
    try:
        with files.text(path) as stream:
            reader = JsonStream(stream, path)
            for number, (_, task) in enumerate(reader.array()):
                if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                    raise InvalidInput.of(
                        "path",
                        f"task {number} of {path!r} has no data; export as JSON (not JSON-MIN)",
                    )
                if not all(isinstance(one, dict) for one in task.get("annotations") or ()):
                    raise InvalidInput.of(
                        "path",
                        f"task {number} of {path!r} has annotations by id alone; export them whole",
                    )
                _require_results(path, number, task)
                yield task
            reader.end()
    except UnicodeDecodeError as error:
        raise files.not_utf8(path, error) from None


def _require_results(path: str, number: int, task: Json) -> None:
    """Raises InvalidInput where annotations do not hold results as Label Studio writes them."""
    for annotation in task.get("annotations") or ():
        results = annotation.get("result", [])
        for one in results if isinstance(results, list) else [str(results)]:
            is_label = isinstance(one, dict) and one.get("type") in TYPES
            if not isinstance(one, dict) or (is_label and not isinstance(one.get("value"), dict)):
                raise InvalidInput.of(
                    "path",
                    f"task {number} of {path!r} has the result {_dumps(one)[:100]}; Label Studio's "
                    "have a type and a value: export it anew",
                )


def _layout(path: str, control: str | None) -> Layout:
    """What the file holds; reads all of it. Raises InvalidInput where no one control is told."""
    controls: Counter[tuple[str, str]] = Counter()
    sources: Counter[str] = Counter()
    to_names: Counter[str] = Counter()
    kinds: dict[str, set[str]] = {}
    whole = True
    for task in _tasks(path):
        whole &= isinstance(task.get("id"), int)
        for key, value in task["data"].items():
            kinds.setdefault(key, set()).add(_kind(value))
        for annotation in task.get("annotations") or ():
            for result in annotation.get("result", ()):
                name, kind = str(result.get("from_name")), result.get("type")
                if kind in TYPES and control in (None, name):
                    controls[name, kind] += 1
                    to_names[str(result.get("to_name"))] += 1
                    sources[str(result.get("source") or result.get("to_name"))] += 1
    if len(controls) != 1:
        found = ", ".join(sorted({name for name, _ in controls})) or "none"
        raise InvalidInput.of(
            "--control",
            f"is needed: {path!r} has the controls {found} of types {', '.join(TYPES)}; name the "
            "one that gives the labels",
        )
    [(name, kind)] = controls
    columns = {key: _one_kind(found) for key, found in kinds.items()}
    if kind == LABELS and columns.get(GIVEN_TOKENS) == "json":
        columns.pop(GIVEN_TOKENS)  # they are the column of tokens
    content = _content(path, kind, columns, sources)
    return Layout(name, kind, content, columns, whole, to_names.most_common(1)[0][0])


def _content(path: str, kind: str, columns: Mapping[str, str], sources: Mapping[str, int]) -> str:
    """The data that a control is about: exports rarely say it."""
    named = [source.removeprefix("$") for source in sources]
    wanted = "text" if kind == LABELS else "media" if kind == BOXED else None
    suited = [key for key, one in columns.items() if wanted in (one, None) and one != "json"]
    told = [key for key in suited if key in named]
    if len(told or suited) == 1:
        return (told or suited)[0]
    usual = [key for key in ("text", "image", "audio") if key in suited]
    if usual:
        return usual[0]
    if kind in (CHOICES, WRITTEN) and suited:
        return suited[0]
    raise InvalidInput.of(
        "path",
        f"{path!r} holds no data that {kind} may be about; it has {', '.join(columns)}: pictures "
        "and sounds are addresses or paths with a / and a usual suffix",
    )


def _kind(value: object) -> str:
    if not isinstance(value, str):
        return "json"
    if value.startswith(INLINE):
        return "media"
    path = value if value.startswith("/data/") else urlsplit(value).path
    if "/" in value and not any(sign.isspace() for sign in value):
        guessed = mimetypes.guess_type(_local_name(value) or path)[0] or ""
        return "media" if guessed.startswith(("image/", "audio/")) else "text"
    return "text"


def _one_kind(kinds: set[str]) -> str:
    if len(kinds) == 1:
        return next(iter(kinds))
    return "json" if "json" in kinds else "text"


def _local_name(address: str) -> str | None:
    """The file that Label Studio serves at one of its own addresses; None for others."""
    parts = urlsplit(address)
    if parts.path.startswith("/data/local-files"):
        return parse_qs(parts.query).get("d", [""])[0] or None
    if parts.path.startswith("/data/"):
        return parts.path.rpartition("/")[2]
    return None


def _num_bytes(row: Mapping[str, Any], layout: Layout) -> int:
    return sum(media.num_bytes(row[key]) for key, kind in layout.columns.items() if kind == "media")


def _row(
    path: str, task: Json, layout: Layout, origin: Origin, options: ImportOptions
) -> Mapping[str, Any]:
    names = origin.details["names"]
    data = task["data"]
    values = {key: _value(data.get(key), kind, options) for key, kind in layout.columns.items()}
    label = _label(task, layout, values)
    if label is None:
        options.notes[NO_LABEL] += 1
    given = {
        _dumps([one["value"] for one in _of_control(annotation, layout)])
        for annotation in _valid(task)
    }
    if len(given) > 1:
        options.notes[DIFFER] += 1
    row = {"id": task.get("id") if layout.ids_are_whole else str(task.get("id")), **values}
    if layout.type == LABELS:
        tokens = [text for text, _, _ in _tokens(task, layout)]
        row[names["tokens"]] = tokens
        label = None if label is None else spans.to_bio(label, len(tokens))
    if layout.type == BOXED and label is not None:
        label = boxes.to_row(label)
    return {**row, names["label"]: label, origin.original: _dumps(task)}


def _value(value: Any, kind: str, options: ImportOptions) -> Any:
    if value is None or kind == "text":
        return value
    if kind == "json":
        return _dumps(value)
    if value.startswith(INLINE):
        return {"bytes": fetch.load(value), "path": None}
    name = _local_name(value)
    if name is None:
        return {"bytes": None, "path": value}
    if options.media is None:
        options.notes["files are Label Studio's own; give their folder by --media"] += 1
        return {"bytes": None, "path": value}
    return media.value(options.media, name, options)


def _annotation(task: Json) -> Json | None:
    """The annotation that counts."""
    valid = _valid(task)
    return next((one for one in valid if one.get("ground_truth")), valid[0] if valid else None)


def _valid(task: Json) -> list[Json]:
    """The annotations that nobody cancelled or skipped."""
    return [one for one in task.get("annotations") or () if not one.get("was_cancelled")]


def _results(task: Json, layout: Layout) -> list[Json]:
    """The results of the control in the annotation that counts."""
    return _of_control(_annotation(task) or {}, layout)


def _of_control(annotation: Json, layout: Layout) -> list[Json]:
    return [
        one
        for one in annotation.get("result", ())
        if str(one.get("from_name")) == layout.control and one.get("type") == layout.type
    ]


def _label(task: Json, layout: Layout, values: Mapping[str, Any]) -> Any:
    """The task's label: text, spans or boxes. None where a row cannot hold it."""
    if _annotation(task) is None:
        return None
    return READERS[layout.type](task, layout, values)


def _choice(task: Json, layout: Layout, values: Mapping[str, Any]) -> str | None:
    chosen = [name for one in _results(task, layout) for name in one["value"].get(CHOICES, ())]
    return str(chosen[0]) if len(chosen) == 1 else None


def _written(task: Json, layout: Layout, values: Mapping[str, Any]) -> str | None:
    texts = [text for one in _results(task, layout) for text in _as_list(one["value"].get("text"))]
    return texts[0] if len(texts) == 1 else None


def _as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _text_spans(task: Json, layout: Layout, values: Mapping[str, Any]) -> list[Span] | None:
    ranges = _ranges(task, layout)
    if ranges is None:
        return None
    starts, ends = {}, {}
    for number, (_, start, end) in enumerate(_tokens(task, layout)):
        starts[start], ends[end] = number, number + 1
    found = []
    for start, end, name in ranges:
        inside = [place for place in starts if start <= place < end]
        if not inside:
            return None  # spaces alone
        found.append(Span(starts[min(inside)], starts[max(inside)] + 1, name))
    overlap = any(a.overlaps(b) for i, a in enumerate(found) for b in found[:i])
    return None if overlap else sorted(found)


def _ranges(task: Json, layout: Layout) -> list[tuple[int, int, str]] | None:
    """Characters and class of each span; None where one is not of one class, or not of text."""
    text = task["data"].get(layout.content) or ""
    found = []
    for one in _results(task, layout):
        value = one["value"]
        names = value.get(LABELS, ())
        if len(names) != 1 or not isinstance(value.get("start"), int):
            return None
        start, end = in_characters(text, value)
        found.append((start, end, names[0]))
    return found


def in_characters(text: str, value: Json) -> tuple[int, int]:
    """A span's ends. Label Studio counts code points (1.23.2, browser and API alike); where the
    span's own text is only found by UTF-16 units, in which an emoji is two, those were counted."""
    start, end = value["start"], value["end"]
    own = value.get("text")
    if own is None or text[start:end] == own:
        return start, end
    units = text.encode("utf-16-le")
    begin, middle = (len(units[: 2 * at].decode("utf-16-le", "ignore")) for at in (start, end))
    return (begin, middle) if text[begin:middle] == own else (start, end)


def _tokens(task: Json, layout: Layout) -> list[tuple[str, int, int]]:
    """Words and signs of the text with their characters, cut where a span begins or ends; the
    tokens that the task's data give instead, where the text is made of them."""
    text = str(task["data"].get(layout.content) or "")
    cuts = {place for start, end, _ in _ranges(task, layout) or () for place in (start, end)}
    found = []
    for first, last in _words(task, text):
        inside = sorted(cut for cut in cuts if first < cut < last)
        places = [first, *inside, last]
        found += [(text[start:end], start, end) for start, end in pairwise(places)]
    return found


def _words(task: Json, text: str) -> list[tuple[int, int]]:
    """Where each token begins and ends, before spans cut them."""
    given = task["data"].get(GIVEN_TOKENS)
    if not isinstance(given, list) or not given or " ".join(map(str, given)) != text:
        return [match.span() for match in WORDS.finditer(text)]
    ends = list(accumulate(len(str(token)) + 1 for token in given))
    return [(end - 1 - len(str(token)), end - 1) for token, end in zip(given, ends, strict=True)]


def _rectangles(task: Json, layout: Layout, values: Mapping[str, Any]) -> list[Box] | None:
    results = _results(task, layout)
    if any(len(one["value"].get(BOXED, ())) != 1 for one in results):
        return None
    return [box_in_pixels(one, _size(one, values, layout)) for one in results]


def _size(result: Json, values: Mapping[str, Any], layout: Layout) -> tuple[float, float]:
    """The picture's width and height. Raises InvalidInput where neither result nor file says it."""
    if result.get("original_width") and result.get("original_height"):
        return float(result["original_width"]), float(result["original_height"])
    if size := media.size(values.get(layout.content)):
        return float(size[0]), float(size[1])
    raise InvalidInput.of(
        "path",
        f"a box of {media.address(values.get(layout.content))!r} has no original_width and "
        "original_height, and its picture cannot be read; give the pictures' folder by --media",
    )


def box_in_pixels(result: Json, size: tuple[float, float]) -> Box:
    """A box of per cents in pixels; of a turned one, what it spans inside the picture."""
    value = result["value"]
    x, width = (value[key] / 100 * size[0] for key in ("x", "width"))
    y, height = (value[key] / 100 * size[1] for key in ("y", "height"))
    if not value.get("rotation"):
        return Box(value[BOXED][0], x, y, x + width, y + height)
    turn = math.radians(value["rotation"])  # clockwise, around the corner that x and y name
    corners = [(0.0, 0.0), (width, 0.0), (0.0, height), (width, height)]
    xs = [x + a * math.cos(turn) - b * math.sin(turn) for a, b in corners]
    ys = [y + a * math.sin(turn) + b * math.cos(turn) for a, b in corners]
    x0, x1 = (min(max(side, 0.0), size[0]) for side in (min(xs), max(xs)))
    y0, y1 = (min(max(side, 0.0), size[1]) for side in (min(ys), max(ys)))
    return Box(value[BOXED][0], x0, y0, x1, y1)


READERS: dict[str, Callable[[Json, Layout, Mapping[str, Any]], Any]] = {
    CHOICES: _choice,
    LABELS: _text_spans,
    BOXED: _rectangles,
    WRITTEN: _written,
}


def _change(
    task: Json, label: Any, tokens: Sequence[str] | None, layout: Layout, row: Mapping[str, Any]
) -> None:
    """Put a label into the task where it is another than the task's own."""
    was = _label(task, layout, row)
    if label is None:
        return
    if layout.type == LABELS:
        now = spans.from_bio(label)
        if now != was:
            _replace(task, layout, _span_results(task, layout, now))
    elif layout.type == BOXED:
        paired = boxes.pair(was or [], boxes.from_row(label))
        if len(paired) != len(was or ()) or any(one.moved or one.renamed for one in paired):
            _replace(task, layout, _box_results(task, layout, paired, row))
    elif label != was:
        key = CHOICES if layout.type == CHOICES else "text"
        results = _results(task, layout)[:1] or [_new_result(task, layout, {})]
        _replace(task, layout, [{**results[0], "value": {**results[0]["value"], key: [label]}}])


def _replace(task: Json, layout: Layout, results: list[Json]) -> None:
    """Put the control's results in the place of those it had; other controls' stay."""
    annotation = _annotation(task)
    if annotation is None:
        annotation = {"result": [], "was_cancelled": False}
        task.setdefault("annotations", []).append(annotation)
    own = {id(one) for one in _results(task, layout)}
    old = annotation.get("result", [])
    first = next((i for i, one in enumerate(old) if id(one) in own), len(old))
    before = [one for one in old[:first] if id(one) not in own]
    annotation["result"] = [*before, *results, *(one for one in old[first:] if id(one) not in own)]


def _span_results(task: Json, layout: Layout, now: Sequence[Span]) -> list[Json]:
    """Results of the spans: those that were stay, another class is put in, the rest is new."""
    text = str(task["data"].get(layout.content) or "")
    tokens = _tokens(task, layout)
    old = {
        (start, end): result
        for (start, end, _), result in zip(
            _ranges(task, layout) or (), _results(task, layout), strict=False
        )
    }
    results = []
    for span in now:
        start, end = tokens[span.start][1], tokens[span.end - 1][2]
        result = old.get((start, end))
        if result is None:
            value = {"start": start, "end": end, "text": text[start:end]}
            result = _new_result(task, layout, value, f"{start}-{end}")
        results.append({**result, "value": {**result["value"], LABELS: [span.class_name]}})
    return results


def _box_results(
    task: Json, layout: Layout, paired: Sequence[boxes.Paired], row: Mapping[str, Any]
) -> list[Json]:
    old = _results(task, layout)
    written = []
    for number, one in enumerate(paired):
        like = old[one.was] if one.was is not None else old[0] if old else {}
        width, height = _size(like, row, layout)
        box = one.box
        sides = {
            "x": 100 * box.x_min / width,
            "y": 100 * box.y_min / height,
            "width": 100 * (box.x_max - box.x_min) / width,
            "height": 100 * (box.y_max - box.y_min) / height,
        }
        if one.was is None:
            result = _new_result(task, layout, {**sides, "rotation": 0}, f"box-{number}")
            result |= {"original_width": int(width), "original_height": int(height)}
        else:
            upright = {**sides, "rotation": 0}
            result = {**like, "value": {**like["value"], **(upright if one.moved else {})}}
        results_class = {BOXED: [box.class_name]}
        written.append({**result, "value": {**result["value"], **results_class}})
    return written


def _new_result(task: Json, layout: Layout, value: Json, suffix: str = "") -> Json:
    return {
        "id": f"relabel-{suffix}" if suffix else "relabel",
        "from_name": layout.control,
        "to_name": layout.to_name,
        "type": layout.type,
        "value": value,
    }
