"""A data set folder of FiftyOne: data/ with the pictures, samples.json, metadata.json.

    fiftyone.Dataset.from_dir(FOLDER, dataset_type=fiftyone.types.FiftyOneDataset)

loads it. samples.json is the form without a database's version, which every release of FiftyOne
since 0.8 reads and none changes the meaning of. A sample is a row of the table: `human_label` and
`model` are its labels, each with its confidence; `suspicion` is the worst of its findings'.
"""

import json
from collections.abc import Sequence
from typing import Any

from relabel_service.tables import files
from relabel_service.tools.base import (
    HUMAN,
    Handover,
    Picture,
    Pictures,
    SaidLabel,
    by_row,
    classes_of,
    said_labels,
    while_writing,
)
from relabel_service.v1 import items_pb2

DATA, SAMPLES, METADATA = "data", "samples.json", "metadata.json"
FIELDS = {HUMAN: "human_label"}  # others are named as who says it
Json = dict[str, Any]
_dumps = json.JSONEncoder(ensure_ascii=False).encode


class FiftyOne:
    name = "fiftyone"
    tasks: Sequence[str] = ("image_classification", "object_detection")

    def write(self, handover: Handover, path: str) -> int:
        pictures = Pictures(files.join(path, DATA), handover)
        written: dict[str, Picture] = {}
        items = while_writing(
            handover.items, lambda item: written.update({item.row_id: pictures.write(item)})
        )
        rows = by_row(items)
        classes = dict.fromkeys(handover.classes)
        with files.created_text(files.join(path, SAMPLES)) as stream:
            stream.write('{"samples": [')
            for number, (row_id, of_row) in enumerate(rows.items()):
                for item in of_row:
                    for said in said_labels(item):
                        classes.update(dict.fromkeys(classes_of(said.label)))
                sample = _sample(row_id, of_row, written[row_id])
                stream.write((",\n" if number else "\n") + _dumps(sample))
            stream.write("\n]}\n")
        about = {"media_type": "image", "info": {"task": handover.task, "classes": list(classes)}}
        files.write(files.join(path, METADATA), json.dumps(about, indent=1).encode())
        return sum(map(len, rows.values()))


def _sample(row_id: str, items: Sequence[items_pb2.Item], picture: Picture) -> Json:
    sample: Json = {
        "filepath": f"{DATA}/{picture.name}",
        "tags": [],
        "_media_type": "image",
        "metadata": None,
        "row_id": row_id,
    }
    if any(item.reason or item.suggestions for item in items):
        sample["suspicion"] = max(item.suspicion for item in items)
        sample["reason"] = "; ".join(dict.fromkeys(item.reason for item in items if item.reason))
        sample["units"] = [item.unit for item in items if item.unit]
    fields: dict[str, list[SaidLabel]] = {}
    for item in items:
        for said in said_labels(item):
            if said.rank == 0:
                fields.setdefault(FIELDS.get(said.by, said.by), []).append(said)
    return sample | {name: _label(all_said, picture) for name, all_said in fields.items()}


def _label(all_said: Sequence[SaidLabel], picture: Picture) -> Json:
    """A FiftyOne label: of a row's only item its class, else the boxes of all its items."""
    first = all_said[0]
    if first.label.WhichOneof("payload") == "class_label":
        name = first.label.class_label.class_name
        return {"_cls": "Classification", "tags": [], "label": name, "confidence": first.score}
    return {
        "_cls": "Detections",
        "detections": [
            {
                "_cls": "Detection",
                "attributes": {},
                "tags": [],
                "label": box.class_name,
                "bounding_box": [
                    box.x_min / picture.width,
                    box.y_min / picture.height,
                    (box.x_max - box.x_min) / picture.width,
                    (box.y_max - box.y_min) / picture.height,
                ],
                "confidence": said.score,
            }
            for said in all_said
            for box in said.label.boxes.boxes
        ],
    }
