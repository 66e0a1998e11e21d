"""The autoencoder's sizes."""

import pytest

from export.autoencoder import layer_sizes
from export.errors import UsageError


@pytest.mark.parametrize(
    ("window", "features", "sizes"),
    [
        (32, 8, (256, 64, 16)),
        (32, 19, (608, 128, 32)),
        (1, 30, (30, 16, 15)),
        (32, 1, (32, 8, 2)),
        (1, 2, (2, 2, 1)),
        (100, 55, (5500, 1024, 256)),
    ],
)
def test_sizes_follow_the_number_of_inputs(window: int, features: int, sizes: tuple[int, ...]) -> None:
    assert layer_sizes(window * features, features, hidden=None, depth=None, bottleneck=None) == sizes


def test_sizes_can_be_told() -> None:
    assert layer_sizes(256, 8, hidden=[128, 64], depth=None, bottleneck=16) == (256, 128, 64, 16)


def test_what_is_no_bottleneck_is_refused() -> None:
    with pytest.raises(UsageError, match="no bottleneck for 8 inputs"):
        layer_sizes(8, 8, hidden=None, depth=None, bottleneck=8)
    with pytest.raises(UsageError, match="nothing to compress"):
        layer_sizes(1, 1, hidden=None, depth=None, bottleneck=None)
