"""The error of each feature by itself: none decides alone, and what is blamed is what the score is made of."""

import numpy as np
import pytest
import torch
from torch import nn

from export.featurewise import FeaturewiseModule
from export.learning import Lessons
from export.reconstruction import Frame

WINDOW, FEATURES = 16, 3


def root(error: float) -> float:
    """Of a mean squared error in its usual size."""
    return (error + 0.01) ** 0.5 - 0.1


@pytest.fixture
def module() -> FeaturewiseModule:
    """Expects 0 in every cell."""
    frame = Frame(window=WINDOW, mean=np.zeros(FEATURES, np.float32), scale=np.ones(FEATURES, np.float32))
    network = nn.Linear(frame.inputs, frame.inputs)
    nn.init.zeros_(network.weight)
    nn.init.zeros_(network.bias)
    return FeaturewiseModule(network, frame, Lessons()).eval().requires_grad_(requires_grad=False)


def test_the_raw_score_is_the_mean_of_the_features_roots_over_the_window_and_its_newest_eighth(
    module: FeaturewiseModule,
) -> None:
    module.weigh(torch.tensor([1.0, 4.0, 1.0]))
    window = torch.zeros(2, WINDOW, FEATURES)
    window[0, 0] = torch.tensor([4.0, 8.0, 0.0])  # once in 16 rows, not among the newest
    window[1, -1, 2] = 4.0  # among the newest two
    raw, _, expected = module(window)
    assert raw.tolist() == pytest.approx([(root(1) + root(1)) / 3, (root(1) + root(8)) / 3])
    assert expected.shape == window.shape


def test_a_feature_that_leaves_all_measure_counts_by_its_root(module: FeaturewiseModule) -> None:
    module.weigh(torch.full((FEATURES,), 1e-4))
    window = torch.ones(2, WINDOW, FEATURES)
    window[1, :, 0] = 10.0
    raw, _, _ = module(window)
    assert raw[1] == pytest.approx(4 * float(raw[0]), rel=1e-2)  # by squares it would have been 5.8 times


def test_errors_that_are_nothing_but_rounding_hardly_count(module: FeaturewiseModule) -> None:
    module.weigh(torch.full((FEATURES,), 1e-4))
    raw, _, _ = module(torch.full((1, WINDOW, FEATURES), 1e-5))
    assert 0 <= float(raw) < 2e-5  # by plain roots it would have been 2e-3


def test_each_features_blame_is_its_part_of_the_score(module: FeaturewiseModule) -> None:
    window = torch.randn(5, WINDOW, FEATURES, generator=torch.Generator().manual_seed(0))
    raw, blame, _ = module(window)
    assert blame.sum(dim=(1, 2)) / FEATURES == pytest.approx(raw.tolist(), rel=1e-5)
    alone = torch.zeros_like(window)
    alone[:, :, 1] = window[:, :, 1]
    assert module(alone)[0] == pytest.approx((blame[:, :, 1].sum(dim=1) / FEATURES).tolist(), rel=1e-5)


def test_what_is_missing_neither_counts_nor_is_blamed(module: FeaturewiseModule) -> None:
    window = torch.ones(1, WINDOW, FEATURES)
    holed = window.clone()
    holed[:, ::2, 0] = torch.nan
    raw, blame, _ = module(holed)
    assert raw == pytest.approx(float(module(window)[0]))
    assert (blame[:, ::2, 0] == 0).all()
    nothing, blame, expected = module(torch.full_like(window, torch.nan))
    assert float(nothing) == 0.0
    assert float(blame.sum()) == 0.0
    assert torch.isfinite(expected).all()
