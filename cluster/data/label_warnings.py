"""What looks odd in a table's labels as a whole, though each row is valid: in words, for people.

Pure. Nothing is changed or refused for it.
"""

import re
import unicodedata
from collections.abc import Mapping

MAX_GROUPS = 5  # of near-identical names that get a sentence each


def near_identical(classes: Mapping[str, int]) -> list[str]:
    """Classes whose names differ in letter case, spaces, hyphens, underscores, a trailing `.0`, or
    signs that look alike. classes: rows that name each."""
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(_spelling(name), []).append(name)
    alike = [names for names in groups.values() if len(names) > 1]
    alike.sort(key=lambda names: -min(classes[name] for name in names))
    sentences = [_sentence(names, classes) for names in alike[:MAX_GROUPS]]
    if len(alike) > MAX_GROUPS:
        sentences.append(f"{len(alike) - MAX_GROUPS} more groups of class names differ as little")
    return sentences


def fractions(num_coordinates: int, largest: float) -> list[str]:
    """Where no coordinate is beyond 1. num_coordinates, largest: of all labels of the table."""
    if not num_coordinates or largest > 1:
        return []
    return [
        "all boxes lie within 0 and 1, as fractions of the picture do, but coordinates are read as "
        "pixels; multiply them by the width and height of each picture"
    ]


def _spelling(name: str) -> str:
    """The same for names that people would take for one."""
    visible = "".join(
        sign for sign in unicodedata.normalize("NFKC", name) if unicodedata.category(sign) != "Cf"
    )
    return re.sub(r"[\s_-]+", " ", visible.casefold()).strip().removesuffix(".0")


def _sentence(names: list[str], classes: Mapping[str, int]) -> str:
    counted = ", ".join(
        f"{name!r} ({classes[name]} rows)"
        for name in sorted(names, key=lambda name: -classes[name])
    )
    return (
        f"classes {counted} differ in letter case, spaces or signs that look alike; "
        "if they are one class, give it one name"
    )
