"""What a person at a terminal sees of an item, and how they name another label.

One function for each kind of content, and of label that can be typed, looked up by the payload
that is set, so that the terminal (label.py) never asks which task it is. A label without a prompt
of its own is typed as the protos' JSON; wire/label_text.py has labels in words. Nothing of an item
reaches the terminal as an escape or as rich's markup.
"""

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from google.protobuf.json_format import MessageToJson, Parse, ParseError
from rich.console import Console
from rich.markup import escape
from rich.prompt import Prompt
from rich.text import Text

from relabel_service.errors import InvalidInput
from relabel_service.media import audio, fetch, images, prefixes
from relabel_service.v1 import items_pb2, labels_pb2
from relabel_service.visible import visible

NEEDS_MEDIA = "pip install 'relabel-service[media]' to see it here"


def content_text(item: items_pb2.Item) -> Text:
    """What is to be labelled."""
    payload = item.content.WhichOneof("payload")
    return CONTENT[payload](item.content) if payload else Text("(nothing to show)")


def ask_label(
    item: items_pb2.Item, classes: Sequence[str], console: Console
) -> labels_pb2.Label | None:
    """Another label, read from the person; None when what they typed is not a label."""
    ask = ASK.get(item.human_label.WhichOneof("payload") or "", _ask_json)
    try:
        return ask(item, classes, console)
    except InvalidInput as error:
        console.print(f"[yellow]{harmless(error.violations[0].description)}[/yellow]")
        return None


def harmless(text: str) -> str:
    """A text of others, to be put into rich's markup."""
    return escape(visible(text))


def _text(content: items_pb2.Content) -> Text:
    return Text(visible(content.text.text))


def _image(content: items_pb2.Content) -> Text:
    try:
        return images.in_blocks(_media_bytes(content.image))
    except (ImportError, InvalidInput) as error:
        reason = NEEDS_MEDIA if isinstance(error, ImportError) else str(error)
        return Text(visible(f"{_where(content.image)}\n{reason}"))


def _audio(content: items_pb2.Content) -> Text:
    try:
        shown = audio.in_blocks(_media_bytes(content.audio))
    except (ImportError, InvalidInput) as error:
        shown = Text(NEEDS_MEDIA if isinstance(error, ImportError) else visible(str(error)))
    return shown.append(visible(f"\n{_where(content.audio)}"))


def _tokens(content: items_pb2.Content) -> Text:
    """The tokens, each with its number, by which spans are named."""
    shown = Text()
    for number, token in enumerate(content.tokens.tokens):
        shown.append(f"{number}", "dim").append(f"{visible(token)} ")
    return shown


def _fields(content: items_pb2.Content) -> Text:
    fields = sorted(content.fields.fields.items())
    return Text(visible("\n".join(f"{name}  {value}" for name, value in fields)))


CONTENT: Mapping[str, Callable[[items_pb2.Content], Text]] = {
    "text": _text,
    "image": _image,
    "audio": _audio,
    "tokens": _tokens,
    "fields": _fields,
}


def _media_bytes(content: items_pb2.MediaContent) -> bytes:
    """Addresses are opened only within prefixes.only_under, and under what it says."""
    if not content.uri:
        return content.data
    prefixes.require(content.uri, prefixes.allowed() or ())
    return fetch.load(content.uri)


def _where(content: items_pb2.MediaContent) -> str:
    """The address of the media; what came in the message is kept in a file, to be opened."""
    if content.uri:
        return content.uri
    name = sha256(content.data).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"relabel-{name}.{content.media_type.rpartition('/')[2]}"
    path.write_bytes(content.data)
    return str(path)


def _ask_class(item: items_pb2.Item, classes: Sequence[str], console: Console) -> labels_pb2.Label:
    for number, name in enumerate(classes, 1):
        console.print(f"  [bold]{number}[/bold] {harmless(name)}")
    numbers = [str(number) for number in range(1, len(classes) + 1)]
    choice = Prompt.ask("label", choices=numbers, show_choices=False, console=console)
    name = classes[int(choice) - 1]
    return labels_pb2.Label(class_label=labels_pb2.ClassLabel(class_name=name))


