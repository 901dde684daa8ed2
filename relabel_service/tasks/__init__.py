"""The tasks by name. Shared code looks a task up here and never branches on its name."""

from relabel_service.errors import InvalidInput
from relabel_service.tasks.audio_classification import AudioClassification
from relabel_service.tasks.base import Task
from relabel_service.tasks.click_through_rate import ClickThroughRate
from relabel_service.tasks.image_classification import ImageClassification
from relabel_service.tasks.object_detection import ObjectDetection
from relabel_service.tasks.sequence_generation import SequenceGeneration
from relabel_service.tasks.text_classification import TextClassification
from relabel_service.tasks.token_classification import TokenClassification
from relabel_service.v1 import labels_pb2

TASKS: dict[str, Task] = {
    "text_classification": TextClassification(),
    "image_classification": ImageClassification(),
    "audio_classification": AudioClassification(),
    "token_classification": TokenClassification(),
    "object_detection": ObjectDetection(),
    "click_through_rate": ClickThroughRate(),
    "sequence_generation": SequenceGeneration(),
}


def task_of_kind(kind: labels_pb2.TaskKind) -> Task:
    """Look a task up by its kind on the wire. Raises InvalidInput."""
    for task in TASKS.values():
        if task.kind == kind:
            return task
    raise InvalidInput.of("task_kind", f"{kind} is not a task of this version; upgrade the client")


def task_named(name: str) -> Task:
    """Look a task up. Raises InvalidInput naming those that exist."""
    if name not in TASKS:
        raise InvalidInput.of("task", f"{name!r} is not a task; use one of {', '.join(TASKS)}")
    return TASKS[name]
