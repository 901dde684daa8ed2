"""Mean average precision of detections, as COCO defines it, by faster-coco-eval."""

from collections.abc import Mapping, Sequence
from typing import Any

from faster_coco_eval import COCO, COCOeval_faster

from relabel_service.tasks.boxes import read_boxes


def mean_precision(
    predicted: Sequence[Mapping[str, Any]], labels: Sequence[str]
) -> dict[str, float]:
    """AP at IoU 0.5, AP over IoU 0.5 to 0.95, each averaged over the classes that occur.

    predicted: corners, scores and class names of each image; labels: the true boxes.
    Both 0 where no image holds a box.
    """
    truth = [read_boxes(label) for label in labels]
    names = sorted({box.class_name for boxes in truth for box in boxes})
    if not names:
        return {"ap50": 0.0, "ap": 0.0}
    ids = {name: number for number, name in enumerate(names, 1)}
    annotations = [
        {"image_id": image, "category_id": ids[box.class_name], **_shape(box.corners)}
        for image, boxes in enumerate(truth)
        for box in boxes
    ]
    detections = [
        {"image_id": image, "category_id": ids[name], "score": score, **_shape(corners)}
        for image, boxes in enumerate(predicted)
        for corners, score, name in zip(
            boxes["corners"], boxes["scores"], boxes["classes"], strict=True
        )
        if name in ids
    ]
    if not detections:
        return {"ap50": 0.0, "ap": 0.0}
    return _evaluate(annotations, detections, num_images=len(truth), ids=ids)


def _evaluate(
    annotations: list[dict[str, Any]],
    detections: list[dict[str, Any]],
    *,
    num_images: int,
    ids: Mapping[str, int],
) -> dict[str, float]:
    truth = COCO(
        {
            "images": [{"id": image, "width": 0, "height": 0} for image in range(num_images)],
            "categories": [{"id": number, "name": name} for name, number in ids.items()],
            "annotations": [
                {"id": number, "iscrowd": 0, **box} for number, box in enumerate(annotations, 1)
            ],
        },
        print_function=_quiet,
    )
    evaluation = COCOeval_faster(truth, truth.loadRes(detections), "bbox", print_function=_quiet)
    evaluation.run()
    every, half = float(evaluation.stats[0]), float(evaluation.stats[1])
    return {"ap50": max(half, 0.0), "ap": max(every, 0.0)}


def _shape(corners: Sequence[float]) -> dict[str, Any]:
    x_min, y_min, x_max, y_max = (float(value) for value in corners)
    width, height = max(x_max - x_min, 0.0), max(y_max - y_min, 0.0)
    return {"bbox": [x_min, y_min, width, height], "area": width * height}


def _quiet(*_: object) -> None:
    """The library prints its tables; a worker must not."""
