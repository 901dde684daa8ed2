"""A finding's content and labels as markup, by the payload that is set.

text      the text, cut            class_label, click   the class names
image     a thumbnail, and boxes   boxes                drawn on it: ours solid, theirs dashed
audio     a player                 spans                marked in the tokens
tokens    marked tokens            sequence             words that differ, struck and inserted
fields    a table of values
"""

from collections.abc import Callable, Iterator, Mapping
from difflib import SequenceMatcher
from itertools import groupby

from cluster.report import media
from cluster.report.items import Item
from cluster.report.markup import Html, cut, join, tag
from cluster.report.rows import TableRows
from relabel_service.errors import InvalidInput
from relabel_service.tasks.scripts import words
from relabel_service.v1 import items_pb2, labels_pb2

LEAST_MEDIUM_BYTES = 1_000  # where less is left of a page, nothing is decoded for it
MAX_LABEL = 600  # characters of a label in words
MAX_TOKENS = 400
MAX_FIELDS = 60
MAX_BOXES = 200  # of one labelling that are drawn
MAX_WORDS = 400  # of a generated text that are compared
NEEDS_MEDIA = "not shown: pip install 'relabel-service[media]' where the report is written"
NO_ROOM = "left out: the page would become too large"


class Allowance:
    """What contents may still take of a page, in bytes: fair shares, or the least that a picture or
    sound takes, until all is taken, the worst items first.

    num_bytes: of all pictures and sounds. num_items: that share them. max_text: characters of one
    content's text.
    """

    def __init__(self, *, num_bytes: int, num_items: int, max_text: int) -> None:
        self._num_bytes, self._num_items, self.max_text = num_bytes, num_items, max_text

    def share(self) -> int:
        """Bytes that the next picture or sound may take; what earlier ones left goes to later."""
        return max(self._num_bytes // max(self._num_items, 1), 0)

    @property
    def is_spent(self) -> bool:
        """Whether not even another small picture or sound would find room."""
        return self._num_bytes < LEAST_MEDIUM_BYTES

    def has(self, num_bytes: int) -> bool:
        """Whether so much is left."""
        return num_bytes <= self._num_bytes

    def take(self, num_bytes: int) -> None:
        """Count what one picture or sound took, as far as there was room for it."""
        self._num_items -= 1
        self._num_bytes -= num_bytes if self.has(num_bytes) else 0


def content_html(item: Item, rows: TableRows, allowance: Allowance) -> Html:
    """What is labelled, with the labels in it where they are places."""
    payload = item.content.WhichOneof("payload") or ""
    show = CONTENT.get(payload)
    return tag("p", "(nothing to show)") if show is None else show(item, rows, allowance)


def labels_html(item: Item, allowance: Allowance) -> Html:
    """The human label, what the model says and what people decided, in words."""
    payload = item.label.WhichOneof("payload") or ""
    best = item.suggestions[0] if item.suggestions else None
    entries = [_entry("label", "given", cut(item.label_words, MAX_LABEL))]
    for number, suggestion in enumerate(item.suggestions):
        shown: str = cut(suggestion.words, MAX_LABEL)
        if payload == "sequence" and suggestion is best:
            shown = _differences(item.label.sequence.text, suggestion.label.sequence.text)
        likely = tag("small", f" {suggestion.probability:.0%}")
        name, kind = ("model", "model") if number == 0 else ("or", "other")
        entries.append(_entry(name, kind, join(tag("bdi", shown), likely)))
    if item.decided is not None:
        state = "confirmed" if item.decided == item.label else "changed"
        words = join(tag("bdi", cut(item.decided_words, MAX_LABEL)), tag("small", f" {state}"))
        entries.append(_entry("decided", "decided", words))
    return tag("dl", *entries)


def _entry(name: str, kind: str, value: str) -> Html:
    shown = value if isinstance(value, Html) else tag("bdi", value)
    return tag("div", tag("dt", name), tag("dd", shown), class_=kind)


def _text(item: Item, rows: TableRows, allowance: Allowance) -> Html:
    return tag("p", cut(item.content.text.text, allowance.max_text), class_="text", dir="auto")


def _image(item: Item, rows: TableRows, allowance: Allowance) -> Html:
    best = item.suggestions[0].label if item.suggestions else None

    def show(data: bytes, max_bytes: int) -> tuple[Html, int]:
        small = media.thumbnail(data, max_bytes=max_bytes)
        drawn = [*_rects(item.label, "given"), *(_rects(best, "model") if best else ())]
        picture = tag("image", href=small.uri, width=small.width, height=small.height)
        about = f"picture of {item.id}, {small.width} by {small.height} pixels"
        if drawn:
            about += f"; label: {item.label_words[:MAX_LABEL]}"
            about += f"; model: {item.suggestions[0].words[:MAX_LABEL]}" if best else ""
        frame = tag(
            "svg",
            picture,
            *drawn,
            viewBox=f"0 0 {small.width} {small.height}",
            preserveAspectRatio="xMinYMin",
            role="img",
            aria_label=about,
            class_="tiny" if max(small.width, small.height) <= media.LOSSLESS_SIDE else None,
        )
        return frame, small.num_bytes

    return _medium(item.content.image, rows, allowance, show)


def _rects(label: labels_pb2.Label, kind: str) -> Iterator[Html]:
    for box in label.boxes.boxes[:MAX_BOXES]:
        title = tag("title", f"{'label' if kind == 'given' else 'model'}: {box.class_name}")
        yield tag(
            "g",
            title,
            tag(
                "rect",
                x=f"{box.x_min:g}",
                y=f"{box.y_min:g}",
                width=f"{max(box.x_max - box.x_min, 0):g}",
                height=f"{max(box.y_max - box.y_min, 0):g}",
            ),
            class_=kind,
        )


def _audio(item: Item, rows: TableRows, allowance: Allowance) -> Html:
    def show(data: bytes, max_bytes: int) -> tuple[Html, int]:
        sound = media.clip(data, max_bytes=max_bytes)
        player = tag("audio", controls=True, src=sound.uri, aria_label=f"sound of {item.id}")
        length = f"{sound.duration_s:.1f} s"
        if sound.clip_s < sound.duration_s:
            length += f", of which the first {sound.clip_s:.0f} are here"
        return join(player, tag("small", length)), sound.num_bytes

    return _medium(item.content.audio, rows, allowance, show)


def _medium(
    content: items_pb2.MediaContent,
    rows: TableRows,
    allowance: Allowance,
    show: Callable[[bytes, int], tuple[Html, int]],
) -> Html:
    """What `show` makes of the bytes, or why it is not shown."""
    address = tag("p", cut(content.uri, MAX_LABEL), class_="address") if content.uri else None
    figure, taken = tag("p", NO_ROOM, class_="fault"), 0
    try:
        if not allowance.is_spent:
            shown, taken = show(rows.media(content), allowance.share())
            figure = shown if allowance.has(taken) else figure
    except ImportError:
        figure = tag("p", NEEDS_MEDIA, class_="fault")
    except InvalidInput as error:
        figure = tag("p", f"not shown: {error}", class_="fault")
    allowance.take(taken)
    return tag("figure", figure, address)


def _tokens(item: Item, rows: TableRows, allowance: Allowance) -> Html:
    """Tokens of the label's spans, of the model's and of both are marked, each in its way."""
    tokens = item.content.tokens.tokens
    best = item.suggestions[0].label if item.suggestions else None
    given, model = _classes_by_token(item.label), _classes_by_token(best)
    start = _first_shown(given | model, len(tokens))
    shown: list[str] = ["… "] if start else []
    places = range(start, min(start + MAX_TOKENS, len(tokens)))
    for key, run in groupby(places, key=lambda place: (given.get(place), model.get(place))):
        words_of_run = " ".join(tokens[place] for place in run)
        shown += [_marked(cut(words_of_run, allowance.max_text), *key), " "]
    if start + MAX_TOKENS < len(tokens):
        shown.append(f"… ({len(tokens) - start - MAX_TOKENS:,} tokens more)")
    return tag("p", *shown, class_="tokens", dir="auto")


def _classes_by_token(label: labels_pb2.Label | None) -> dict[int, tuple[int, str]]:
    """Place of a token -> its span's start, which keeps neighbouring spans apart, and class."""
    spans = () if label is None else label.spans.spans
    return {
        place: (span.start, span.class_name)
        for span in spans
        for place in range(span.start, span.end)
    }


def _first_shown(named: Mapping[int, object], num_tokens: int) -> int:
    """0, unless the first token that a labelling names would lie beyond those shown."""
    first = min(named, default=0)
    if first <= MAX_TOKENS // 2:
        return 0
    return max(min(first - MAX_TOKENS // 4, num_tokens - MAX_TOKENS), 0)


def _marked(text: str, given: tuple[int, str] | None, model: tuple[int, str] | None) -> str:
    if given is None and model is None:
        return text
    if given is not None and model is not None and given[1] == model[1]:
        return tag("mark", tag("bdi", text), tag("sub", f"both {given[1]}"), class_="both")
    subs = [
        tag("sub", f"{name} {entity[1]}")
        for name, entity in (("label", given), ("model", model))
        if entity is not None
    ]
    kinds = [name for name, entity in (("given", given), ("model", model)) if entity is not None]
    return tag("mark", tag("bdi", text), *subs, class_=" ".join(kinds))


def _fields(item: Item, rows: TableRows, allowance: Allowance) -> Html:
    fields = sorted(item.content.fields.fields.items())
    lines = [
        tag("tr", tag("th", cut(name, MAX_LABEL), scope="row"), tag("td", cut(value, MAX_LABEL)))
        for name, value in fields[:MAX_FIELDS]
    ]
    more = len(fields) - MAX_FIELDS
    left = tag("p", f"and {more} fields more") if more > 0 else None
    return tag("div", tag("table", *lines), left, class_="fields")


CONTENT: Mapping[str, Callable[[Item, TableRows, Allowance], Html]] = {
    "text": _text,
    "image": _image,
    "audio": _audio,
    "tokens": _tokens,
    "fields": _fields,
}


def _differences(label: str, suggestion: str) -> Html:
    """The suggestion, with the label's words that it lacks struck and its own marked."""
    before, after = words(label)[:MAX_WORDS], words(suggestion)[:MAX_WORDS]
    shown: list[str] = []
    for kind, i, j, k, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            shown += [" ".join(before[i:j]), " "]
            continue
        if i < j:
            shown += [tag("del", " ".join(before[i:j])), " "]
        if k < end:
            shown += [tag("ins", " ".join(after[k:end])), " "]
    if max(len(words(label)), len(words(suggestion))) > MAX_WORDS:
        shown.append(f"… (the first {MAX_WORDS} words)")
    return join(*shown)
