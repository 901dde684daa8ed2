"""Whether a labeler is there, as far as Label Studio shows it: by annotations and drafts.

Label Studio does not say who looks at a task, and a draft does not change its task's updated_at: a
labeler is seen by annotations as they come, and by drafts when somebody looks at the tasks.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# Tasks that stay for who may come back. Their leases run out, so that they keep nobody waiting.
KEPT = 2


@dataclass
class Presence:
    """after_s: seconds without an annotation or draft after which a labeler is absent; 0 for never.
    now: seconds since the epoch, as Label Studio's clock has them but for minutes."""

    after_s: float
    now: Callable[[], float] = time.time
    is_absent: bool = False
    _seen: float = 0.0

    def begin(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """All that is in the project. Whoever did nothing yet is there since the first task was."""
        created = [_moment(task["created_at"]) for task in tasks]
        self.is_absent = False
        self._seen = min(created, default=self.now())
        for task in tasks:
            self.see(task)

    def see(self, task: Mapping[str, Any]) -> None:
        for work in (*task["annotations"], *task["drafts"]):
            self._seen = max(self._seen, _moment(work["updated_at"]))

    @property
    def is_overdue(self) -> bool:
        """Whether nothing was seen for so long."""
        return bool(self.after_s) and self.now() - self._seen >= self.after_s


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
