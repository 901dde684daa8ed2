"""A person at a terminal sees every kind of content and label, and can name another label."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from google.protobuf.message import Message
from rich.console import Console

from relabel_service.cli import label as label_cli
from relabel_service.cli import main, render
from relabel_service.errors import InvalidInput
from relabel_service.media import prefixes
from relabel_service.v1 import items_pb2, labels_pb2, leases_pb2
from relabel_service.wire.label_text import label_text
from tests.data import png

WHITE = png.encode(np.full((8, 8), 255, np.uint8))
TOKENS = items_pb2.Content(tokens=items_pb2.TokensContent(tokens=["Ann", "Lee", "left", "Rome"]))


def sound() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(4000) / 5), 8000, format="WAV")
    return file.getvalue()


CONTENTS = {
    "text": (items_pb2.Content(text=items_pb2.TextContent(text="hello")), "hello"),
    "image": (
        items_pb2.Content(image=items_pb2.MediaContent(data=WHITE, media_type="image/png")),
        "▀▀▀▀▀▀▀▀",
    ),
    "audio": (
        items_pb2.Content(audio=items_pb2.MediaContent(data=sound(), media_type="audio/wav")),
        "0.50 s",
    ),
    "tokens": (TOKENS, "0Ann 1Lee 2left 3Rome"),
    "fields": (items_pb2.Content(fields=items_pb2.FieldsContent(fields={"age": "7"})), "age  7"),
}

CLASS = labels_pb2.Label(class_label=labels_pb2.ClassLabel(class_name="cat"))
SPANS = labels_pb2.Label(
    spans=labels_pb2.SpansLabel(spans=[labels_pb2.Span(start=0, end=2, class_name="PER")])
)
BOXES = labels_pb2.Label(
    boxes=labels_pb2.BoxesLabel(boxes=[labels_pb2.Box(x_min=1, x_max=2, class_name="PER")])
)


def item(content: items_pb2.Content, human_label: labels_pb2.Label) -> items_pb2.Item:
    return items_pb2.Item(
        row_id="r1", unit="PER", content=content, human_label=human_label, reason="why"
    )


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the person types, line by line."""
    lines: list[str] = []
    monkeypatch.setattr(Console, "input", lambda *args, **kwargs: lines.pop(0))
    yield lines
    assert not lines


@pytest.mark.parametrize(
    "payload", [field.name for field in items_pb2.Content.DESCRIPTOR.oneofs[0].fields]
)
def test_every_content_can_be_seen(
    payload: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    content, shown = CONTENTS[payload]
    assert shown in render.content_text(item(content, CLASS)).plain


def test_a_picture_in_the_message_keeps_its_colours() -> None:
    shown = render.content_text(item(CONTENTS["image"][0], CLASS))
    assert {str(span.style) for span in shown.spans} == {"#ffffff on #ffffff"}


def test_media_out_of_reach_are_named_by_their_address() -> None:
    content = items_pb2.Content(image=items_pb2.MediaContent(uri="/nowhere/1.png"))
    with prefixes.only_under(["/nowhere"]):
        shown = render.content_text(item(content, CLASS)).plain
    assert shown.startswith("/nowhere/1.png\n")
    assert "cannot be read" in shown


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_a_terminal_opens_no_address_but_under_what_is_allowed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "media"
    path.write_bytes(WHITE if kind == "image" else sound())
    content = items_pb2.Content()
    getattr(content, kind).uri = str(path)
    shown_item = item(content, CLASS)
    closed = render.content_text(shown_item).plain
    assert str(path) in closed
    assert "is not opened" in closed
    assert "--media-prefix" in closed
    with prefixes.only_under([str(tmp_path)]):
        assert "is not opened" not in render.content_text(shown_item).plain


def test_spans_are_told_with_their_words() -> None:
    assert label_text(SPANS, item(TOKENS, SPANS)) == "PER 0-1 (Ann Lee)"
    nothing = labels_pb2.Label(spans=labels_pb2.SpansLabel())
    assert label_text(nothing, item(TOKENS, SPANS)) == "no entity"


def test_a_label_of_no_known_kind_is_told_and_typed_as_json(typing: list[str]) -> None:
    asked = item(CONTENTS["image"][0], labels_pb2.Label())
    assert label_text(labels_pb2.Label(), asked) == "{}"
    typing.append('{"boxes": {"boxes": [{"xMin": 1, "xMax": 2, "className": "PER"}]}}')
    assert render.ask_label(asked, ["PER"], Console(file=io.StringIO())) == BOXES


def test_boxes_are_told_and_typed_by_their_corners(typing: list[str]) -> None:
    asked = item(CONTENTS["image"][0], BOXES)
    assert label_text(BOXES, asked) == "PER (1, 0, 2, 0)"
    nothing = labels_pb2.Label(boxes=labels_pb2.BoxesLabel())
    assert label_text(nothing, asked) == "no box"
    typing.append("1 2 3.5 4; 5,6,7,8")
    chosen = render.ask_label(asked, ["PER"], Console(file=io.StringIO()))
    assert chosen is not None
    assert [(b.x_min, b.y_min, b.x_max, b.y_max, b.class_name) for b in chosen.boxes.boxes] == [
        (1, 2, 3.5, 4, "PER"),
        (5, 6, 7, 8, "PER"),
    ]
    typing.append("1 2 3")
    assert render.ask_label(asked, ["PER"], Console(file=io.StringIO())) is None


def test_a_class_is_chosen_by_its_number(typing: list[str]) -> None:
    typing.append("2")
    asked = item(CONTENTS["text"][0], CLASS)
    chosen = render.ask_label(asked, ["cat", "dog"], Console(file=io.StringIO()))
    assert chosen is not None
    assert chosen.class_label.class_name == "dog"


def test_spans_are_typed_as_ranges_of_tokens(typing: list[str]) -> None:
    typing.append("0-1 3")
    chosen = render.ask_label(item(TOKENS, SPANS), ["PER"], Console(file=io.StringIO()))
    assert chosen is not None
    assert [(s.start, s.end, s.class_name) for s in chosen.spans.spans] == [
        (0, 2, "PER"),
        (3, 4, "PER"),
    ]


SEQUENCE = labels_pb2.Label(sequence=labels_pb2.SequenceLabel(text="a b"))


@pytest.mark.parametrize(("typed", "text"), [("2", "second"), ("3", "3"), ("a c", "a c")])
def test_a_sequence_is_a_suggestion_s_number_or_a_text(
    typed: str, text: str, typing: list[str]
) -> None:
    asked = item(CONTENTS["text"][0], SEQUENCE)
    for one in ("first", "second"):
        label = labels_pb2.Label(sequence=labels_pb2.SequenceLabel(text=one))
        asked.suggestions.add(label=label, probability=0.5)
    typing.append(typed)
    out = io.StringIO()
    chosen = render.ask_label(asked, [], Console(file=out))
    assert chosen is not None
    assert chosen.sequence.text == text
    assert "2 second" in out.getvalue()
    assert label_text(SEQUENCE, asked) == "a b"


def test_a_click_is_yes_or_no(typing: list[str]) -> None:
    click = labels_pb2.Label(click=labels_pb2.ClickLabel(clicked=False))
    typing.append("y")
    chosen = render.ask_label(item(CONTENTS["fields"][0], click), [], Console(file=io.StringIO()))
    assert chosen is not None
    assert chosen.click.clicked
    assert label_text(click, item(CONTENTS["fields"][0], click)) == "not clicked"


def test_what_is_no_label_is_asked_again(typing: list[str]) -> None:
    lease = leases_pb2.Lease(token="t", item=item(TOKENS, SPANS))
    typing.extend(["o", "first", "o", "2-4", "o", "3-2", "o", "3"])
    console = Console(file=io.StringIO(), width=100)
    result = label_cli.ask(lease, ["PER"], console)
    assert result is not None
    assert result.label.spans.spans[0].start == 3


def test_the_screen_shows_content_label_and_reason() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(label_cli.screen(item(TOKENS, SPANS)))
    for shown in ("r1 · PER", "Ann Lee", "human label", "why"):
        assert shown in out.getvalue()


def test_the_preferred_label_is_shown_and_taken_with_one_key(typing: list[str]) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100)
    asked = item(CONTENTS["text"][0], CLASS)
    typing.extend(["p", "q"])  # no label is preferred: p is no choice
    assert label_cli.ask(leases_pb2.Lease(token="t", item=asked), ["cat", "dog"], console) is None
    asked.preferred_label.class_label.class_name = "dog"
    typing.append("p")
    result = label_cli.ask(leases_pb2.Lease(token="t", item=asked), ["cat", "dog"], console)
    assert result is not None
    assert result.decision == leases_pb2.DECISION_RELABEL
    assert result.label.class_label.class_name == "dog"
    assert "preferred    dog" in out.getvalue()


