"""Label Studio's tasks with predictions, and the labeling configuration that fits them.

A folder of two files: tasks.json to import into a project, and label_config.xml to paste into its
settings. Each task brings the human label and what the model says as predictions, which annotators
begin from; scores are how likely each is right. Pictures and sounds that the table holds are in
the tasks (data: URIs), those of object stores stay addresses, for a storage set up there.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any
from xml.etree import ElementTree

from relabel_service.errors import InvalidInput
from relabel_service.media import audio, fetch, images
from relabel_service.tables import files
from relabel_service.tasks import TASKS
from relabel_service.tools.base import HUMAN, Handover, SaidLabel, classes_of, naming, said_labels
from relabel_service.v1 import items_pb2, labels_pb2

TASKS_FILE, CONFIG_FILE = "tasks.json", "label_config.xml"
CONTROL, CONTENT = "label", "content"  # names of the two tags
Json = dict[str, Any]
_dumps = json.JSONEncoder(ensure_ascii=False).encode


class LabelStudioTasks:
    name = "label-studio"
    tasks: Sequence[str] = tuple(TASKS)

    def write(self, handover: Handover, path: str) -> int:
        classes = dict.fromkeys(handover.classes)
        payloads: dict[str, None] = {}
        number = 0
        with files.created_text(files.join(path, TASKS_FILE)) as stream:
            stream.write("[")
            for item in handover.items:
                payloads[item.content.WhichOneof("payload") or ""] = None
                for said in said_labels(item):
                    classes.update(dict.fromkeys(classes_of(said.label)))
                with naming(item):
                    task = task_of(item, handover)
                stream.write((",\n" if number else "\n") + _dumps(task))
                number += 1
            stream.write("\n]\n")
        if len(payloads) > 1:
            raise InvalidInput.of(
                "table",
                f"holds contents of several kinds ({', '.join(payloads)}); a project has one: "
                "export them apart",
            )
        if handover.task == "click_through_rate":
            classes = dict.fromkeys(("0", "1"))
        for payload in payloads:
            config = label_config(handover.task, payload, list(classes))
            files.write(files.join(path, CONFIG_FILE), config.encode())
        return number


def task_of(item: items_pb2.Item, handover: Handover) -> Json:
    """The item as a task of Label Studio's import format."""
    data: Json = {"row_id": item.row_id, CONTENT: _shown(item.content, handover)}
    if item.unit:
        data["unit"] = item.unit
    if item.reason:
        data |= {"reason": item.reason, "suspicion": item.suspicion}
    if item.content.WhichOneof("payload") == "tokens":
        data["tokens"] = list(item.content.tokens.tokens)
    size = _size(item, handover)
    predictions = [_prediction(said, item, size) for said in said_labels(item)]
    return {"data": data, "predictions": predictions}


def label_config(task: str, payload: str, classes: Sequence[str]) -> str:
    """The labeling configuration: what is shown, and the control that gives the labels.

    payload: of the contents. Raises InvalidInput for a task that needs classes and has none.
    """
    view = ElementTree.Element("View")
    if payload == "fields":
        ElementTree.SubElement(view, "Table", name=CONTENT, value=f"${CONTENT}")
    elif payload in ("image", "audio"):
        zoom = {"zoom": "true"} if payload == "image" else {}
        ElementTree.SubElement(
            view, payload.title(), {"name": CONTENT, "value": f"${CONTENT}", **zoom}
        )
    else:
        ElementTree.SubElement(view, "Text", name=CONTENT, value=f"${CONTENT}")
    tag, choice, more = CONTROLS.get(task, ("Choices", "Choice", {"choice": "single"}))
    control = ElementTree.SubElement(view, tag, {"name": CONTROL, "toName": CONTENT, **more})
    for class_name in classes if choice else ():
        ElementTree.SubElement(control, choice, value=class_name)
    if choice and not classes:
        raise InvalidInput.of("table", "names no class; Label Studio needs at least one to choose")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


CONTROLS: dict[str, tuple[str, str, dict[str, str]]] = {
    "token_classification": ("Labels", "Label", {}),
    "object_detection": ("RectangleLabels", "Label", {}),
    "sequence_generation": ("TextArea", "", {"editable": "true", "maxSubmissions": "1"}),
}


