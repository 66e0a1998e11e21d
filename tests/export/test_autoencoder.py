"""The autoencoder's sizes, normalisation and error."""

import numpy as np
import pytest
import torch

from export.autoencoder import AutoencoderModule, layer_sizes, normalisation
from export.errors import DataError, UsageError


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
    assert layer_sizes(window * features, features, None, None) == sizes


def test_sizes_can_be_told() -> None:
    assert layer_sizes(256, 8, [128, 64], 16) == (256, 128, 64, 16)


def test_what_is_no_bottleneck_is_refused() -> None:
    with pytest.raises(UsageError, match="no bottleneck for 8 inputs"):
        layer_sizes(8, 8, None, 8)
    with pytest.raises(UsageError, match="nothing to compress"):
        layer_sizes(1, 1, None, None)


def test_the_scale_has_a_floor_by_the_size_of_the_values() -> None:
    rows = np.array([[1000, 0.5, 1], [1001, 0.5, 3], [np.nan, 0.5, 2]], np.float32)
    mean, scale = normalisation(rows, ("large", "constant", "usual"))
    assert mean.tolist() == [1000.5, 0.5, 2]
    assert scale.tolist() == pytest.approx([0.05 * 1001, 0.05, np.std([1, 2, 3])])


def test_a_feature_without_values_has_no_scale() -> None:
    with pytest.raises(DataError, match="'gone' has no value"):
        normalisation(np.array([[1, np.nan]], np.float32), ("here", "gone"))


@pytest.fixture
def module() -> AutoencoderModule:
    torch.manual_seed(0)
    mean, scale = np.array([10, -5], np.float32), np.array([2, 0.5], np.float32)
    return AutoencoderModule(window=8, sizes=(16, 8, 4), mean=mean, scale=scale).eval()


@torch.no_grad()
def test_missing_values_neither_count_nor_disturb(module: AutoencoderModule) -> None:
    window = torch.tensor([[10.0, -5.0]]).repeat(1, 8, 1)
    holed = window.clone()
    holed[0, 3, 1] = torch.nan
    (raw, blame, expected), (other_raw, other_blame, other_expected) = module(window), module(holed)
    torch.testing.assert_close(expected, other_expected)  # the mean stands in for what is missing
    assert other_blame[0, 3, 1] == 0
    assert (blame[0, 3, 1] > 0) & (raw > 0) & (other_raw > 0)


@torch.no_grad()
def test_the_raw_score_is_the_root_of_the_blamed_errors(module: AutoencoderModule) -> None:
    module.accustom(torch.tensor([0.5, 2.0]))
    window = torch.randn(5, 8, 2, generator=torch.Generator().manual_seed(1)) * 3
    raw, blame, _ = module(window)
    torch.testing.assert_close(blame.sum(dim=(1, 2)).sqrt(), raw)


@torch.no_grad()
def test_an_error_counts_in_units_of_the_usual_one(module: AutoencoderModule) -> None:
    window = torch.randn(5, 8, 2, generator=torch.Generator().manual_seed(1)) * 3
    _, before, _ = module(window)
    module.accustom(torch.tensor([1.0, 4.0]))
    _, after, _ = module(window)
    torch.testing.assert_close(after[:, :, 0], before[:, :, 0])
    torch.testing.assert_close(after[:, :, 1], before[:, :, 1] / 4)


@torch.no_grad()
def test_the_newest_rows_count_twice(module: AutoencoderModule) -> None:
    weight = module.counted.reshape(8, 2, 2)
    assert weight[:, 0, 0].tolist() == [1] * 8
    assert weight[:, 0, 1].tolist() == [0] * 7 + [1]
