"""FiftyOne's mistakenness, cleanlab's label quality and our noise scores on the same probabilities.

    python -m bench.mistakenness prepare build/digits.json
    FIFTYONE_DATABASE_URI=mongodb://127.0.0.1:27017 \\
        /tmp/fiftyone/bin/python -m bench.mistakenness judge build/digits.json

FiftyOne is in an environment of its own, with a MongoDB that it is told of:

    python3 -m venv /tmp/fiftyone && /tmp/fiftyone/bin/pip install fiftyone==1.22.1

The rows are tests/data/image_classification/digits, a fifth of whose labels are planted errors; the
probabilities are a logistic regression's, out of sample by five folds. AP: average precision of
what is wrong by gold, over all rows.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

DIGITS = Path(__file__).parents[1] / "tests/data/image_classification/digits/train.parquet"


def prepare(path: Path) -> None:
    """Write the rows with their probabilities, and say how the scores of this project and of
    cleanlab rank them."""
    import io

    import numpy as np
    import pyarrow.parquet as pq
    from cleanlab.rank import get_label_quality_scores
    from PIL import Image
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    from cluster import noise_scores

    rows = pq.read_table(DIGITS).to_pylist()
    pictures = [_bytes(row["image"]) for row in rows]
    pixels = np.array(
        [np.asarray(Image.open(io.BytesIO(one)).convert("L"), float).ravel() for one in pictures]
    )
    classes, labels = np.unique([row["label"] for row in rows], return_inverse=True)
    probabilities = cross_val_predict(
        LogisticRegression(max_iter=400), pixels / 255, labels, cv=5, method="predict_proba"
    )
    is_wrong = [row["label"] != row["gold"] for row in rows]
    started = time.perf_counter()
    suspicion = noise_scores(labels, probabilities)
    print(
        f"relabel: AP {precision(is_wrong, suspicion):.3f}, {time.perf_counter() - started:.2f} s"
    )
    started = time.perf_counter()
    quality = get_label_quality_scores(labels, probabilities)
    print(
        f"cleanlab: AP {precision(is_wrong, -quality):.3f}, {time.perf_counter() - started:.2f} s"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {
        "classes": [str(name) for name in classes],
        "labels": labels.tolist(),
        "wrong": is_wrong,
        "probabilities": probabilities.tolist(),
    }
    path.write_text(json.dumps(stored))


def judge(path: Path) -> None:
    """Say how FiftyOne's mistakenness ranks the same rows; runs in FiftyOne's environment."""
    import fiftyone
    import fiftyone.brain
    import numpy as np

    stored = json.loads(path.read_text())
    classes = stored["classes"]
    data = fiftyone.Dataset()
    samples = []
    for number, (label, row) in enumerate(
        zip(stored["labels"], stored["probabilities"], strict=True)
    ):
        sample = fiftyone.Sample(filepath=f"/digits/{number}.png")
        sample["label"] = fiftyone.Classification(label=classes[label])
        best = int(np.argmax(row))
        sample["model"] = fiftyone.Classification(
            label=classes[best], confidence=row[best], logits=np.log(np.array(row) + 1e-12)
        )
        samples.append(sample)
    data.add_samples(samples)
    started = time.perf_counter()
    fiftyone.brain.compute_mistakenness(data, "model", label_field="label", use_logits=True)
    seconds = time.perf_counter() - started
    found = data.values("mistakenness")
    data.delete()
    average = precision(stored["wrong"], found)
    print(f"FiftyOne {fiftyone.__version__}: AP {average:.3f}, {seconds:.2f} s")


def precision(is_wrong: Any, scores: Any) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(is_wrong, scores))


def _bytes(value: Any) -> bytes:
    return bytes(value["bytes"] if isinstance(value, dict) else value)


if __name__ == "__main__":
    {"prepare": prepare, "judge": judge}[sys.argv[1]](Path(sys.argv[2]))