def _shown(content: items_pb2.Content, handover: Handover) -> Any:
    """What the object tag shows."""
    payload = content.WhichOneof("payload")
    if payload == "tokens":
        return " ".join(content.tokens.tokens)
    if payload == "fields":
        return dict(sorted(content.fields.fields.items()))
    if payload in ("image", "audio"):
        return _media(getattr(content, payload), payload, handover)
    return content.text.text


def _media(media: items_pb2.MediaContent, payload: str, handover: Handover) -> str:
    """An address that browsers open: an object store's own, else the bytes as a data: URI."""
    if "://" in media.uri and not media.uri.startswith("file://"):
        return media.uri
    data = handover.load(media)
    if payload == "image":
        return fetch.data_uri(*images.for_browser(data))
    return fetch.data_uri(data, media.media_type or audio.media_type(data))


def _size(item: items_pb2.Item, handover: Handover) -> tuple[int, int] | None:
    """Width and height in upright pixels of a picture with boxes, which are shares of them."""
    if item.human_label.WhichOneof("payload") != "boxes":
        return None
    return images.size(handover.load(item.content.image))


def _prediction(said: SaidLabel, item: items_pb2.Item, size: tuple[int, int] | None) -> Json:
    version = "human label" if said.by == HUMAN else said.by
    prediction: Json = {
        "model_version": version if said.rank == 0 else f"{version} {said.rank + 1}",
        "result": results_of(said.label, item.content, size),
    }
    return prediction if said.score is None else {**prediction, "score": said.score}


def results_of(
    label: labels_pb2.Label, content: items_pb2.Content, size: tuple[int, int] | None = None
) -> list[Json]:
    """The label as Label Studio's results. size: of a picture, where the label is boxes."""
    kind = label.WhichOneof("payload") or ""
    results = RESULTS[kind](label, content)
    whole: Json = {"from_name": CONTROL, "to_name": CONTENT}
    if size is not None:
        whole |= {"original_width": size[0], "original_height": size[1], "image_rotation": 0}
        results = [{**one, "value": _in_percent(one["value"], size)} for one in results]
    return [{"id": f"{kind}-{number}", **whole, **one} for number, one in enumerate(results)]


def _choice(label: labels_pb2.Label, content: items_pb2.Content) -> list[Json]:
    name = label.class_label.class_name
    if label.WhichOneof("payload") == "click":
        name = str(int(label.click.clicked))
    return [{"type": "choices", "value": {"choices": [name]}}]


def _written(label: labels_pb2.Label, content: items_pb2.Content) -> list[Json]:
    return [{"type": "textarea", "value": {"text": [label.sequence.text]}}]


def _spans(label: labels_pb2.Label, content: items_pb2.Content) -> list[Json]:
    """Spans of tokens as characters of the tokens set with spaces between: code points, which
    Label Studio counts in (1.23.2)."""
    tokens = content.tokens.tokens
    starts, place = [], 0
    for token in tokens:
        starts.append(place)
        place += len(token) + 1
    return [
        {
            "type": "labels",
            "value": {
                "start": starts[span.start],
                "end": starts[span.end - 1] + len(tokens[span.end - 1]),
                "text": " ".join(tokens[span.start : span.end]),
                "labels": [span.class_name],
            },
        }
        for span in label.spans.spans
    ]


def _boxes(label: labels_pb2.Label, content: items_pb2.Content) -> list[Json]:
    """Boxes in pixels; _in_percent follows."""
    return [
        {
            "type": "rectanglelabels",
            "value": {
                "x": box.x_min,
                "y": box.y_min,
                "width": box.x_max - box.x_min,
                "height": box.y_max - box.y_min,
                "rotation": 0,
                "rectanglelabels": [box.class_name],
            },
        }
        for box in label.boxes.boxes
    ]


def _in_percent(value: Json, size: tuple[int, int]) -> Json:
    across = {side: 100 * value[side] / size[0] for side in ("x", "width")}
    return {**value, **across, **{side: 100 * value[side] / size[1] for side in ("y", "height")}}


RESULTS: dict[str, Callable[[labels_pb2.Label, items_pb2.Content], list[Json]]] = {
    "class_label": _choice,
    "click": _choice,
    "sequence": _written,
    "spans": _spans,
    "boxes": _boxes,
}
