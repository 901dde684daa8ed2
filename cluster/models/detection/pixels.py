"""Pixels of images whose labels are boxes in them: as stored, whatever EXIF says of turning."""

import io

import numpy as np
from PIL import Image

from relabel_service.media.images import Pixels


def decode(data: bytes) -> Image.Image:
    """The picture in RGB, not turned by its EXIF: boxes are in stored pixels."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def resized(image: Image.Image, longest: int) -> Pixels:
    """The picture with its longer side at `longest` pixels: [height, width, 3]."""
    scale = longest / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    scaled = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(scaled, np.uint8)
