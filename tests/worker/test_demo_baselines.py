from collections.abc import Callable, Mapping

import numpy as np
import pytest

from worker.demo.baselines import Calibrated, Setting, pca, tail_threshold, z_score

SETTING = Setting(window=4, bottleneck=4, alarm_rate=0.01, held_back=0.25, tail_share=0.05)

Baseline = Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray], Setting], Calibrated]


def normal_rows(seed: int, rows: int = 4000) -> np.ndarray:
    """Three metrics that follow one hidden cause."""
    random = np.random.default_rng(seed)
    cause = random.normal(size=(rows, 1))
    return (cause @ np.array([[1.0, 0.8, -0.5]]) + 0.3 * random.normal(size=(rows, 3))).astype(np.float32)


def test_the_threshold_is_exceeded_at_the_alarm_rate() -> None:
    scores = np.random.default_rng(0).exponential(size=200_000)
    threshold = tail_threshold(scores[:100_000], alarm_rate=0.001, tail_share=0.05)
    assert np.mean(scores[100_000:] > threshold) == pytest.approx(0.001, rel=0.25)


@pytest.mark.parametrize("baseline", [z_score, pca])
def test_normal_rows_raise_alarms_at_about_the_alarm_rate(baseline: Baseline) -> None:
    scored = baseline({"a": normal_rows(0)}, {"a": normal_rows(1)}, SETTING)
    assert 0.002 < np.mean(scored.score["a"] > 1) < 0.03


@pytest.mark.parametrize("baseline", [z_score, pca])
def test_a_row_far_from_all_others_raises_an_alarm(baseline: Baseline) -> None:
    rows = normal_rows(1)
    rows[100] += 30
    scored = baseline({"a": normal_rows(0)}, {"a": rows}, SETTING)
    assert scored.score["a"][100] > 1


def test_pca_sees_a_broken_relation_that_each_metric_alone_hides() -> None:
    rows = normal_rows(1)
    rows[100] = [1.8, -1.5, 1.0]
    assert pca({"a": normal_rows(0)}, {"a": rows}, SETTING).score["a"][100] > 1
    assert z_score({"a": normal_rows(0)}, {"a": rows}, SETTING).score["a"][100] < 1


def test_pca_says_nothing_before_its_first_full_window() -> None:
    score = pca({"a": normal_rows(0)}, {"a": normal_rows(1)}, SETTING).score["a"]
    assert np.isnan(score[:3]).all()
    assert np.isfinite(score[3:]).all()


def test_the_held_back_rows_do_not_shape_the_detector() -> None:
    train = normal_rows(0)
    changed = train.copy()
    changed[3000:] += 5  # only calibration sees these: the scores keep their order
    first = z_score({"a": train}, {"a": normal_rows(1)}, SETTING).score["a"]
    second = z_score({"a": changed}, {"a": normal_rows(1)}, SETTING).score["a"]
    ratio = second / first
    assert ratio.max() == pytest.approx(ratio.min())
    assert ratio.max() < 1


def test_a_metric_that_never_moved_does_not_divide_by_nothing() -> None:
    train = np.zeros((400, 3), np.float32)
    train[:, 0] = np.linspace(0, 1, 400)
    assert np.isfinite(z_score({"a": train}, {"a": train}, SETTING).score["a"]).all()
