"""Labels that are decided whole: shared by all tasks but those of entities and boxes."""

from collections.abc import Sequence

from relabel_service.v1 import items_pb2


class OneUnit:
    """The part of a task whose items have one unit each, and whose labels name no part of the
    content."""

    refers_to_content = False
    per_class = False

    def coordinates(self, label: str) -> Sequence[float]:
        return ()

    def incompatible_label(self, label: str, content: items_pb2.Content) -> str | None:
        return None

    def units(self, classes: Sequence[str]) -> Sequence[str]:
        return ("",)

    def foreign_part(self, label: str, unit: str, shown: Sequence[str]) -> str | None:
        return None

    def unit_label(self, label: str, unit: str) -> str:
        return label

    def with_unit_label(self, label: str, unit: str, unit_label: str) -> str:
        return unit_label
