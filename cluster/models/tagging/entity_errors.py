"""How the entities of a label differ from those that a model predicts, class by class."""

from collections.abc import Sequence
from dataclasses import dataclass

from relabel_service.tasks.spans import Span

KINDS = ("missing", "spurious", "wrong type", "wrong boundary")
NUM_IN_REASON = 3  # differences that a reason names


@dataclass(frozen=True)
class EntityError:
    """One difference. label: the label's span, None where it has none; predicted: the model's."""

    kind: str
    label: Span | None
    predicted: Span | None


def entity_errors(
    label: Sequence[Span], predicted: Sequence[Span], class_name: str
) -> list[EntityError]:
    """What is wrong with the label's spans of a class, if the model is right.

    label, predicted: all spans of the label and of the model, each without overlaps.
    """
    agreed = set(label) & set(predicted)
    ours = [span for span in label if span.class_name == class_name and span not in agreed]
    theirs = [span for span in predicted if span.class_name == class_name and span not in agreed]
    errors = [
        _of_label(span, [other for other in predicted if other not in agreed]) for span in ours
    ]
    explained = {error.predicted for error in errors}
    for span in theirs:
        if span in explained:
            continue
        over = [other for other in label if other.overlaps(span) and other not in agreed]
        if any(other.class_name == class_name for other in over):
            errors.append(EntityError("wrong boundary", None, span))
        elif over:
            errors.append(EntityError("wrong type", over[0], span))
        else:
            errors.append(EntityError("missing", None, span))
    return sorted(errors, key=lambda error: error.label or error.predicted or ())


def reason(errors: Sequence[EntityError], tokens: Sequence[str]) -> str:
    """The differences in words, the first few of them; empty where there are none."""
    words = [_in_words(error, tokens) for error in errors[:NUM_IN_REASON]]
    if len(errors) > NUM_IN_REASON:
        words.append(f"{len(errors) - NUM_IN_REASON} more")
    return "; ".join(words)


def _of_label(span: Span, predicted: Sequence[Span]) -> EntityError:
    """What is wrong with a span of the label that the model does not have."""
    over = [other for other in predicted if other.overlaps(span)]
    same_class = [other for other in over if other.class_name == span.class_name]
    if same_class:
        return EntityError("wrong boundary", span, same_class[0])
    if over:
        same_range = [other for other in over if other[:2] == span[:2]]
        return EntityError("wrong type", span, (same_range or over)[0])
    return EntityError("spurious", span, None)


def _in_words(error: EntityError, tokens: Sequence[str]) -> str:
    label, predicted = error.label, error.predicted
    if label is None:
        assert predicted is not None
        return f"{error.kind}: model sees {_quoted(predicted, tokens)}"
    if predicted is None:
        return f"{error.kind}: model sees no entity in {_quoted(label, tokens)}"
    return f"{error.kind}: {_quoted(label, tokens)} is {_quoted(predicted, tokens)} for the model"


def _quoted(span: Span, tokens: Sequence[str]) -> str:
    words = " ".join(tokens[span.start : span.end])
    return f"'{words}' ({span.class_name}, {span.start}-{span.end - 1})"