def _ask_spans(item: items_pb2.Item, classes: Sequence[str], console: Console) -> labels_pb2.Label:
    """First and last token of each entity of the item's class: 3-5 8 is two entities."""
    asked = f"each {item.unit} as first-last token, such as 3-5 8; nothing for none"
    typed = Prompt.ask(harmless(asked), default="", show_default=False, console=console)
    spans, num_tokens = [], len(item.content.tokens.tokens)
    for entity in typed.split():
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", entity)
        if not match:
            raise InvalidInput.of("label", f"{entity!r} is not a range of tokens; type 3-5, or 8")
        start, last = int(match[1]), int(match[2] or match[1])
        if not start <= last < num_tokens:
            raise InvalidInput.of("label", f"{entity!r} leaves tokens 0 to {num_tokens - 1}")
        spans.append(labels_pb2.Span(start=start, end=last + 1, class_name=item.unit))
    return labels_pb2.Label(spans=labels_pb2.SpansLabel(spans=spans))


def _ask_boxes(item: items_pb2.Item, classes: Sequence[str], console: Console) -> labels_pb2.Label:
    """Pixels of each box of the item's class: 3 5 20 40; 0 0 9 9 is two boxes."""
    asked = f"every {item.unit} as x0 y0 x1 y1; the next after a semicolon; nothing for none"
    typed = Prompt.ask(harmless(asked), default="", show_default=False, console=console)
    boxes = []
    for box in filter(str.strip, typed.split(";")):
        try:
            left, top, right, bottom = map(float, re.split(r"[\s,]+", box.strip()))
        except ValueError:
            raise InvalidInput.of("label", f"{box!r} is not a box; type 3 5 20 40") from None
        boxes.append(
            labels_pb2.Box(x_min=left, y_min=top, x_max=right, y_max=bottom, class_name=item.unit)
        )
    return labels_pb2.Label(boxes=labels_pb2.BoxesLabel(boxes=boxes))


def _ask_sequence(
    item: items_pb2.Item, classes: Sequence[str], console: Console
) -> labels_pb2.Label:
    """One of the suggestions by its number, or a text."""
    for number, suggestion in enumerate(item.suggestions, 1):
        console.print(f"  [bold]{number}[/bold] {harmless(suggestion.label.sequence.text)}")
    typed = Prompt.ask("number, or the text", console=console)
    if typed.isdecimal() and 1 <= int(typed) <= len(item.suggestions):
        return item.suggestions[int(typed) - 1].label
    if not typed.strip():
        raise InvalidInput.of("label", "is empty; type a text")
    return labels_pb2.Label(sequence=labels_pb2.SequenceLabel(text=typed))


def _ask_click(item: items_pb2.Item, classes: Sequence[str], console: Console) -> labels_pb2.Label:
    choice = Prompt.ask("clicked", choices=["y", "n"], console=console)
    return labels_pb2.Label(click=labels_pb2.ClickLabel(clicked=choice == "y"))


def _ask_json(item: items_pb2.Item, classes: Sequence[str], console: Console) -> labels_pb2.Label:
    console.print(Text(f"like {MessageToJson(item.human_label, indent=None)}", "dim"))
    typed = Prompt.ask("label as JSON", console=console)
    try:
        return Parse(typed, labels_pb2.Label())
    except ParseError as error:
        raise InvalidInput.of("label", f"{typed!r} is not a label ({error})") from None


ASK: Mapping[str, Callable[[items_pb2.Item, Sequence[str], Console], labels_pb2.Label]] = {
    "class_label": _ask_class,
    "spans": _ask_spans,
    "boxes": _ask_boxes,
    "sequence": _ask_sequence,
    "click": _ask_click,
}
