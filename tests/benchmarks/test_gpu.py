"""The GPU benchmark on CPUs, with tiny sizes: its figures, and what a step that hangs leaves."""

import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification

from bench import gpu, gpu_steps, stacks
from bench.gpu_steps import Setting

HANGS = """
import json, subprocess, sys, time
def stuck():
    time.sleep(600)
if sys.argv[1:] == ["child"]:
    stuck()
child = subprocess.Popen([sys.executable, __file__, "child"])
figure = {"side": "bare", "turn": 0, "rows_per_s": 2.0, "flop_per_row": 4.0}
print(json.dumps({**figure, "peak_memory_bytes": 2**30, "pid": child.pid}), flush=True)
stuck()
"""


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    tiny = Setting(
        folder=str(tmp_path),
        use_gpu=False,
        cpus_per_gpu=1,
        on_ray=False,
        train_rows=16,
        mine_rows=8,
        num_tokens=16,
        hidden=64,
        layers=1,
        batch_size=8,
        repeats=1,
        matrix_sizes=(64, 128),
    )
    gpu_steps.prepare(tiny)
    return tiny


def test_each_step_gives_the_figures_of_all_sides(setting: Setting) -> None:
    figures = [
        {"step": step, **figure}
        for step, measure in gpu_steps.STEPS.items()
        for figure in measure(setting)
    ]
    assert json.loads(json.dumps(figures)) == figures
    sides = {(row.step, row.side): row for row in gpu.compare(figures)}
    assert list(sides) == [
        *(("training", side) for side in ("bare", "product")),
        *(("inference", side) for side in ("bare", "product", "pipeline")),
    ]
    # The product's rows/s is a difference of two short runs, which here may be anything.
    assert all(row.rows_per_s[0] > 0 for (_, side), row in sides.items() if side != "product")
    assert all(math.isfinite(row.ratio[0]) for row in sides.values())
    assert all(row.peak_memory_bytes > 2**20 for row in sides.values())
    assert sum("flop_per_s" in figure for figure in figures) == 2
    assert all(f"| {step} | {side} | " in "\n".join(gpu.table(figures)) for step, side in sides)


def test_useful_work_is_what_torch_counts_on_a_batch_without_padding(setting: Setting) -> None:
    network = AutoModelForSequenceClassification.from_pretrained(
        setting.model, attn_implementation="eager"
    )
    source = setting.source(setting.mine_rows)
    texts = gpu_steps.texts_of(source)
    counted = 0
    for text in texts:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(input_ids=torch.zeros(1, len(text.split()), dtype=torch.int64))
        counted += counter.get_total_flops()
    # The head, once a row, is left out: it is more of this small network than of a real one.
    head = 2 * setting.hidden * (setting.hidden + 2)
    assert gpu_steps.flop_per_row(setting, source) == pytest.approx(counted / len(texts) - head)


def test_a_step_that_hangs_is_shown_and_killed_and_the_figures_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "hangs.py"
    script.write_text(HANGS)
    monkeypatch.setattr(gpu, "SILENT_S", 1.0)
    report = gpu.Report()
    report.run("training", [sys.executable, str(script)], limit_s=6.0)
    report.run("jobs.mine", [sys.executable, "-c", "print('{')"], limit_s=60.0)
    assert report.has_failed
    figure, hung, whole = report.figures
    assert (hung["ended"], whole["ended"]) == ("killed at its limit", 0)
    assert ended(figure["pid"])
    told = capsys.readouterr().err
    assert "training is silent" in told
    assert told.count("in stuck") >= 2  # the process and its child
    lines = gpu.table(report.figures)
    assert any(line.startswith("| training | bare | 2 (2 to 2) | not measured |") for line in lines)


def test_a_run_shorter_than_noise_gives_no_figure() -> None:
    shared = {"step": "training", "turn": 0, "flop_per_row": 4.0, "peak_memory_bytes": 2**30}
    bare = {**shared, "side": "bare", "rows_per_s": 8.0}
    product = {**shared, "side": "product", "rows_per_s": -2.0}
    lines = gpu.table([{"step": "peak", "flop_per_s": 64.0}, bare, product])
    assert "| training | bare | 8 (8 to 8) | 50.0% | run too short | 1.00 |" in lines
    assert "| training | product | run too short | run too short | 1 (1 to 1) | 1.00 |" in lines


def test_only_steps_on_ray_import_it() -> None:
    """So a Ray that hangs on import costs no other step, nor the whole."""
    script = "import bench.gpu, sys; raise SystemExit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_command_ends_with_its_own_code_and_is_not_disturbed() -> None:
    lines: list[str] = []
    outcome = stacks.run(
        [sys.executable, "-c", "print('a'); print('b'); raise SystemExit(3)"],
        limit_s=60.0,
        silent_s=30.0,
        on_line=lines.append,
        on_stacks=lambda text: pytest.fail(text),
    )
    assert (outcome.returncode, lines) == (3, ["a", "b"])


def test_jobs_are_asked_for_the_gpu_and_the_engine(setting: Setting) -> None:
    command = gpu.command_of("jobs.mine", replace(setting, use_gpu=True, on_ray=True))
    assert command[2:6] == ["jobs.mine", "--engine", "ray", "--use-gpu"]


def ended(pid: int) -> bool:
    for _ in range(50):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False
