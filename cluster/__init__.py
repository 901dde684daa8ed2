"""What runs on Ray workers, or on one machine: data in, training, inference, ranking, merge.

Imports relabel_service, never jobs. Settings arrive as frozen dataclasses; nothing here reads
flags. The names below are the front door, loaded when first used. Raises ModuleNotFoundError
saying what to install where the extra `mine` is not.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from relabel_service.lazy import attach

NEEDED = ("scipy", "sklearn", "torch", "transformers")
if _missing := next((name for name in NEEDED if find_spec(name) is None), None):
    raise ModuleNotFoundError(
        f"cluster needs {_missing}, which is not installed; pip install 'relabel-service[mine]'",
        name=_missing,
    )

if TYPE_CHECKING:
    from cluster.auditing.audit import Audit as Audit
    from cluster.auditing.audit import AuditConfig as AuditConfig
    from cluster.auditing.audit import audit as audit
    from cluster.data.rows import Source as Source
    from cluster.data.rows import latest as latest
    from cluster.engine.local import LocalEngine as LocalEngine
    from cluster.mining.config import MineConfig as MineConfig
    from cluster.mining.config import MineResult as MineResult
    from cluster.mining.mine import mine as mine
    from cluster.mining.selection import Selection as Selection
    from cluster.scores.label_issues import find_label_issues as find_label_issues
    from cluster.scores.label_issues import noise_scores as noise_scores
    from cluster.training.config import TrainConfig as TrainConfig
    from cluster.training.train import train as train
    from cluster.versions.merge import MergeConfig as MergeConfig
    from cluster.versions.merge import MergeResult as MergeResult
    from cluster.versions.merge import merge as merge

EXPORTS = {
    "auditing.audit": ("Audit", "AuditConfig", "audit"),
    "data.rows": ("Source", "latest"),
    "engine.local": ("LocalEngine",),
    "mining.config": ("MineConfig", "MineResult"),
    "mining.mine": ("mine",),
    "mining.selection": ("Selection",),
    "scores.label_issues": ("find_label_issues", "noise_scores"),
    "training.config": ("TrainConfig",),
    "training.train": ("train",),
    "versions.merge": ("MergeConfig", "MergeResult", "merge"),
}
__getattr__, __dir__ = attach(__name__, EXPORTS)
