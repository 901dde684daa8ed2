"""Label Studio's tasks with predictions, and the labeling configuration that fits them.

A folder of two files: tasks.json to import into a project, and label_config.xml to paste into its
settings. Each task brings the human label and what the model says as predictions, which annotators
begin from; scores are how likely each is right. Pictures and sounds that the table holds are in
the tasks (data: URIs), those of object stores stay addresses, for a storage set up there.
"""

import json
from collections.abc import Sequence
from typing import Any

from relabel_service.errors import InvalidInput
from relabel_service.tables import files
from relabel_service.tasks import task_named
from relabel_service.tools.base import HUMAN, Handover, SaidLabel, classes_of, naming, said_labels
from relabel_service.tools.label_studio_controls import CONTENT, CONTENTS, CONTROLS
from relabel_service.tools.label_studio_media import Media
from relabel_service.tools.label_studio_predictions import prediction_of
from relabel_service.v1 import items_pb2

TASKS_FILE, CONFIG_FILE = "tasks.json", "label_config.xml"
KINDS = {"tokens": "text", "fields": "table"}  # payload -> kind of content, where it is not its own
UNSHOWN = "labels that do not fit what is shown, and are left out"
Json = dict[str, Any]
_dumps = json.JSONEncoder(ensure_ascii=False).encode


class LabelStudioTasks:
    name = "label-studio"
    tasks: Sequence[str] = tuple(CONTROLS)

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
    task, control = task_named(handover.task), CONTROLS[handover.task]
    shown = _shown(item, handover)
    payload = item.content.WhichOneof("payload") or "text"
    data: Json = {"row_id": item.row_id, CONTENT: shown[KINDS.get(payload, payload)]}
    if item.unit:
        data["unit"] = item.unit
    if item.reason:
        data |= {"reason": item.reason, "suspicion": item.suspicion}
    if payload == "tokens":
        data["tokens"] = list(item.content.tokens.tokens)
    facts = control.facts(item.content, shown)
    predictions = []
    for said in said_labels(item):
        prediction = prediction_of(
            task.label_from_wire(said.label),
            by=_version(said),
            score=said.score,
            content=item.content,
            task=task,
            control=control,
            facts=facts,
        )
        if prediction:
            predictions.append(prediction)
        else:
            handover.notes[UNSHOWN] += 1
    return {"data": data, "predictions": predictions}


def label_config(task: str, payload: str, classes: Sequence[str]) -> str:
    """The labeling configuration: what is shown, and the control that gives the labels.

    payload: of the contents. Raises InvalidInput as Control.config.
    """
    content = CONTENTS[KINDS.get(payload, payload)]
    return (
        f'<View>\n  <{content} value="${CONTENT}"/>\n  {CONTROLS[task].config(classes)}\n</View>\n'
    )


def _shown(item: items_pb2.Item, handover: Handover) -> Json:
    """What the object tag shows, under its kind of content (CONTENTS); a picture's size, too."""
    content, payload = item.content, item.content.WhichOneof("payload")
    media = Media(handover.load, lambda uri: "://" in uri and not uri.startswith("file://"))
    if payload == "image":
        # Boxes are shares of the picture.
        has_boxes = item.human_label.WhichOneof("payload") == "boxes"
        return media.picture(content.image, measured=has_boxes)
    if payload == "audio":
        return media.sound(content.audio)
    if payload == "tokens":
        return {"text": " ".join(content.tokens.tokens)}
    if payload == "fields":
        return {"table": dict(sorted(content.fields.fields.items()))}
    return {"text": content.text.text}


def _version(said: SaidLabel) -> str:
    version = "human label" if said.by == HUMAN else said.by
    return version if said.rank == 0 else f"{version} {said.rank + 1}"
