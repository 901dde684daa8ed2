"""How the entities of a label differ from those a model sees, class by class."""

from collections.abc import Sequence
from dataclasses import dataclass

from relabel_service.tasks.spans import Span

KINDS = ("missing", "spurious", "wrong type", "wrong boundary")
TOLD = 3  # differences that a reason names


@dataclass(frozen=True)
class Fault:
    """One difference. given: the label's span, None where it is missing; seen: the model's."""

    kind: str
    given: Span | None
    seen: Span | None


def faults(given: Sequence[Span], seen: Sequence[Span], class_name: str) -> list[Fault]:
    """What is wrong with the label's spans of a class, if the model is right.

    given, seen: all spans of the label and of the model, each without overlaps.
    """
    agreed = set(given) & set(seen)
    ours = [span for span in given if span.class_name == class_name and span not in agreed]
    theirs = [span for span in seen if span.class_name == class_name and span not in agreed]
    found = [_of_given(span, [one for one in seen if one not in agreed]) for span in ours]
    explained = {fault.seen for fault in found}
    for span in theirs:
        if span in explained:
            continue
        over = [one for one in given if one.overlaps(span) and one not in agreed]
        if any(one.class_name == class_name for one in over):
            found.append(Fault("wrong boundary", None, span))
        elif over:
            found.append(Fault("wrong type", over[0], span))
        else:
            found.append(Fault("missing", None, span))
    return sorted(found, key=lambda fault: fault.given or fault.seen or ())


def reason(found: Sequence[Fault], tokens: Sequence[str]) -> str:
    """The differences in words, the first few of them."""
    told = [_in_words(fault, tokens) for fault in found[:TOLD]]
    rest = [f"{len(found) - TOLD} more"] if len(found) > TOLD else []
    return "; ".join([*told, *rest])


def _of_given(span: Span, seen: Sequence[Span]) -> Fault:
    over = [one for one in seen if one.overlaps(span)]
    same_class = [one for one in over if one.class_name == span.class_name]
    if same_class:
        return Fault("wrong boundary", span, same_class[0])
    if over:
        same_range = [one for one in over if one[:2] == span[:2]]
        return Fault("wrong type", span, (same_range or over)[0])
    return Fault("spurious", span, None)


def _in_words(fault: Fault, tokens: Sequence[str]) -> str:
    given, seen = fault.given, fault.seen
    if given is None:
        assert seen is not None
        return f"{fault.kind}: model sees {_quoted(seen, tokens)}"
    if seen is None:
        return f"{fault.kind}: model sees no entity in {_quoted(given, tokens)}"
    return f"{fault.kind}: {_quoted(given, tokens)} is {_quoted(seen, tokens)} for the model"


def _quoted(span: Span, tokens: Sequence[str]) -> str:
    words = " ".join(tokens[span.start : span.end])
    return f"'{words}' ({span.class_name}, {span.start}-{span.end - 1})"