def test_a_kept_file_holds_the_message_s_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    content = CONTENTS["audio"][0]
    path = Path(render.content_text(item(content, CLASS)).plain.splitlines()[-1])
    assert path.read_bytes() == content.audio.data


HOSTILE = "[red]a[/red]\x1b[2J\x9b1m\u202eb\u2066"
SEEN = "[red]a[/red]⟨U+001B⟩[2J⟨U+009B⟩1m⟨U+202E⟩b⟨U+2066⟩"


def hostile_texts(message: Message) -> None:
    """Set every text in the message and below to HOSTILE."""
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.type == field.TYPE_STRING and field.is_repeated:
            value[:] = [HOSTILE]
        elif field.type == field.TYPE_STRING:
            setattr(message, field.name, HOSTILE)
        elif field.message_type and field.message_type.GetOptions().map_entry:
            value.clear()
            value[HOSTILE] = HOSTILE
        elif field.message_type and field.is_repeated:
            for each in value:
                hostile_texts(each)
        elif field.message_type and message.HasField(field.name):
            hostile_texts(value)


@pytest.mark.parametrize("payload", CONTENTS)
def test_nothing_of_an_item_reaches_the_terminal_as_escapes_or_markup(
    payload: str, typing: list[str]
) -> None:
    labels = [CLASS, SPANS, BOXES, labels_pb2.Label(sequence=labels_pb2.SequenceLabel(text="a"))]
    for label in labels:
        shown = item(CONTENTS[payload][0], label)
        shown.preferred_label.CopyFrom(label)
        shown.suggestions.add(label=label, probability=0.5)
        hostile_texts(shown)
        out = io.StringIO()
        console = Console(file=out, width=500, no_color=True)
        typing.append("q")
        assert label_cli.ask(leases_pb2.Lease(item=shown), [HOSTILE], console) is None
        typing.extend(["1"] if label is CLASS else ["x"])
        render.ask_label(shown, [HOSTILE], console)
        printed = out.getvalue()
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", printed)
        assert printed.count(SEEN) >= 4


def test_an_error_that_quotes_a_row_is_harmless(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise InvalidInput.of("label", f"{HOSTILE} is not a class")

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit):
        main.main()
    said = " ".join(capsys.readouterr().err.split())
    assert said == f"relabel: label: {SEEN} is not a class"
