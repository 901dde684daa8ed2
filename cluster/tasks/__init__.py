"""Heavy side of the task seam: encode, model, loss, predict.

Shared code trains, infers and ranks through seam.py's protocols and never
branches on a task's name. The light side is relabel_service/tasks/.
"""

from cluster.tasks.audio_classification import AudioClassificationModels
from cluster.tasks.click_through_rate import ClickThroughRateModels
from cluster.tasks.image_classification import ImageClassificationModels
from cluster.tasks.object_detection import ObjectDetectionModels
from cluster.tasks.seam import ModelTask
from cluster.tasks.sequence_generation import SequenceGenerationModels
from cluster.tasks.text_classification import TextClassificationModels
from cluster.tasks.token_classification import TokenClassificationModels
from relabel_service.errors import InvalidInput

MODEL_TASKS: dict[str, ModelTask] = {
    "text_classification": TextClassificationModels(),
    "image_classification": ImageClassificationModels(),
    "audio_classification": AudioClassificationModels(),
    "token_classification": TokenClassificationModels(),
    "object_detection": ObjectDetectionModels(),
    "click_through_rate": ClickThroughRateModels(),
    "sequence_generation": SequenceGenerationModels(),
}


def model_task(name: str) -> ModelTask:
    """Look a task up. Raises InvalidInput naming those that exist."""
    if name not in MODEL_TASKS:
        raise InvalidInput.of(
            "task", f"{name!r} has no models; use one of {', '.join(MODEL_TASKS)}"
        )
    return MODEL_TASKS[name]
