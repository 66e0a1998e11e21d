"""The network of the family `conv-ae` for pictures: convolutions over height and width, halving both at each step.

Masci et al., Stacked Convolutional Auto-Encoders for Hierarchical Feature Extraction, ICANN 2011. One record is one
picture of H x W pixels and C channels: its features row by row from the top, each row from the left, the channels of a
pixel beside each other.
"""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.convolutional import Convolutions, decoder, encoder
from export.errors import UsageError
from export.reconstruction import ReconstructionModule, power_of_two

_OVER_SIDES = Convolutions(nn.Conv2d, nn.ConvTranspose2d, 3)
_MOST_HALVINGS = 4
_FEWEST_CHANNELS, _FIRST_CHANNELS, _MOST_CHANNELS = 8, 64, 128
_CHANNEL_SIDES = 512  # first channels times a picture's side: what keeps a training of larger ones within minutes


class Shape(NamedTuple):
    """Of a picture."""

    height: int
    width: int
    channels: int

    @property
    def values(self) -> int:
        """How many features a picture is."""
        return self.height * self.width * self.channels


class PictureAutoencoder(nn.Module):
    """(batch, H * W * C) rebuilt; sides that are not a multiple of the steps are padded at the right and the bottom."""

    def __init__(self, shape: Shape, *, channels: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        step = 2 ** len(channels)
        self.padding = (0, -shape.width % step, 0, -shape.height % step)
        self.encoder = nn.Sequential(*encoder(_OVER_SIDES, 2 * shape.channels, channels, dropout))
        self.decoder = nn.Sequential(*decoder(_OVER_SIDES, shape.channels, channels))

    def forward(self, normal: Tensor, seen: Tensor) -> Tensor:
        """(batch, H * W * C) z-scores, rebuilt from those that are seen; it is told which these are."""
        height, width, channels = self.shape
        known = seen.to(normal.dtype)
        both = torch.stack((normal * known, known), dim=1).reshape(-1, 2, height, width, channels)
        picture = both.permute(0, 1, 4, 2, 3).flatten(1, 2)
        rebuilt: Tensor = self.decoder(self.encoder(functional.pad(picture, self.padding)))
        return rebuilt[:, :, :height, :width].permute(0, 2, 3, 1).flatten(1)


class PictureModule(ReconstructionModule):
    """The network is told which pixels are missing and learns to fill them: it would take the mean for a grey pixel."""

    def rebuild(self, normal: Tensor, seen: Tensor) -> Tensor:
        """(batch, H * W * C) z-scores, and what the network makes of those that are seen."""
        rebuilt: Tensor = self.network(normal, seen)
        return rebuilt

    def loss(self, window: Tensor, chance: torch.Generator) -> Tensor:
        """() mean squared error over all cells that hold a value, those included that were hidden from the network."""
        flat = window.flatten(1)
        seen = ~torch.isnan(flat)
        shown = seen & self.corruption.pierced(window.shape, chance).flatten(1)
        normal = self.normalised(flat, seen)
        squared: Tensor = (self.rebuild(self.corruption.noisy(normal, chance), shown) - normal) ** 2 * seen
        return squared.sum() / seen.sum().clamp(min=1)


def picture_shape(features: int, asked: Sequence[int] | None) -> Shape:
    """The picture that so many features are: as asked, H x W or H x W x C, else a square of one channel.

    Raises:
        UsageError: it does not have so many features.
    """
    side = round(features**0.5)
    shape = Shape(*(asked or (side, side)), *(() if asked and len(asked) > 2 else (1,)))
    if shape.values == features:
        return shape
    if asked:
        told = ",".join(map(str, asked))
        raise UsageError(f"--image-shape {told} makes {shape.values} features, but there are {features}.")
    raise UsageError(
        f"{features} features are no square picture: give --image-shape H,W or H,W,C (height, width, channels)."
    )


def picture_channels(
    shape: Shape, *, hidden: Sequence[int] | None, depth: int | None, bottleneck: int | None
) -> tuple[int, ...]:
    """Channels after each halving of the sides.

    Unless told otherwise both sides are halved until the shorter one is 2 or 3, at most four times. 64 channels at
    first for 8 x 8, fewer for larger pictures; after each halving twice as many, at most 128.
    """
    first = min(max(power_of_two(_CHANNEL_SIDES / sqrt(shape.height * shape.width)), _FEWEST_CHANNELS), _FIRST_CHANNELS)
    if hidden is None:
        side = min(shape.height, shape.width)
        halvings = depth or min(max(side.bit_length() - 2, 1), _MOST_HALVINGS)
        hidden = [min(first * 2**place, _MOST_CHANNELS) for place in range(halvings - 1)]
    return (*hidden, bottleneck or min(first * 2 ** len(hidden), _MOST_CHANNELS))
