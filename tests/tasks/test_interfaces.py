"""Both sides of the seam name the same tasks, and the heavy side is what its protocol says."""

import pytest

from cluster.interfaces import ModelTask
from cluster.tasks import MODEL_TASKS, model_task
from cluster.tasks.audio_classification import AudioClassificationModels
from cluster.tasks.click_through_rate import ClickThroughRateModels
from cluster.tasks.image_classification import ImageClassificationModels
from cluster.tasks.object_detection import ObjectDetectionModels
from cluster.tasks.sequence_generation import SequenceGenerationModels
from cluster.tasks.text_classification import TextClassificationModels
from cluster.tasks.token_classification import TokenClassificationModels
from relabel_service.tasks import TASKS

# Assigned to the protocol, for the type checker: the table itself holds addresses.
CHECKED: list[ModelTask] = [
    TextClassificationModels(),
    ImageClassificationModels(),
    AudioClassificationModels(),
    TokenClassificationModels(),
    ObjectDetectionModels(),
    ClickThroughRateModels(),
    SequenceGenerationModels(),
]


def test_both_sides_name_the_same_tasks() -> None:
    assert set(MODEL_TASKS) == set(TASKS)
    assert {type(model_task(name)) for name in MODEL_TASKS} == {type(task) for task in CHECKED}


def test_each_task_goes_by_its_name() -> None:
    for name in MODEL_TASKS:
        assert model_task(name).name == TASKS[name].name == name


@pytest.mark.parametrize("name", TASKS)
def test_findings_are_about_classes_where_a_task_goes_class_by_class(name: str) -> None:
    task = TASKS[name]
    assert list(task.units(["a", "b"])) == (["a", "b"] if task.per_class else [""])
