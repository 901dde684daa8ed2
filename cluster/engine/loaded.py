"""What a worker of Ray holds: a function, perhaps with models in it, that it loads once."""

from collections.abc import Callable

import pyarrow as pa

from cluster.engine.base import BatchFunction


class Loaded:
    """Loads at the first batch: an error there comes out as itself, and one of an actor's
    constructor only within Ray's (2.60)."""

    def __init__(self, load: Callable[[], BatchFunction]) -> None:
        self._load = load
        self._function: BatchFunction | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        if self._function is None:
            self._function = self._load()
        return self._function(batch)
