"""What learners of classes and of tags share: a network, and the encoding of its inputs."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from cluster.interfaces import Tensors, TrainingDefaults


class NetworkLearner(nn.Module):
    """network: batch without targets -> logits; encode and size: as a Learner's; collate: encoded
    rows -> a batch without targets."""

    dynamics: tuple[str, ...] = ("p_label", "margin")
    needs_labels_to_score = False

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
        self.classes = list(classes)
        self.defaults = defaults
        self.encode = encode
        self.collate_inputs = collate
        self.size = size
