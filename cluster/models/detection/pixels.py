"""Images at the size that a built-in detector sees."""

import numpy as np
from PIL import Image

from relabel_service.media.images import Pixels


def resized(image: Image.Image, longest: int) -> Pixels:
    """The picture with its longer side at `longest` pixels: [height, width, 3]."""
    scale = longest / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    scaled = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(scaled, np.uint8)
