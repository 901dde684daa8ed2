"""Training rows/s on Ray Train against a bare torch loop: the same network, pictures and recipe.

    python -m bench.fitting
    python -m bench.fitting --rows 4096 --use-gpu --cpus-per-gpu 8

A Swin transformer (tiny where there is no GPU) with random weights learns from JPEGs.
Both sides decode each batch, step and clip alike, in bfloat16 on GPUs; the bare loop has a
torch DataLoader with as many processes. Start-up is told apart by training one epoch as
well: rows/s is of the epochs after the first. The step alone, on one batch again and again,
is what neither can exceed.
"""

import io
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from transformers import SwinConfig, SwinForImageClassification, ViTImageProcessor

from bench.mining import spread
from bench.training import Rows
from cluster.data.rows import Source, latest
from cluster.engine.base import Engine
from cluster.engine.devices import autocast, device, to_device
from cluster.engine.workers import Workers
from cluster.interfaces import Tensors
from cluster.tasks import model_task
from cluster.training.config import TrainConfig
from cluster.training.train import train
from jobs.common import options
from jobs.common.session import ray_session

CLASSES = ("dark", "light")
SIDE = 256  # pixels of a stored picture
EPOCHS = 3
STEPS = 20
LEARNING_RATE, MAX_GRADIENT_NORM = 1e-4, 1.0


@dataclass(frozen=True)
class Setup:
    """What both sides train: model, path or hub id; classes of the source's labels."""

    source: Source
    model: str
    classes: tuple[str, ...]
    batch_size: int
    workers: Workers


@options.grouped
def main(
    engine: options.EngineOptions,
    rows: Annotated[int, typer.Option(help="pictures")] = 1024,
    repeats: Annotated[int, typer.Option(help="turns of each side")] = 3,
    batch_size: Annotated[int, typer.Option(help="pictures a step")] = 32,
) -> None:
    """Print rows/s of both sides and their ratio, least to greatest."""
    with tempfile.TemporaryDirectory() as local, ray_session(engine.workers()) as running:
        folder = Path(local)
        source, model = _pictures(folder, rows), _swin(folder, tiny=not engine.use_gpu)
        setup = Setup(source, model, CLASSES, batch_size, engine.workers())
        alone, base, ours = [], [], []
        for turn in range(repeats):
            fed, step = bare(setup)
            base.append(fed)
            alone.append(step)
            ours.append(product(setup, running, folder / f"ours-{turn}", num_rows=rows))
    print(f"step alone     {spread(alone)} rows/s")
    print(f"bare loop      {spread(base)} rows/s")
    print(f"train          {spread(ours)} rows/s")
    print(f"train / bare   {spread([own / one for own, one in zip(ours, base, strict=True)])}")


def _pictures(folder: Path, num_rows: int) -> Source:
    """Noise, light or dark: as slow to decode as photographs."""
    random = np.random.default_rng(0)
    labels = [CLASSES[row % len(CLASSES)] for row in range(num_rows)]
    images = []
    for label in labels:
        pixels = random.integers(0, 128, (SIDE, SIDE, 3), np.uint8) + 127 * (label == "light")
        file = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(file, "jpeg", quality=80)
        images.append(file.getvalue())
    path = folder / "pictures.parquet"
    ids = [f"row-{row}" for row in range(num_rows)]
    pq.write_table(pa.table({"id": ids, "image": images, "label": labels}), path)
    return latest(Source(str(path), "image_classification", ("image",), "label", "id"))


def _swin(folder: Path, *, tiny: bool) -> str:
    """Path of a model with random weights: Swin-T at 224 pixels, or a small one at 32."""
    side = 32 if tiny else 224
    config = (
        SwinConfig(
            image_size=side, patch_size=4, embed_dim=24, depths=[1, 1], num_heads=[2, 4],
            window_size=4,
        ) if tiny else SwinConfig(image_size=side)
    )  # fmt: skip
    path = folder / "swin"
    SwinForImageClassification(config).save_pretrained(path)
    ViTImageProcessor(size={"height": side, "width": side}).save_pretrained(path)
    return str(path)


def product(setup: Setup, engine: Engine, out: Path, *, num_rows: int) -> float:
    """Rows/s of the epochs after the first, trained by the product into folders named as out."""

    def train_s(epochs: int) -> float:
        config = TrainConfig(
            model=setup.model,
            num_folds=0,
            epochs=epochs,
            batch_size=setup.batch_size,
            learning_rate=LEARNING_RATE,
            workers=setup.workers,
            checkpoint_interval_s=3600.0,
        )
        started = time.perf_counter()
        train(setup.source, config, f"{out}-{epochs}", engine)
        return time.perf_counter() - started

    one_s = train_s(1)
    return (EPOCHS - 1) * num_rows / (train_s(EPOCHS) - one_s)


def bare(setup: Setup) -> tuple[float, float]:
    """Rows/s of the epochs after the first, and of the step alone."""
    table = pq.read_table(setup.source.uri)
    rows = Rows.of(setup.source.task, table, table["label"].to_pylist())
    task = model_task(setup.source.task)
    with tempfile.TemporaryDirectory() as local:
        task.prepare(Path(local), model=setup.model, contents=[], labels=[])
        learner = task.load(Path(local), model=setup.model, classes=setup.classes, pretrained=True)
    inputs = learner.encode(rows.contents)
    targets = learner.encode_labels(rows.labels, rows.contents)
    num_loaders = setup.workers.cpus_per_gpu - 1
    module: nn.Module = learner.to(device()).train()  # type: ignore[attr-defined]
    optimizer = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE, fused=True)
    loader: DataLoader[Tensors] = DataLoader(
        range(len(inputs)),  # type: ignore[arg-type]
        batch_size=setup.batch_size,
        shuffle=True,
        num_workers=num_loaders,
        persistent_workers=num_loaders > 0,
        pin_memory=device().type == "cuda",
        collate_fn=lambda places: learner.collate(
            [inputs[place] for place in places], [targets[place] for place in places]
        ),
    )

    def rows_per_s(batches: Iterable[Tensors]) -> float:
        num_rows, started = 0, time.perf_counter()
        for batch in batches:
            with autocast():
                losses = learner(to_device(batch))[0]
            optimizer.zero_grad(set_to_none=True)
            loss = losses.mean()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(module.parameters(), MAX_GRADIENT_NORM)
            optimizer.step()
            num_rows += len(losses)
        float(loss.detach())  # what was asked of the GPU is over
        return num_rows / (time.perf_counter() - started)

    rows_per_s(loader)
    fed = rows_per_s(batch for _ in range(EPOCHS - 1) for batch in loader)
    one = to_device(next(iter(loader)))
    return fed, rows_per_s([one] * STEPS)


if __name__ == "__main__":
    typer.run(main)
