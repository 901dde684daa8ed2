"""Our AdamW moves parameters as torch's does, and training loads no compiler."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from cluster.training.adamw import AdamW

DECAY, RATES = 0.1, (0.1, 0.05, 0.2, 0.01)


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [
        nn.Parameter(torch.randn(5, 3)),
        nn.Parameter(torch.randn(4)),
        nn.Parameter(torch.ones(1)),
    ]


def set_gradients(of: list[nn.Parameter], step: int) -> None:
    """The second parameter has a gradient in every other step, the third in none."""
    torch.manual_seed(step)
    of[0].grad = torch.randn(5, 3)
    of[1].grad = torch.randn(4) if step % 2 else None


def torchs(of: list[nn.Parameter]) -> torch.optim.AdamW:
    return torch.optim.AdamW(of, lr=RATES[0], weight_decay=DECAY, fused=True)


def test_it_moves_parameters_as_torch_does() -> None:
    ours, theirs = parameters(), parameters()
    own, other = AdamW(ours, weight_decay=DECAY), torchs(theirs)
    for step, rate in enumerate(RATES):
        own.zero_grad()
        set_gradients(ours, step)
        own.step(rate)
        other.param_groups[0]["lr"] = rate
        set_gradients(theirs, step)
        other.step()
        for one, same in zip(ours, theirs, strict=True):
            assert torch.equal(one, same)


@pytest.mark.parametrize("saved_by_torch", [False, True])
def test_it_goes_on_from_a_saved_state(saved_by_torch: bool) -> None:
    whole, first, rest = parameters(), parameters(), parameters()
    for step, rate in enumerate(RATES):
        if not step:
            own = AdamW(whole, weight_decay=DECAY)
        set_gradients(whole, step)
        own.step(rate)
    saving = torchs(first) if saved_by_torch else AdamW(first, weight_decay=DECAY)
    set_gradients(first, 0)
    if isinstance(saving, AdamW):
        saving.step(RATES[0])
    else:
        saving.step()
    again = AdamW(rest, weight_decay=DECAY)
    again.load_state_dict(saving.state_dict())
    for one, moved in zip(rest, first, strict=True):
        one.data.copy_(moved.data)
    for step, rate in enumerate(RATES[1:], 1):
        set_gradients(rest, step)
        again.step(rate)
    for one, same in zip(rest, whole, strict=True):
        assert torch.equal(one, same)


def test_an_audit_loads_no_compiler() -> None:
    program = """
import sys
import pyarrow as pa
from cluster import audit
rows = [(f"{word} {number}", word) for number in range(20) for word in ("rain", "goal")]
audit(pa.table({"text": [row[0] for row in rows], "label": [row[1] for row in rows]}))
print("torch" in sys.modules, "torch._dynamo" in sys.modules, "transformers" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False", "False"]
