"""What families that rebuild a window share: normalisation, and the error as a raw score with blame."""

import numpy as np
import pytest
import torch
from torch import nn

from export.errors import DataError
from export.learning import Lessons
from export.reconstruction import ERROR_FLOOR, Frame, ReconstructionModule, normalisation, small_features


def test_the_scale_has_a_floor_by_the_size_of_the_values() -> None:
    rows = np.array([[1000, 0.5, 1], [1001, 0.5, 3], [np.nan, 0.5, 2]], np.float32)
    mean, scale = normalisation(rows, ("large", "constant", "usual"), window=1)
    assert mean.tolist() == [1000.5, 0.5, 2]
    assert scale.tolist() == pytest.approx([0.05 * 1001, 0.05, np.std([1, 2, 3])])


@pytest.mark.parametrize("window", [1, 8])
@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1e6])
def test_of_a_feature_alone_the_unit_does_not_matter(window: int, unit: float) -> None:
    rows = np.random.default_rng(0).normal(0.5, 0.001, (500, 1))
    (mean, scale), (as_mean, as_scale) = (
        normalisation((rows * factor).astype(np.float32), ("steady",), window=window) for factor in (1, unit)
    )
    assert as_mean == pytest.approx(mean * unit)
    assert as_scale == pytest.approx(scale * unit)


def test_values_that_float32_hardly_holds_count_as_0() -> None:
    for value in (0.0, 1e-40):
        assert normalisation(np.full((9, 1), value, np.float32), ("still",), window=8)[1] == pytest.approx([0.05])


def test_beside_others_a_small_feature_is_as_good_as_constant_and_told() -> None:
    rows = np.random.default_rng(0).normal(0, [0.001, 1], (500, 2)).astype(np.float32)
    names = ("small", "large")
    assert normalisation(rows, names, window=8)[1][0] == pytest.approx(0.05)
    assert len(small_features(rows, names)) == 1
    assert small_features(rows[:, :1], names[:1]) == ()


def test_over_a_window_no_feature_counts_by_how_rarely_it_moves() -> None:
    rows = np.zeros((1000, 3), np.float32)
    rows[::100, 0] = 1.0  # a command, once in a hundred rows
    rows[::2, 1] = 1.0
    rows[0, 2] = 1e6  # a value that cannot be
    _, alone = normalisation(rows, ("command", "steady", "spoilt"), window=1)
    _, scale = normalisation(rows, ("command", "steady", "spoilt"), window=8)
    assert alone[0] == pytest.approx(rows[:, 0].std())
    assert scale[0] == pytest.approx(1 / 4)
    assert scale[1] == pytest.approx(alone[1])
    assert alone[2] <= scale[2] <= 5.1 * alone[2]
    _, single = normalisation(rows[:, :1], ("command",), window=8)
    assert single == pytest.approx(alone[:1])  # nothing to compare it with


def test_a_feature_without_values_has_no_scale() -> None:
    with pytest.raises(DataError, match="'gone' has no value"):
        normalisation(np.array([[1, np.nan]], np.float32), ("here", "gone"), window=8)


@pytest.fixture
def module() -> ReconstructionModule:
    torch.manual_seed(0)
    mean, scale = np.array([10, -5], np.float32), np.array([2, 0.5], np.float32)
    network = nn.Sequential(nn.Linear(16, 4), nn.Linear(4, 16))
    return ReconstructionModule(network, Frame(window=8, mean=mean, scale=scale), Lessons()).eval()


@torch.no_grad()
def test_missing_values_neither_count_nor_disturb(module: ReconstructionModule) -> None:
    window = torch.tensor([[10.0, -5.0]]).repeat(1, 8, 1)
    holed = window.clone()
    holed[0, 3, 1] = torch.nan
    (raw, blame, expected), (other_raw, other_blame, other_expected) = module(window), module(holed)
    torch.testing.assert_close(expected, other_expected)  # the mean stands in for what is missing
    assert other_blame[0, 3, 1] == 0
    assert (blame[0, 3, 1] > 0) & (raw > 0) & (other_raw > 0)


@torch.no_grad()
def test_the_raw_score_is_the_root_of_the_blamed_errors_level_at_0(module: ReconstructionModule) -> None:
    module.weigh(torch.tensor([0.5, 2.0]))
    window = torch.randn(5, 8, 2, generator=torch.Generator().manual_seed(1)) * 3
    raw, blame, _ = module(window)
    torch.testing.assert_close((blame.sum(dim=(1, 2)) + 0.01).sqrt() - 0.1, raw)


@torch.no_grad()
def test_errors_that_are_nothing_but_rounding_make_no_raw_score() -> None:
    frame = Frame(window=8, mean=np.zeros(2, np.float32), scale=np.ones(2, np.float32))
    module = ReconstructionModule(nn.Threshold(torch.inf, 0.0), frame, Lessons())  # expects 0 everywhere
    module.weigh(torch.full((2,), ERROR_FLOOR))
    raw, _, _ = module(torch.full((1, 8, 2), 1e-6))
    assert 0 <= float(raw) < 1e-6  # by plain roots 1.4e-4


@torch.no_grad()
def test_an_error_counts_in_units_of_the_usual_one(module: ReconstructionModule) -> None:
    window = torch.randn(5, 8, 2, generator=torch.Generator().manual_seed(1)) * 3
    _, before, _ = module(window)
    module.weigh(torch.tensor([1.0, 4.0]))
    _, after, _ = module(window)
    torch.testing.assert_close(after[:, :, 0], before[:, :, 0])
    torch.testing.assert_close(after[:, :, 1], before[:, :, 1] / 4)


@torch.no_grad()
def test_the_newest_rows_count_twice(module: ReconstructionModule) -> None:
    weight = module.counted.reshape(8, 2, 2)
    assert weight[:, 0, 0].tolist() == [1] * 8
    assert weight[:, 0, 1].tolist() == [0] * 7 + [1]
