"""The families `ae` and `dae`: a multilayer perceptron that rebuilds the flattened window.

`ae` has to pass through a bottleneck (Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural
Networks, Science 2006; for anomalies Sakurada and Yairi, MLSDA 2014). `dae` may be wide, but has to remove noise.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import sqrt

from torch import Tensor, nn

from export.errors import UsageError
from export.reconstruction import bottleneck_size, power_of_two

_EVENT_WIDTH, _EVENT_DEPTH = 256, 3
_LEAST_WIDTH, _MOST_WIDTH = 64, 512
_MOST_WEIGHTS = 1 << 18  # of a layer, beyond which it becomes narrower: what keeps a training within a minute


class Perceptron(nn.Module):
    """Encoder and mirrored decoder over (batch, W * F); the narrowest layer and the output are linear."""

    def __init__(self, sizes: Sequence[int], *, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*layers(sizes, dropout, ends_linear=True))
        self.decoder = nn.Sequential(*layers(sizes[::-1], dropout, ends_linear=True))

    def forward(self, normal: Tensor) -> Tensor:
        """(batch, W * F) z-scores, rebuilt."""
        rebuilt: Tensor = self.decoder(self.encoder(normal))
        return rebuilt


def layer_sizes(
    inputs: int,
    features: int,
    *,
    hidden: Sequence[int] | None,
    depth: int | None,
    bottleneck: int | None,
    usual: Sequence[int] = (),
) -> tuple[int, ...]:
    """Input, hidden layers and bottleneck of the encoder; the decoder mirrors it.

    Unless told otherwise the hidden layers are the `usual` ones, none narrower than the bottleneck. Where there are
    none, one hidden layer (`depth`) lies between inputs and bottleneck: layers shrink by one ratio, rounded to powers
    of 2 (256-64-16 for 32 rows of 8). Raises UsageError where the bottleneck would not be one.
    """
    bottleneck = bottleneck_size(inputs, features, bottleneck)
    if hidden is None and depth is None and usual:
        hidden = [max(width, bottleneck) for width in usual]
    if hidden is None:
        hidden = _between(inputs, bottleneck, 1 if depth is None else depth)
    return (inputs, *hidden, bottleneck)


def denoising_sizes(
    inputs: int, *, window: int, hidden: Sequence[int] | None, depth: int | None, bottleneck: int | None
) -> tuple[int, ...]:
    """The same for `dae`, which needs no bottleneck: the narrowest layer is as wide as the one before it.

    Unless told otherwise windows have one hidden layer (`depth`) of four times the inputs, between 64 and 512 units and
    narrower where the inputs are very many; events that stand alone have three of 256.
    """
    if hidden is None and window == 1:
        hidden = (_EVENT_WIDTH,) * (depth or _EVENT_DEPTH)
    elif hidden is None:
        width = power_of_two(min(4 * inputs, _MOST_WEIGHTS / inputs))
        hidden = (min(max(width, _LEAST_WIDTH), _MOST_WIDTH),) * (depth or 1)
    return (inputs, *hidden, bottleneck or hidden[-1])


def _between(inputs: int, bottleneck: int, depth: int) -> tuple[int, ...]:
    if depth == 1:
        return (max(power_of_two(sqrt(inputs * bottleneck)), bottleneck),)
    ratio = (bottleneck / inputs) ** (1 / (depth + 1))
    return tuple(max(power_of_two(inputs * ratio**place), bottleneck) for place in range(1, depth + 1))


def layers(sizes: Sequence[int], dropout: float, *, ends_linear: bool) -> Iterator[nn.Module]:
    """Linear layers of these sizes, each but (perhaps) the last with a ReLU and dropout behind it."""
    for place, (inputs, outputs) in enumerate(pairwise(sizes), start=2):
        yield nn.Linear(inputs, outputs)
        if place < len(sizes) or not ends_linear:
            yield nn.ReLU()
            if dropout:
                yield nn.Dropout(dropout)


def refuse_both(*, hidden: Sequence[int] | None, depth: int | None) -> None:
    """Raises UsageError where the layers are told twice."""
    if hidden is not None and depth is not None:
        raise UsageError("--hidden names every layer, --depth counts them: give one of the two.")
