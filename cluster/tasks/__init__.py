"""What each task does with models: prepare, load, suspicion, reasons, metrics.

Shared code trains, infers and ranks through the Protocols of interfaces.py and never
branches on a task's name. The light side is relabel_service/tasks/; networks and learners are
in cluster/models/.
"""

import pkgutil
from functools import cache
from typing import cast

from cluster.interfaces import ModelTask
from relabel_service.errors import InvalidInput

# By address, not imported: a Ray worker loads the libraries of its own task alone, which
# for text takes 1 second in place of 4.
MODEL_TASKS = {
    "text_classification": "cluster.tasks.text_classification:TextClassificationModels",
    "image_classification": "cluster.tasks.image_classification:ImageClassificationModels",
    "audio_classification": "cluster.tasks.audio_classification:AudioClassificationModels",
    "token_classification": "cluster.tasks.token_classification:TokenClassificationModels",
    "object_detection": "cluster.tasks.object_detection:ObjectDetectionModels",
    "click_through_rate": "cluster.tasks.click_through_rate:ClickThroughRateModels",
    "sequence_generation": "cluster.tasks.sequence_generation:SequenceGenerationModels",
}


@cache
def model_task(name: str) -> ModelTask:
    """Look a task up. Raises InvalidInput naming those that exist."""
    if name not in MODEL_TASKS:
        raise InvalidInput.of(
            "task", f"{name!r} has no models; use one of {', '.join(MODEL_TASKS)}"
        )
    return cast(ModelTask, pkgutil.resolve_name(MODEL_TASKS[name])())
