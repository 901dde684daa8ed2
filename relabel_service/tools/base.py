"""What every labeling tool shares: the items that are handed over, and how a folder is written.

An item is the contract's own (items.proto), whatever it was read from, so that what a tool is
given is what a frontend of the service would show.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from relabel_service.errors import InvalidInput
from relabel_service.media import fetch, images, prefixes
from relabel_service.tables import files
from relabel_service.tables.formats.media import FileNames, file_stem
from relabel_service.v1 import items_pb2, labels_pb2

HUMAN, MODEL, PREFERRED = "human", "model", "preferred"  # who says a label
SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif", "image/webp": ".webp"}
SUFFIXES |= {"image/bmp": ".bmp"}


@dataclass(frozen=True)
class Handover:
    """Items to hand over.

    task: name of theirs. classes: those that labels may name, beside those that the items' do.
    items: in the order they should be labelled; read once. opened_under: folders and stores whose
    addresses are opened. notes: what the user should be told when all is written, with counts.
    """

    task: str
    classes: Sequence[str]
    items: Iterable[items_pb2.Item]
    opened_under: Sequence[str] = ()
    notes: Counter[str] = field(default_factory=Counter)

    def load(self, media: items_pb2.MediaContent) -> bytes:
        """The bytes of a picture or a sound. Raises InvalidInput when they cannot be had."""
        if not media.uri:
            return media.data
        with prefixes.only_under(self.opened_under):
            return fetch.load(media.uri)


@contextmanager
def naming(item: items_pb2.Item) -> Iterator[None]:
    """Within it, what is wrong with an item's picture or sound is told with the row's id."""
    try:
        yield
    except InvalidInput as error:
        description = error.violations[0].description
        raise InvalidInput.of("table", f"row {item.row_id!r}: {description}") from None


class Tool(Protocol):
    """One labeling tool. `name` is what --to takes, `tasks` what it can label."""

    name: str
    tasks: Sequence[str]

    def write(self, handover: Handover, path: str) -> int:
        """Write a new folder; the number of items in it. Raises InvalidInput naming an item that
        cannot be handed over."""


@dataclass(frozen=True)
class SaidLabel:
    """A label of an item. by: HUMAN, MODEL, or PREFERRED of whoever looked for the item by a
    pattern. score: in [0, 1], higher is more likely right; None where nothing says it. rank: 0 is
    whoever's best, and higher for the model's further suggestions."""

    by: str
    label: labels_pb2.Label
    score: float | None
    rank: int = 0


def said_labels(item: items_pb2.Item) -> Iterator[SaidLabel]:
    """The human label, a preferred one, and the model's suggestions, the most probable first."""
    scored = bool(item.suggestions) or bool(item.reason)
    yield SaidLabel(HUMAN, item.human_label, 1 - item.suspicion if scored else None)
    if item.HasField("preferred_label"):
        yield SaidLabel(PREFERRED, item.preferred_label, None)
    for rank, suggestion in enumerate(item.suggestions):
        yield SaidLabel(MODEL, suggestion.label, suggestion.probability, rank)


def classes_of(label: labels_pb2.Label) -> list[str]:
    """The classes that a label names."""
    kind = label.WhichOneof("payload")
    if kind == "class_label":
        return [label.class_label.class_name]
    if kind == "spans":
        return [span.class_name for span in label.spans.spans]
    if kind == "boxes":
        return [box.class_name for box in label.boxes.boxes]
    return []


@dataclass(frozen=True)
class Picture:
    """A picture that was written. name: of its file; width and height: in upright pixels."""

    name: str
    width: int
    height: int


class Pictures:
    """The pictures of items as files of a folder, one for each row of the table.

    Several items may be of one row: its picture is written once. A file's name is the row's id, as
    far as file systems take it, so that a tool's own export says which row it is.
    """

    def __init__(self, folder: str, handover: Handover) -> None:
        self._folder, self._handover = folder, handover
        self._written: dict[str, Picture] = {}
        self._names = FileNames()

    def write(self, item: items_pb2.Item) -> Picture:
        """Raises InvalidInput naming the row whose picture cannot be read."""
        if item.row_id not in self._written:
            with naming(item):
                data, kind = images.for_browser(self._handover.load(item.content.image))
                width, height = images.size(data)
            name = self._names.free(file_stem(item.row_id) + SUFFIXES.get(kind, ".png"))
            files.write(files.join(self._folder, name), data)
            self._written[item.row_id] = Picture(name, width, height)
        return self._written[item.row_id]


def by_row(items: Iterable[items_pb2.Item]) -> dict[str, list[items_pb2.Item]]:
    """Items of one row together, in the order of the first; without their contents."""
    rows: dict[str, list[items_pb2.Item]] = {}
    for item in items:
        light = items_pb2.Item()
        light.CopyFrom(item)
        light.ClearField("content")
        rows.setdefault(item.row_id, []).append(light)
    return rows


def while_writing(
    items: Iterable[items_pb2.Item], write: Callable[[items_pb2.Item], object]
) -> Iterator[items_pb2.Item]:
    """The items, each after `write` was called with it."""
    for item in items:
        write(item)
        yield item
