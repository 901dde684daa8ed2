"""Entities as ranges of tokens: their text form, and the way from and to BIO tags.

A label is a set of spans that do not overlap; its text form is the JSON list
[[start, end, class], ...] of half-open ranges, in order, so that equal labels are
equal strings.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from relabel_service.errors import InvalidInput

OUTSIDE, BEGIN, INSIDE = "O", "B-", "I-"


class Span(NamedTuple):
    """Tokens [start, end) name an entity of the class."""

    start: int
    end: int
    class_name: str

    def overlaps(self, other: "Span") -> bool:
        return self.start < other.end and other.start < self.end


def to_text(spans: Iterable[Span]) -> str:
    return json.dumps(
        [list(span) for span in sorted(spans)], ensure_ascii=False, separators=(",", ":")
    )


def from_text(label: str) -> list[Span]:
    return [Span(*span) for span in json.loads(label)]


def from_bio(tags: Sequence[object]) -> list[Span]:
    """The spans that BIO tags mean.

    An I- that follows no tag of its class begins an entity, as the CoNLL scorer reads
    it: data sets hold such tags. Raises InvalidInput when a tag is not BIO.
    """
    spans: list[Span] = []
    start, open_class = 0, ""
    for index, tag in enumerate([*tags, OUTSIDE]):
        kind, class_name = _kind_and_class(tag)
        if open_class and (kind != INSIDE or class_name != open_class):
            spans.append(Span(start, index, open_class))
            open_class = ""
        if kind != OUTSIDE and not open_class:
            start, open_class = index, class_name
    return spans


def to_bio(spans: Iterable[Span], num_tokens: int) -> list[str]:
    """The tags of so many tokens. Raises InvalidInput when a span ends beyond them."""
    spans = list(spans)
    if fault := fault_beyond(spans, num_tokens):
        raise InvalidInput.of("label", fault)
    tags = [OUTSIDE] * num_tokens
    for start, end, class_name in spans:
        tags[start] = BEGIN + class_name
        tags[start + 1 : end] = [INSIDE + class_name] * (end - start - 1)
    return tags


def fault_beyond(spans: Iterable[Span], num_tokens: int) -> str | None:
    """Why a span leaves its sequence, or None."""
    for start, end, _ in spans:
        if end > num_tokens:
            return f"span {start}-{end} ends beyond the {num_tokens} tokens; end it at {num_tokens}"
    return None


def fault_of(spans: Sequence[Span], classes: Sequence[str]) -> str | None:
    """Why the spans, in order, are not a label, or None. classes: allowed; any when empty."""
    for start, end, class_name in spans:
        if not 0 <= start < end:
            return f"span {start}-{end} is not a range of tokens; give 0 <= start < end"
        if not class_name.strip():
            return f"span {start}-{end} names no class; name one"
        if classes and class_name not in classes:
            return f"class {class_name!r} is not one of {', '.join(classes)}"
    for before, after in pairwise(spans):
        if before.overlaps(after):
            return (
                f"spans {before.start}-{before.end} {before.class_name} and "
                f"{after.start}-{after.end} {after.class_name} overlap; "
                "a token belongs to one entity at most"
            )
    return None


def _kind_and_class(tag: object) -> tuple[str, str]:
    """Kind and class of a tag."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if isinstance(tag, str) and tag[:2] in (BEGIN, INSIDE) and tag[2:].strip():
        return tag[:2], tag[2:]
    raise InvalidInput.of("label", f"tag {tag!r} is not BIO; give O, B-CLASS or I-CLASS")
