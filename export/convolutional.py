"""The network of the family `conv-ae`: convolutions over time, halving the window at each step, and back; denoising.

Masci et al., Stacked Convolutional Auto-Encoders for Hierarchical Feature Extraction, ICANN 2011.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from export.errors import UsageError
from export.reconstruction import power_of_two

_DEPTH = 3
_LEAST_CHANNELS, _MOST_CHANNELS = 16, 64
_LEAST_CODE = 4


class Convolutions(NamedTuple):
    """Over how many axes they go, and how far they look along each."""

    halving: type[nn.Conv1d | nn.Conv2d]
    doubling: type[nn.ConvTranspose1d | nn.ConvTranspose2d]
    kernel: int


_OVER_TIME = Convolutions(nn.Conv1d, nn.ConvTranspose1d, 5)


class ConvolutionalAutoencoder(nn.Module):
    """(batch, W * F) as F channels of W steps; windows that are not a multiple of the steps are padded in front."""

    def __init__(self, *, window: int, features: int, channels: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.window, self.features = window, features
        self.padding = -window % 2 ** len(channels)
        self.encoder = nn.Sequential(*encoder(_OVER_TIME, features, channels, dropout))
        self.decoder = nn.Sequential(*decoder(_OVER_TIME, features, channels))

    def forward(self, normal: Tensor) -> Tensor:
        """(batch, W * F) z-scores, rebuilt."""
        steps = normal.reshape(-1, self.window, self.features).transpose(1, 2)
        rebuilt: Tensor = self.decoder(self.encoder(functional.pad(steps, (self.padding, 0))))
        return rebuilt[:, :, self.padding :].transpose(1, 2).flatten(1)


def encoder(over: Convolutions, width: int, channels: Sequence[int], dropout: float) -> Iterator[nn.Module]:
    """From `width` channels to the code: so many channels after each halving, the last without a ReLU."""
    for place, wider in enumerate(channels, start=1):
        yield over.halving(width, wider, over.kernel, stride=2, padding=over.kernel // 2)
        if place < len(channels):
            yield nn.ReLU()
            if dropout:
                yield nn.Dropout(dropout)
        width = wider


def decoder(over: Convolutions, width: int, channels: Sequence[int]) -> Iterator[nn.Module]:
    """Back from the code, doubling as often."""
    outwards = [*channels[::-1], max(channels)]
    for inner, outer in pairwise(outwards):
        yield over.doubling(inner, outer, 4, stride=2, padding=1)
        yield nn.ReLU()
    yield over.halving(outwards[-1], width, over.kernel, padding=over.kernel // 2)


def channel_sizes(
    window: int, features: int, *, hidden: Sequence[int] | None, depth: int | None, bottleneck: int | None
) -> tuple[int, ...]:
    """Channels after each halving; unless told otherwise three halvings, fewer in a window of fewer rows.

    The last is the bottleneck: a sixteenth of the window's values unless told otherwise, at least 4 a step. Raises
    UsageError where the window is too short to be halved so often.
    """
    if hidden is None:
        depth = depth or max(1, min(_DEPTH, window.bit_length() - 2))
        hidden = (min(max(power_of_two(2 * features), _LEAST_CHANNELS), _MOST_CHANNELS),) * (depth - 1)
    halvings = len(hidden) + 1
    if 2**halvings > window:
        raise UsageError(f"a window of {window} rows cannot be halved {halvings} times: raise --window, lower --depth.")
    code = bottleneck or max(power_of_two(features * 2**halvings / 16), _LEAST_CODE)
    return (*hidden, code)
