"""How well scores order rows: by hand, by the golden cases, and by what must hold for every score."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.ranking import auroc, average_precision, recall_at, weights_of_prior
from tests.export.test_vus import CASES, GOLDEN, incidents

LABEL = np.array([False, True, False, True, False])
SCORE = np.array([0.1, 0.9, 0.8, 0.4, 0.4])  # from the top: found, false, a tie of both, false


def test_the_areas_by_hand() -> None:
    assert auroc(LABEL, SCORE) == pytest.approx((3 + 1.5) / 6)  # of 6 pairs
    assert average_precision(LABEL, SCORE) == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)


@pytest.mark.parametrize(("rate", "recall"), [(0.0, 0.5), (0.33, 0.5), (0.34, 0.5), (0.67, 1.0), (1.0, 1.0)])
def test_the_recall_is_one_that_a_threshold_has(rate: float, recall: float) -> None:
    assert recall_at(LABEL, SCORE, false_positive_rate=rate) == recall


def test_no_recall_is_left_where_a_normal_row_scores_highest() -> None:
    assert recall_at(LABEL, -SCORE, false_positive_rate=0.0) == 0.0


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"window-{case['window']}")
def test_the_golden_cases_are_reproduced(case: dict[str, float]) -> None:
    with np.load(GOLDEN / "vus_golden.npz") as arrays:
        label, score = arrays[f"{case['case']}/label"] == 1, arrays[f"{case['case']}/score"]
    assert auroc(label, score) == pytest.approx(case["auc_roc"], abs=1e-9)
    assert average_precision(label, score) == pytest.approx(case["auc_pr"], abs=1e-9)


@given(label=incidents())
def test_a_perfect_order_has_the_highest_figures(label: np.ndarray) -> None:
    score = label.astype(np.float64)
    assert auroc(label, score) == 1.0
    assert average_precision(label, score) == pytest.approx(1.0)
    assert recall_at(label, score, false_positive_rate=0.0) == 1.0


@given(label=incidents())
def test_a_constant_score_has_the_share_of_anomalies_as_its_precision(label: np.ndarray) -> None:
    assert average_precision(label, np.full(len(label), 3.0)) == pytest.approx(label.mean())
    assert auroc(label, np.full(len(label), 3.0)) == pytest.approx(0.5)


@given(label=incidents(), seed=st.integers(0, 99), rate=st.floats(0, 1))
def test_only_the_order_of_scores_counts(label: np.ndarray, seed: int, rate: float) -> None:
    score = np.random.default_rng(seed).integers(-5, 5, len(label)).astype(np.float64)
    other = np.exp(score / 2) * 3 - 7
    assert auroc(label, score) == auroc(label, other)
    assert average_precision(label, score) == average_precision(label, other)
    assert recall_at(label, score, false_positive_rate=rate) == recall_at(label, other, false_positive_rate=rate)


@given(label=incidents(), seed=st.integers(0, 99))
def test_a_weight_of_two_is_a_row_twice(label: np.ndarray, seed: int) -> None:
    score = np.random.default_rng(seed).integers(-5, 5, len(label)).astype(np.float64)
    weight = np.where(label, 1.0, 2.0)
    twice = np.repeat(np.arange(len(label)), weight.astype(int))
    for figure in (auroc, average_precision):
        assert figure(label, score, weight=weight) == pytest.approx(figure(label[twice], score[twice]))


@given(label=incidents(), prior=st.floats(0.001, 0.999))
def test_the_weights_of_a_prior_make_it_the_precision_of_a_constant_score(label: np.ndarray, prior: float) -> None:
    weight = weights_of_prior(label, prior)
    assert average_precision(label, np.zeros(len(label)), weight=weight) == pytest.approx(prior)


@pytest.mark.parametrize("label", [np.zeros(5, dtype=np.bool_), np.ones(5, dtype=np.bool_)])
def test_rows_of_one_kind_have_no_order_to_judge(label: np.ndarray) -> None:
    with pytest.raises(ValueError, match="both kinds"):
        auroc(label, SCORE)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        average_precision(LABEL, np.array([0.0, 1.0, np.nan, 0.0, 0.0]))
