"""A small convolutional network over pictures and spectrograms, for training from nothing.

B rows, K channels, H x W pixels, C classes.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

WIDTHS = (32, 64, 128, 128)
MIN_SIDE = 8  # below, the next stage would see less than 4 pixels a side
DROPOUT = 0.2


class ConvNet(nn.Module):
    """Four stages of 3x3 convolution, batch norm and pooling, then the mean over all pixels.

    shift: in training, each row moves by up to so many pixels down and across, so that
    the few rows there are teach more.
    """

    def __init__(
        self, num_channels: int, num_classes: int, *, side: int, shift: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__()
        self.shift = shift
        stages: list[nn.Module] = []
        for before, after in zip((num_channels, *WIDTHS), WIDTHS, strict=False):
            stages += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
            stages.append(nn.ReLU(inplace=True))
            if side >= MIN_SIDE:
                stages.append(nn.MaxPool2d(2))
                side //= 2
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(WIDTHS[-1], num_classes))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """[B, K, H, W] of about zero mean and unit variance -> logits [B, C]."""
        if self.training and any(self.shift):
            pixels = _moved(pixels, self.shift)
        features: torch.Tensor = self.stages(pixels.contiguous(memory_format=torch.channels_last))
        logits: torch.Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def _moved(pixels: torch.Tensor, shift: Sequence[int]) -> torch.Tensor:
    """Each row moved by its own number of pixels; what comes in at an edge is zero."""
    num_rows, _, height, width = pixels.shape
    down, across = (
        torch.randint(-most, most + 1, (num_rows,), device=pixels.device) for most in shift
    )
    padded = functional.pad(pixels, (shift[1], shift[1], shift[0], shift[0]))
    rows = torch.arange(height, device=pixels.device) + (shift[0] + down)[:, None]
    columns = torch.arange(width, device=pixels.device) + (shift[1] + across)[:, None]
    row = torch.arange(num_rows, device=pixels.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[row, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)
