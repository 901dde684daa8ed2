"""CVAT's "CVAT for images 1.1": pictures, annotations.xml, and the labels to make a task with.

A folder of images/, labels.json (the raw constructor of a task's labels) and annotations.xml (to
upload to the task that holds the pictures). Human labels and the model's best suggestion are both
annotations; the attribute `by` says whose each is, `probability` how likely it is right.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from relabel_service.tables import files
from relabel_service.tools.base import (
    HUMAN,
    MODEL,
    PREFERRED,
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

IMAGES, ANNOTATIONS, LABELS = "images", "annotations.xml", "labels.json"
SHAPES = {"object_detection": "rectangle", "image_classification": "tag"}


class Cvat:
    name = "cvat"
    tasks: Sequence[str] = tuple(SHAPES)

    def write(self, handover: Handover, path: str) -> int:
        pictures = Pictures(files.join(path, IMAGES), handover)
        written: dict[str, Picture] = {}
        items = while_writing(
            handover.items, lambda item: written.update({item.row_id: pictures.write(item)})
        )
        rows = by_row(items)
        classes = dict.fromkeys(handover.classes)
        for item in (item for of_row in rows.values() for item in of_row):
            for said in _best(item):
                classes.update(dict.fromkeys(classes_of(said.label)))
        labels = [_label(name, SHAPES[handover.task]) for name in classes]
        files.write(files.join(path, LABELS), json.dumps(labels, indent=1).encode())
        with files.created_text(files.join(path, ANNOTATIONS)) as stream:
            stream.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
            stream.write("<version>1.1</version>\n")
            stream.write(tostring(_meta(labels, len(rows)), encoding="unicode") + "\n")
            # CVAT numbers a task's pictures in the order of their names.
            for number, row_id in enumerate(sorted(rows, key=lambda row_id: written[row_id].name)):
                image = _image(number, written[row_id], rows[row_id])
                stream.write(tostring(image, encoding="unicode") + "\n")
            stream.write("</annotations>\n")
        return sum(map(len, rows.values()))


def _best(item: items_pb2.Item) -> list[SaidLabel]:
    """The human label, a preferred one, and the model's best."""
    return [said for said in said_labels(item) if said.rank == 0]


def _label(name: str, kind: str) -> dict[str, Any]:
    """A label with its attributes, as CVAT's raw constructor takes them."""
    fixed = {"mutable": False}
    return {
        "name": name,
        "type": kind,
        "attributes": [
            {"name": "by", "input_type": "select", "values": [HUMAN, MODEL, PREFERRED],
             "default_value": HUMAN, **fixed},
            {"name": "probability", "input_type": "text", "values": [""],
             "default_value": "", **fixed},
        ],
    }  # fmt: skip


def _meta(labels: Sequence[dict[str, Any]], num_pictures: int) -> Element:
    meta = Element("meta")
    task = SubElement(meta, "task")
    _text(task, "size", str(num_pictures))
    _text(task, "mode", "annotation")
    all_labels = SubElement(task, "labels")
    for label in labels:
        one = SubElement(all_labels, "label")
        _text(one, "name", label["name"])
        _text(one, "type", label["type"])
        attributes = SubElement(one, "attributes")
        for attribute in label["attributes"]:
            described = SubElement(attributes, "attribute")
            _text(described, "name", attribute["name"])
            _text(described, "mutable", "False")
            _text(described, "input_type", attribute["input_type"])
            _text(described, "default_value", attribute["default_value"])
            _text(described, "values", "\n".join(attribute["values"]))
    return meta


def _image(number: int, picture: Picture, items: Sequence[items_pb2.Item]) -> Element:
    size = {"width": str(picture.width), "height": str(picture.height)}
    image = Element("image", {"id": str(number), "name": picture.name, **size})
    order = count()
    for item in items:
        for said in _best(item):
            _annotate(image, said, order)
    return image


def _annotate(image: Element, said: SaidLabel, order: Iterator[int]) -> None:
    source = {"source": "manual" if said.by == HUMAN else "auto"}
    if said.label.WhichOneof("payload") == "class_label":
        tag = {"label": said.label.class_label.class_name, **source}
        _attribute(SubElement(image, "tag", tag), said)
    for box in said.label.boxes.boxes:
        sides = {"xtl": box.x_min, "ytl": box.y_min, "xbr": box.x_max, "ybr": box.y_max}
        placed = {name: f"{value:.2f}" for name, value in sides.items()}
        shape = {"label": box.class_name, **source, "occluded": "0", **placed}
        _attribute(SubElement(image, "box", {**shape, "z_order": str(next(order))}), said)


def _attribute(annotation: Element, said: SaidLabel) -> None:
    probability = "" if said.score is None else f"{said.score:.4f}"
    for name, value in (("by", said.by), ("probability", probability)):
        _text(annotation, "attribute", value, name=name)


def _text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text
