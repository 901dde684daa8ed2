"""The network of the built-in detector and what it learns from.

Shapes: B images a batch, C classes, N boxes; images are [3, H, W], maps [.., h, w] with
a cell for each STRIDE pixels.
"""

import torch
from torch import nn
from torch.nn import functional

STRIDE = 4
SPREAD = 0.09  # a peak's standard deviation over its box's side (TTFNet's 0.54 / 6)
NEAR = 0.3  # height of the peak from which a cell learns the box


class CenterNetwork(nn.Module):
    """Images [B, 3, H, W] as bytes -> heat [B, C, H/4, W/4] (logits), sides [B, 4, ..] (pixels)."""

    def __init__(self, num_classes: int, log_half: tuple[float, float]) -> None:
        super().__init__()
        self.fine = nn.Sequential(_conv(3, 16, 2), _conv(16, 32, 2), _Residual(32))
        self.middle = nn.Sequential(_conv(32, 64, 2), _Residual(64))
        self.coarse = nn.Sequential(_conv(64, 96, 2), _Residual(96), _Residual(96))
        self.from_coarse = _conv(96, 64, 1, size=1)
        self.from_middle = _conv(64, 32, 1, size=1)
        self.mix_middle, self.mix_fine = _conv(64, 64), _conv(32, 48)
        self.heat = nn.Conv2d(48, num_classes, 1)
        self.sides = nn.Conv2d(48, 4, 1)
        assert self.heat.bias is not None
        assert self.sides.bias is not None
        nn.init.constant_(self.heat.bias, -4.6)  # a hundredth: most cells hold no object
        nn.init.normal_(self.sides.weight, std=0.01)
        self.sides.bias.data = torch.tensor([*log_half, *log_half])

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shade = images.float().div_(127.5).sub_(1.0).contiguous(memory_format=torch.channels_last)
        fine = self.fine(shade)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        middle = self.mix_middle(middle + _doubled(self.from_coarse(coarse)))
        mixed = self.mix_fine(fine + _doubled(self.from_middle(middle)))
        return self.heat(mixed), self.sides(mixed).float().clamp(-2.0, 8.0).exp()


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_conv(width, width), _conv(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)  # type: ignore[no-any-return]


def _conv(narrow: int, wide: int, stride: int = 1, *, size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(narrow, wide, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(wide),
        nn.ReLU(inplace=True),
    )


def _doubled(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def maps(boxes: torch.Tensor, shape: torch.Size) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the maps should be. boxes: [B, N, 5] in pixels, class -1 for none.

    Returns peaks [B, C, h, w] in [0, 1], 1 at centres alone; near [B, h, w], the height of the
    highest peak at a cell; owner [B, h, w], whose peak that is.
    """
    num_images, _, height, width = shape
    if not boxes.shape[1]:
        nothing = boxes.new_zeros(num_images, height, width)
        return boxes.new_zeros(shape), nothing, nothing.long()
    kind, corners = boxes[..., 0].long(), boxes[..., 1:] / STRIDE
    centre = (corners[..., :2] + corners[..., 2:]) / 2
    cell = centre.floor().clamp_(min=0)
    cell = torch.minimum(cell, cell.new_tensor([width - 1, height - 1]))
    spread = ((corners[..., 2:] - corners[..., :2]) * SPREAD).clamp_(min=0.4)
    across = torch.arange(width, device=boxes.device) - cell[..., 0, None]
    down = torch.arange(height, device=boxes.device) - cell[..., 1, None]
    peak = torch.exp(
        -(down[..., :, None] ** 2) / (2 * spread[..., 1, None, None] ** 2)
        - (across[..., None, :] ** 2) / (2 * spread[..., 0, None, None] ** 2)
    )
    peak = peak * (kind >= 0)[..., None, None]  # [B, N, h, w]
    channel = kind.clamp(min=0)[..., None, None].expand_as(peak)
    peaks = peak.new_zeros(shape).scatter_reduce(1, channel, peak, "amax")
    near, owner = peak.max(dim=1)
    return peaks, near, owner


def heat_loss(heat: torch.Tensor, peaks: torch.Tensor) -> torch.Tensor:
    """Focal loss with lighter penalty near a centre (Zhou et al. 2019, equation 1): [B]."""
    score = heat.sigmoid()
    yes, no = functional.logsigmoid(heat), functional.logsigmoid(-heat)
    centre = peaks == 1
    loss = torch.where(centre, -((1 - score) ** 2) * yes, -((1 - peaks) ** 4) * score**2 * no)
    return loss.flatten(1).sum(1) / centre.flatten(1).sum(1).clamp(min=1)


def box_loss(
    sides: torch.Tensor, boxes: torch.Tensor, near: torch.Tensor, owner: torch.Tensor
) -> torch.Tensor:
    """One minus generalized IoU (Rezatofighi et al. 2019) of cells near a centre: [B]."""
    if not boxes.shape[1]:
        return sides.flatten(1).sum(1) * 0.0
    weight = (near * (near >= NEAR)).flatten(1)
    wanted = boxes[..., 1:].gather(1, owner.flatten(1)[..., None].expand(-1, -1, 4))
    predicted = corners_of(sides).flatten(2).transpose(1, 2)
    loss = (1 - _generalized_iou(predicted, wanted)) * weight
    return loss.sum(1) / weight.sum(1).clamp(min=1e-6)


def corners_of(sides: torch.Tensor) -> torch.Tensor:
    """Distances to left, top, right and bottom of each cell's middle -> corners: [B, 4, h, w]."""
    height, width = sides.shape[2:]
    x = (torch.arange(width, device=sides.device) + 0.5) * STRIDE
    y = (torch.arange(height, device=sides.device) + 0.5) * STRIDE
    left, top, right, bottom = sides.unbind(1)
    return torch.stack([x - left, y[:, None] - top, x + right, y[:, None] + bottom], dim=1)


def _generalized_iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """In [-1, 1], of corners [.., 4] pair by pair."""
    both = _extent(
        torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    )
    hull = _extent(
        torch.minimum(one[..., :2], other[..., :2]), torch.maximum(one[..., 2:], other[..., 2:])
    )
    either = _extent(one[..., :2], one[..., 2:]) + _extent(other[..., :2], other[..., 2:]) - both
    return both / either.clamp(min=1e-6) - (hull - either) / hull.clamp(min=1e-6)


def _extent(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    return (high - low).clamp(min=0).prod(dim=-1)
