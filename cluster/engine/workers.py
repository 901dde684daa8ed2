"""How many processes share the work, and what each of them has."""

from dataclasses import dataclass

from relabel_service.errors import InvalidInput


@dataclass(frozen=True)
class Workers:
    """num: processes that share the work, each on CPUs or on one GPU.

    use_gpu: each has one GPU. cpus_per_gpu: CPUs that feed it: in training those after the first
    collate batches ahead; in inference as many processes share the GPU, each with the models, so
    that while one encodes another computes. Raises InvalidInput where CPUs are to feed no GPU.
    """

    num: int = 1
    use_gpu: bool = False
    cpus_per_gpu: int = 1

    def __post_init__(self) -> None:
        for name, value in (("num_workers", self.num), ("cpus_per_gpu", self.cpus_per_gpu)):
            if value < 1:
                raise InvalidInput.of(name, f"{value} is too small; use 1 or more")
        if self.cpus_per_gpu > 1 and not self.use_gpu:
            raise InvalidInput.of(
                "cpus_per_gpu",
                f"{self.cpus_per_gpu} feed no GPU; ask for GPUs (--use-gpu), or leave it out",
            )
