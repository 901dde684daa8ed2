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
from cluster.data.rows import Source, latest
from cluster.engine.devices import autocast, device, to_device
from cluster.engine.ray import RayEngine
from cluster.interfaces import Tensors
from cluster.tasks import model_task
from cluster.training.config import TrainConfig
from cluster.training.loop import MAX_GRADIENT_NORM
from cluster.training.train import train
from jobs.common import options
from jobs.common.session import ray_session
from relabel_service.media.fetch import data_uri

CLASSES = ("dark", "light")
SIDE = 256  # pixels of a stored picture
EPOCHS = 3
STEPS = 20
LEARNING_RATE = 1e-4


@options.grouped
def main(
    engine: options.EngineOptions,
    rows: Annotated[int, typer.Option(help="pictures")] = 1024,
    repeats: Annotated[int, typer.Option(help="turns of each side")] = 3,
    batch_size: Annotated[int, typer.Option(help="pictures a step")] = 32,
) -> None:
    """Print rows/s of both sides and their ratio, least to greatest."""
    with tempfile.TemporaryDirectory() as local, ray_session():
        folder = Path(local)
        source, model = _pictures(folder, rows), _swin(folder, tiny=not engine.use_gpu)

        def ours_s(turn: int, epochs: int) -> float:
            settings = TrainConfig(
                model=model,
                num_folds=0,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=LEARNING_RATE,
                workers=engine.workers(),
                checkpoint_interval_s=3600.0,
            )
            started = time.perf_counter()
            train(source, settings, str(folder / f"ours-{turn}-{epochs}"), RayEngine())
            return time.perf_counter() - started

        alone, bare, ours = [], [], []
        for turn in range(repeats):
            fed, step = _bare(
                source, model, batch_size=batch_size, num_loaders=engine.cpus_per_gpu - 1
            )
            bare.append(fed)
            alone.append(step)
            later_s = ours_s(turn, EPOCHS) - ours_s(turn, 1)
            ours.append((EPOCHS - 1) * rows / later_s)
    print(f"step alone     {spread(alone)} rows/s")
    print(f"bare loop      {spread(bare)} rows/s")
    print(f"train          {spread(ours)} rows/s")
    print(f"train / bare   {spread([own / base for own, base in zip(ours, bare, strict=True)])}")


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


def _bare(source: Source, model: str, *, batch_size: int, num_loaders: int) -> tuple[float, float]:
    """Rows/s of the epochs after the first, and of the step alone."""
    task, table = model_task(source.task), pq.read_table(source.uri)
    with tempfile.TemporaryDirectory() as local:
        task.prepare(Path(local), model=model, contents=[], labels=[])
        learner = task.load(Path(local), model=model, classes=CLASSES, pretrained=True)
    contents = [data_uri(image, "image/jpeg") for image in table["image"].to_pylist()]
    labels = table["label"].to_pylist()
    inputs, targets = learner.encode(contents), learner.encode_labels(labels, contents)
    module: nn.Module = learner.to(device()).train()  # type: ignore[attr-defined]
    optimizer = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE, fused=True)
    loader: DataLoader[Tensors] = DataLoader(
        range(len(inputs)),  # type: ignore[arg-type]
        batch_size=batch_size,
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
