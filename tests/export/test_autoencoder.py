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


@pytest.mark.parametrize(("templates", "sizes"), [(14, (15, 256, 64, 7)), (1000, (1001, 500, 500, 500))])
def test_usual_layers_are_no_narrower_than_the_bottleneck(templates: int, sizes: tuple[int, ...]) -> None:
    inputs = templates + 1
    assert layer_sizes(inputs, inputs, hidden=None, depth=None, bottleneck=None, usual=(256, 64)) == sizes
    assert layer_sizes(inputs, inputs, hidden=[9], depth=None, bottleneck=2, usual=(256, 64)) == (inputs, 9, 2)
    assert layer_sizes(15, 15, hidden=None, depth=1, bottleneck=4, usual=(256, 64)) == (15, 8, 4)


def test_what_is_no_bottleneck_is_refused() -> None:
    with pytest.raises(UsageError, match="no bottleneck for 8 inputs"):
        layer_sizes(8, 8, hidden=None, depth=None, bottleneck=8)
    with pytest.raises(UsageError, match="nothing to compress"):
        layer_sizes(1, 1, hidden=None, depth=None, bottleneck=None)
