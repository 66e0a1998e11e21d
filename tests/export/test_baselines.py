import numpy as np
import pytest

from export.baselines import FEWEST_WINDOWS, fit_baselines
from export.windows import Windows


def windows(rows: np.ndarray, *, window: int) -> Windows:
    last = np.arange(len(rows))
    return Windows(rows=rows, last=last, length=np.minimum(last + 1, window), window=window)


def scores(training: np.ndarray, judged: np.ndarray, *, window: int = 1) -> dict[str, np.ndarray]:
    baselines = fit_baselines(windows(training, window=window), training)
    assert baselines is not None
    return baselines.score(windows(judged, window=window), lambda done, total: None)


def on_a_line(count: int, *, features: int = 4, seed: int = 0) -> np.ndarray:
    """(count, features): one quantity seen by several sensors, and a little noise."""
    chance = np.random.default_rng(seed)
    along = chance.normal(size=(count, 1))
    return (along * np.ones(features) + 0.05 * chance.normal(size=(count, features))).astype(np.float32)


@pytest.mark.parametrize(
    "anomaly",
    [pytest.param([1, 1, 1, -1], id="off the directions"), pytest.param([9, 9, 9, 9], id="far out along them")],
)
def test_both_find_what_no_single_value_shows_and_what_lies_far_out(anomaly: list[float]) -> None:
    judged = np.concatenate((on_a_line(200, seed=1), np.array([anomaly], np.float32)))
    for score in scores(on_a_line(400), judged).values():
        assert score[-1] > 2 * score[:-1].max()


def test_prototypes_find_the_hole_between_two_states_and_pca_cannot() -> None:
    chance = np.random.default_rng(0)
    states = np.where(chance.random((600, 1)) < 0.5, -1.0, 1.0) + 0.05 * chance.normal(size=(600, 2))
    judged = np.array([[1, 1], [0, 0]], np.float32)
    found = scores(states.astype(np.float32), judged)
    assert found["prototypes"][1] > 5 * found["prototypes"][0]
    assert found["PCA"][1] < found["PCA"][0]


def test_what_is_missing_or_never_seen_is_no_anomaly_and_every_score_is_finite() -> None:
    training = on_a_line(300)
    training[:, 3] = np.nan
    judged = on_a_line(50, seed=2)
    judged[10] = np.nan
    judged[20, 0] = 1e30
    for window in (1, 8):
        for score in scores(training, judged, window=window).values():
            assert np.isfinite(score).all()
            assert score.argmax() in range(20, 20 + window)
            assert score[10] < np.median(score) or window > 1


def test_one_feature_in_a_window_of_one_row_is_enough() -> None:
    for score in scores(on_a_line(100, features=1), np.array([[0.0], [9.0]], np.float32)).values():
        assert score[1] > score[0]


def test_more_inputs_than_windows_and_equal_results_for_equal_data() -> None:
    wide = on_a_line(80, features=2100)
    first, second = (scores(wide, wide[:5]) for _ in range(2))
    for name, score in first.items():
        assert np.isfinite(score).all()
        np.testing.assert_array_equal(score, second[name])


def test_too_few_windows_make_no_baseline() -> None:
    few = on_a_line(FEWEST_WINDOWS - 1)
    assert fit_baselines(windows(few, window=1), few) is None
