"""Labeling tools that items are handed to once, as files: `relabel export --to`.

Shared code looks a tool up here and never branches on its name. What people decide there comes
back as the tool's own export, by `relabel import`.
"""

from relabel_service.errors import InvalidInput
from relabel_service.tools.base import Tool
from relabel_service.tools.cvat import Cvat
from relabel_service.tools.fiftyone import FiftyOne
from relabel_service.tools.label_studio import LabelStudioTasks

TOOLS: dict[str, Tool] = {
    "label-studio": LabelStudioTasks(),
    "cvat": Cvat(),
    "fiftyone": FiftyOne(),
}


def tool_named(name: str) -> Tool:
    """Look a tool up. Raises InvalidInput naming those that exist."""
    if name not in TOOLS:
        raise InvalidInput.of("--to", f"{name!r} is not a tool; use one of {', '.join(TOOLS)}")
    return TOOLS[name]
