"""How good the model trained on every row is on labels that training never touched."""

import pickle

import pyarrow as pa
from ray.data import ActorPoolStrategy

from cluster.dataset import Source, rows
from cluster.model_store import ModelStore
from cluster.predict import Inference, Predictor, Sampling
from cluster.tasks import model_task
from relabel_service.errors import InvalidInput


class _Answers:
    """A Ray Data actor: rows -> answers and true labels, pickled for the driver."""

    def __init__(self, store_uri: str) -> None:
        self._predictor = Predictor(store_uri, Sampling.IN_SAMPLE)

    def __call__(self, batch: pa.Table) -> pa.Table:
        fit = batch.filter(batch["fault"].is_null())
        pairs = (self._predictor.answer(fit), fit["label"].to_pylist())
        return pa.table({"pairs": pa.array([pickle.dumps(pairs)], pa.large_binary())})


def evaluate(store_uri: str, source: Source, settings: Inference) -> dict[str, float]:
    """Metrics of the whole of a pinned source; the task's headline metric first.

    Raises InvalidInput when no row is fit.
    """
    manifest = ModelStore(store_uri).manifest()
    found = (
        rows(source, classes=manifest.classes)
        .map_batches(
            _Answers,
            fn_constructor_args=(store_uri,),
            batch_format="pyarrow",
            batch_size=settings.batch_rows,
            compute=ActorPoolStrategy(size=settings.num_workers),
            num_gpus=1 if settings.use_gpu else None,
        )
        .take_all()
    )
    answers, labels = [], []
    for part in found:
        some_answers, some_labels = pickle.loads(part["pairs"])
        answers += some_answers
        labels += some_labels
    if not labels:
        raise InvalidInput.of("dataset", f"{source.uri!r} has no fit row to evaluate on")
    return model_task(source.task).metrics(answers, labels)
