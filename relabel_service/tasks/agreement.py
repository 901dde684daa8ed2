"""When labels of several people count as one, and which of them then stands."""

from collections.abc import Callable, Sequence


class AgreeWhereEqual:
    """For labels of which people give exactly the same, or another."""

    agrees_by_equality = True

    def agree(self, left: str, right: str) -> bool:
        return left == right

    def resolve(self, labels: Sequence[str]) -> str:
        return labels[0]


def central(labels: Sequence[str], distance: Callable[[str, str], float]) -> str:
    """The label that is nearest to all of them together, the earliest where several are."""
    return min(labels, key=lambda label: sum(distance(label, other) for other in labels))


def agreed_labels(labels: Sequence[str], agree: Callable[[str, str], bool]) -> list[str]:
    """For each label, in the order they were given: the earliest that it agrees with, or itself.

    Agreement goes by the earliest alone, so that a chain of small differences does not make one
    label of two that are far apart.
    """
    earliest: list[str] = []
    found = []
    for label in labels:
        same = next((other for other in earliest if agree(other, label)), None)
        if same is None:
            earliest.append(label)
        found.append(label if same is None else same)
    return found
