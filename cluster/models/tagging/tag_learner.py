"""The learner of token classification: a network of tag logits, and its scored rows.

B rows, T tokens of the longest row, C classes, G = 1 + 2 C tags as tags.py numbers them.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional

from cluster.interfaces import Array, Tensors
from cluster.models.network_learner import NetworkLearner
from cluster.models.tagging import tags
from cluster.models.tagging.entity_errors import KINDS, entity_errors, reason
from relabel_service.tables.schemas import SUGGESTION
from relabel_service.tasks import spans
from relabel_service.tasks.spans import Span

TARGET = "target"
MASK = "mask"  # bool [B, T] in every batch: where a row has a token
NOT_A_TOKEN = -100
SIGNALS = ("p_label", "p_label_mean", *(f"num_{kind.replace(' ', '_')}" for kind in KINDS))


class TagLearner(NetworkLearner):
    """A network that gives a logit for each token and tag, and its encoding, as a Learner.

    network: batch without targets -> logits [B, T, G].
    """

    def encode_labels(self, labels: Sequence[str], contents: Sequence[str]) -> list[tags.Tags]:
        return [
            tags.of_spans(spans.from_text(label), len(json.loads(content)), self.classes)
            for label, content in zip(labels, contents, strict=True)
        ]

    def collate(
        self, encoded: Sequence[Any], targets: Sequence[tags.Tags] | None = None
    ) -> Tensors:
        batch = self.collate_inputs(encoded)
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
        return losses.sum(dim=1) / mask.sum(dim=1), _dynamics(logits.detach().float(), target, mask)

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
            for index, (probabilities, label, content) in enumerate(
                zip(predictions, labels, contents, strict=True)
            )
            for row in score_row(
                index, probabilities, spans.from_text(label), json.loads(content), self.classes
            )
        ]
        return pa.Table.from_pylist(rows, schema=SCORED)

    def decode(self, predictions: Sequence[tags.Probabilities]) -> list[str]:
        """The entities of the most probable legal tagging, as a label's text."""
        return [
            spans.to_text(tags.to_spans(tags.decode(probabilities), self.classes))
            for probabilities in predictions
        ]


SCORED = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("unit", pa.string()),
        pa.field("label", pa.string()),
        pa.field("suggestions", pa.list_(SUGGESTION)),
        pa.field("reason", pa.string()),  # made here, where the whole label is known
        *(pa.field(name, pa.float64()) for name in SIGNALS),
    ]
)


def score_row(
    row: int,
    probabilities: tags.Probabilities,
    label: Sequence[Span],
    tokens: Sequence[str],
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """One row of SCORED for each class.

    For a class, a token begins it, continues it or is outside of it; p_label is the model's
    probability of what the label says there, at the token where it is least.
    probabilities: [T, G]. label: all its spans.
    """
    decoded = tags.decode(probabilities)
    predicted = tags.to_spans(decoded, classes)
    p_tokens = _by_class(probabilities, tags.of_spans(label, len(tokens), classes))
    p_predicted = _by_class(probabilities, decoded).min(axis=0)
    worst = p_tokens.argmin(axis=0)
    scored = []
    for number, class_name in enumerate(classes):
        errors = entity_errors(label, predicted, class_name)
        p_label = float(p_tokens[worst[number], number])
        predicted_of_class = [span for span in predicted if span.class_name == class_name]
        scored.append(
            {
                "row": row,
                "unit": class_name,
                "label": spans.to_text(span for span in label if span.class_name == class_name),
                "suggestions": [
                    {
                        "label": spans.to_text(predicted_of_class),
                        "probability": float(p_predicted[number]),
                    }
                ],
                "reason": reason(errors, tokens)
                or f"model agrees, least at '{tokens[worst[number]]}' ({p_label:.0%})",
                "p_label": p_label,
                "p_label_mean": float(p_tokens[:, number].mean()),
                **{
                    f"num_{kind.replace(' ', '_')}": float(
                        sum(error.kind == kind for error in errors)
                    )
                    for kind in KINDS
                },
            }
        )
    return scored


def _by_class(probabilities: tags.Probabilities, tagging: tags.Tags) -> Array:
    """P(what the tagging says of each class at each token: begin, continue, outside), [T, C]."""
    begins, inside = probabilities[:, 1::2], probabilities[:, 2::2]
    number = np.arange(begins.shape[1])
    p_tokens = 1.0 - begins - inside
    p_tokens = np.where(tagging[:, None] == 1 + 2 * number, begins, p_tokens)
    p_tokens = np.where(tagging[:, None] == 2 + 2 * number, inside, p_tokens)
    return np.clip(p_tokens.astype(np.float64), 0.0, 1.0)


def _dynamics(logits: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """p(label) and logit margin at each row's worst token: [B, 2]."""
    tag = target.clamp(min=0)[..., None]
    label = logits.gather(2, tag)
    other = logits.scatter(2, tag, -torch.inf).amax(dim=2)
    p_label = logits.softmax(dim=2).gather(2, tag)[..., 0]
    margin = label[..., 0] - other
    return torch.stack(
        [values.masked_fill(~mask, torch.inf).amin(dim=1) for values in (p_label, margin)], dim=1
    )
