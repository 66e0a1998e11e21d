"""The curve from raw score to p-value, as numpy fits it and as the graph computes it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from export.calibration import PValueCurve, fit_curve
from export.graph import Outputs, ScoredDetector, shares


class Echo(nn.Module):
    """A detector whose raw score is the window's first value."""

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return window[:, 0, 0], window, window


def scored(curve: PValueCurve, raw: np.ndarray) -> Outputs:
    return ScoredDetector(Echo(), curve)(torch.from_numpy(raw.astype(np.float32).reshape(-1, 1, 1)))


def exponential(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=count).astype(np.float32)


scores = st.lists(st.floats(0, 1000, width=32), min_size=50, max_size=300).map(
    lambda values: np.array(values, np.float32)
)
rates = st.floats(1e-6, 0.4)


@given(scores, rates, st.lists(st.floats(0, 5000, width=32), min_size=2, max_size=100))
@settings(max_examples=200, deadline=None)
def test_score_never_falls_as_the_raw_score_rises(held_back: np.ndarray, rate: float, raw: list[float]) -> None:
    result = scored(fit_curve(held_back, alarm_rate=rate), np.sort(raw))
    assert (result.score.diff() >= 0).all()
    assert (result.p_value.diff() <= 0).all()
    assert ((result.p_value > 0) & (result.p_value <= 1)).all()
    assert torch.isfinite(result.score).all()


@given(scores, rates, st.lists(st.floats(0, 5000, width=32), min_size=1, max_size=100))
@settings(max_examples=200, deadline=None)
def test_score_is_above_one_exactly_where_the_p_value_is_below_the_alarm_rate(
    held_back: np.ndarray, rate: float, raw: list[float]
) -> None:
    curve = fit_curve(held_back, alarm_rate=rate)
    around = curve.threshold + np.linspace(-1e-5, 1e-5, 41) * max(curve.threshold, 1)
    result = scored(curve, np.concatenate((raw, around.clip(min=0))))
    alarms = result.score.numpy() > 1
    assert (alarms == (result.p_value.numpy().astype(np.float64) < rate)).all()
    assert (alarms == (result.p_value.numpy() < np.float32(rate))).all() or float(np.float32(rate)) < rate


def test_score_rises_strictly_through_body_and_tail() -> None:
    curve = fit_curve(exponential(5000), alarm_rate=0.001)
    assert (scored(curve, np.linspace(0, 40, 4000)).score.diff() > 0).all()


def test_p_values_are_those_of_the_distribution() -> None:
    curve = fit_curve(exponential(200_000), alarm_rate=0.001)
    raw = np.array([0.05, 0.5, 1.0, 3.0, 5.0, 9.0, 14.0])
    np.testing.assert_allclose(np.log(scored(curve, raw).p_value.numpy()), -raw, rtol=0.05, atol=0.01)


def test_the_threshold_is_where_the_score_is_one() -> None:
    for rate in (0.2, 0.01, 0.0001):
        curve = fit_curve(exponential(3000), alarm_rate=rate)
        assert scored(curve, np.array([curve.threshold])).score.item() == pytest.approx(1, abs=1e-5)


def test_the_score_of_a_rarity_squared_is_two() -> None:
    curve = fit_curve(exponential(3000), alarm_rate=0.001)
    twice = curve.tail_start + curve.tail_scale * (-2 * math.log(0.001) - curve.surprise[-1])
    result = scored(curve, np.array([twice]))
    assert result.score.item() == pytest.approx(2, rel=1e-5)
    assert result.p_value.item() == pytest.approx(1e-6, rel=1e-3)


def test_equal_scores_make_a_curve_too() -> None:
    for value in (0.0, 3.0):
        curve = fit_curve(np.full(60, value, np.float32), alarm_rate=0.001)
        result = scored(curve, np.array([0.0, value, value + 1]))
        assert result.score[0] == 0
        assert result.score[2] > 1


def test_a_score_that_many_windows_share_is_as_common_as_they_are() -> None:
    curve = fit_curve(np.repeat([1.0, 2.0, 3.0], [900, 60, 40]).astype(np.float32), alarm_rate=0.01)
    p_value = scored(curve, np.array([1.0, 2.0, 3.0])).p_value.numpy()
    np.testing.assert_allclose(p_value, [1, 0.1, 0.04], atol=0.001)


@pytest.mark.parametrize(
    "held_back",
    [
        pytest.param(3.2e-5 + 1e-6 * exponential(200), id="a series that never moves"),
        pytest.param(1 + 1e-6 * exponential(200), id="windows that are all alike"),
        pytest.param(exponential(5000), id="many windows"),
        pytest.param(1e3 * exponential(200), id="a heavy tail"),
    ],
)
def test_what_two_runtimes_differ_in_by_rounding_makes_no_other_score(held_back: np.ndarray) -> None:
    curve = fit_curve(held_back.astype(np.float32), alarm_rate=0.001)
    raw = np.linspace(0, 2 * held_back.max(), 500)
    score, other = (scored(curve, raw * (1 + 1e-6) + shift).score.numpy() for shift in (0, 1e-6))
    np.testing.assert_allclose(score, other, rtol=1e-4, atol=1e-4)


def test_shares_of_nothing_lie_alike_on_the_last_row() -> None:
    blame = torch.zeros(2, 3, 4)
    blame[1, 0, 2] = 5.0
    part = shares(blame)
    assert part[0, -1].tolist() == [0.25] * 4
    assert part[1, 0, 2] == 1
    assert part.sum(dim=(1, 2)).tolist() == [1, 1]


def test_shares_of_hardly_anything_are_hardly_told_from_those_of_nothing() -> None:
    rounding = 1e-8 * torch.eye(4).repeat(2, 1, 1)
    rounding[1] = rounding[1].flip(0)
    torch.testing.assert_close(shares(rounding)[0], shares(rounding)[1], atol=2e-5, rtol=0)
