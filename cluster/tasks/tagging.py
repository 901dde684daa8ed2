"""What taggers share: loss, prediction, judgement class by class.

B rows, T tokens of the longest row, C classes, G = 1 + 2 C tags as tags.py numbers them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import nn
from torch.nn import functional

from cluster.interfaces import Array, Tensors, TrainingDefaults
from cluster.tasks import tags
from cluster.tasks.entity_errors import KINDS, faults, reason
from relabel_service.tables.schemas import SUGGESTION
from relabel_service.tasks import spans
from relabel_service.tasks.spans import Span

TARGET = "target"
MASK = "mask"  # bool [B, T] in every batch: which places hold a token
OBSERVED = ("p_label", "margin")
NOT_A_TOKEN = -100
NO_ENTITY = spans.to_text([])
SIGNALS = ("p_label", "p_label_mean", *(f"num_{kind.replace(' ', '_')}" for kind in KINDS))


class TagLearner(nn.Module):
    """A network that gives a logit for each token and tag, and its encoding, as a Learner.

    network: batch without targets -> logits [B, T, G].
    """

    observed: tuple[str, ...] = OBSERVED

    def __init__(
        self,
        network: nn.Module,
        *,
        classes: Sequence[str],
        defaults: TrainingDefaults,
        encode: Callable[[Sequence[str]], list[Any]],
        collate: Callable[[Sequence[Any]], Tensors],
        size: Callable[[Any], int],
    ) -> None:
        super().__init__()
        self.network = network
        self.defaults = defaults
        self.encode = encode
        self.size = size
        self._classes = list(classes)
        self._collate = collate

    def encode_labels(self, labels: Sequence[str], contents: Sequence[str]) -> list[tags.Tags]:
        return [
            tags.of_spans(spans.from_text(label), len(json.loads(content)), self._classes)
            for label, content in zip(labels, contents, strict=True)
        ]

    def collate(
        self, encoded: Sequence[Any], targets: Sequence[tags.Tags] | None = None
    ) -> Tensors:
        batch = self._collate(encoded)
        if targets is not None:
            padded = torch.full(batch[MASK].shape, NOT_A_TOKEN)
            for row, target in enumerate(targets):
                padded[row, : len(target)] = torch.from_numpy(target)
            batch[TARGET] = padded
        return batch

    def forward(self, batch: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        """A row's loss is the mean of its tokens'."""
        target, mask = batch[TARGET], batch[MASK]
        logits = self.network({name: value for name, value in batch.items() if name != TARGET})
        losses = functional.cross_entropy(
            logits.transpose(1, 2).float(), target, reduction="none", ignore_index=NOT_A_TOKEN
        )
        return losses.sum(dim=1) / mask.sum(dim=1), _observe(logits.detach().float(), target, mask)

    def predict(self, batch: Tensors) -> list[tags.Probabilities]:
        """Probability of each tag at each token of a row, [tokens, G] a row."""
        probabilities = torch.softmax(self.network(batch).float(), dim=-1).cpu().numpy()
        lengths = batch[MASK].sum(dim=1).tolist()
        return [row[:length] for row, length in zip(probabilities, lengths, strict=True)]

    def score(
        self,
        predictions: Sequence[tags.Probabilities],
        labels: Sequence[str],
        contents: Sequence[str],
    ) -> pa.Table:
        rows = [
            row
            for place, (seen, label, content) in enumerate(
                zip(predictions, labels, contents, strict=True)
            )
            for row in score_row(
                place, seen, spans.from_text(label), json.loads(content), self._classes
            )
        ]
        return pa.Table.from_pylist(rows, schema=SCORED)

    def answers(self, predictions: Sequence[tags.Probabilities]) -> list[str]:
        return [
            spans.to_text(tags.to_spans(tags.decode(one), self._classes)) for one in predictions
        ]


SCORED = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("unit", pa.string()),
        pa.field("label", pa.string()),
        pa.field("suggestions", pa.list_(SUGGESTION)),
        pa.field("told", pa.string()),  # the reason, for which the whole label was needed
        *(pa.field(name, pa.float64()) for name in SIGNALS),
    ]
)


def score_row(
    place: int,
    probabilities: tags.Probabilities,
    given: Sequence[Span],
    tokens: Sequence[str],
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """One row of JUDGED for each class.

    To a class, a token begins it, continues it or is none of it; p_label is the model's
    probability of what the label says there, at the token where it is least.
    """
    decoded = tags.decode(probabilities)
    seen = tags.to_spans(decoded, classes)
    p_given = _by_class(probabilities, tags.of_spans(given, len(tokens), classes))
    p_seen = _by_class(probabilities, decoded).min(axis=0)
    worst = p_given.argmin(axis=0)
    scored = []
    for number, class_name in enumerate(classes):
        found = faults(given, seen, class_name)
        p_label = float(p_given[worst[number], number])
        own = [span for span in seen if span.class_name == class_name]
        scored.append(
            {
                "row": place,
                "unit": class_name,
                "label": spans.to_text(span for span in given if span.class_name == class_name),
                "suggestions": [
                    {"label": spans.to_text(own), "probability": float(p_seen[number])}
                ],
                "told": reason(found, tokens)
                or f"model agrees, least at '{tokens[worst[number]]}' ({p_label:.0%})",
                "p_label": p_label,
                "p_label_mean": float(p_given[:, number].mean()),
                **{
                    f"num_{kind.replace(' ', '_')}": float(sum(one.kind == kind for one in found))
                    for kind in KINDS
                },
            }
        )
    return scored


class TagScores:
    """The scoring half of a token classification task's ModelTask."""

    def sums(self, scored: pa.Table, classes: Sequence[str]) -> dict[str, Array]:
        """Over the parts that name an entity, class by class: how many, and their p_label."""
        number, names_some, p_label = _columns(scored, classes)
        counted = np.bincount(number[names_some], minlength=len(classes))
        added = np.bincount(number[names_some], p_label[names_some], minlength=len(classes))
        return {"num_named": counted.astype(np.float64), "p_named": added.astype(np.float64)}

    def suspicion(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> Array:
        """One minus the worst token's probability (Wang and Mueller 2022, section 3), in [0, 1].

        A part that names entities is held against what its class usually gets, t / (t + p),
        as confident learning does with its thresholds (Northcutt et al. 2021, section 3.1):
        a model gives rare classes little, whether their labels are right or wrong.
        """
        number, names_some, p_label = _columns(scored, classes)
        usual = (sums["p_named"] / np.maximum(sums["num_named"], 1))[number]
        held_against = usual / np.maximum(usual + p_label, tags.LEAST)
        return np.clip(np.where(names_some, held_against, 1.0 - p_label), 0.0, 1.0)

    def signals(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> dict[str, Array]:
        return {name: scored[name].to_numpy() for name in SIGNALS}

    def reasons(self, scored: pa.Table) -> list[str]:
        told: list[str] = scored["told"].to_pylist()
        return told


def _columns(
    scored: pa.Table, classes: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], Array]:
    """Each part's class as a number, whether the label names an entity of it, and p_label."""
    place = {name: number for number, name in enumerate(classes)}
    number = np.array([place[unit] for unit in scored["unit"].to_pylist()], np.int64)
    names_some = pc.not_equal(scored["label"], NO_ENTITY).to_numpy(zero_copy_only=False)
    return number, names_some, scored["p_label"].to_numpy()


def _by_class(probabilities: tags.Probabilities, given: tags.Tags) -> Array:
    """Probability that each class takes the part in each token that the tags give it: [T, C]."""
    begins, inside = probabilities[:, 1::2], probabilities[:, 2::2]
    number = np.arange(begins.shape[1])
    p_given = 1.0 - begins - inside
    p_given = np.where(given[:, None] == 1 + 2 * number, begins, p_given)
    p_given = np.where(given[:, None] == 2 + 2 * number, inside, p_given)
    return np.clip(p_given.astype(np.float64), 0.0, 1.0)


def _observe(logits: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """p(label) and logit margin at each row's worst token: [B, 2]."""
    place = target.clamp(min=0)[..., None]
    label = logits.gather(2, place)
    other = logits.scatter(2, place, -torch.inf).amax(dim=2)
    p_label = logits.softmax(dim=2).gather(2, place)[..., 0]
    margin = label[..., 0] - other
    return torch.stack(
        [one.masked_fill(~mask, torch.inf).amin(dim=1) for one in (p_label, margin)], dim=1
    )
