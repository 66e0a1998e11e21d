"""What the parity gate lets through."""

import numpy as np

from export.parity import difference, tolerances
from schemas.artifact import CONTRIBUTION, EXPECTED, P_VALUE, SCORE, STEP_SCORE


def outputs() -> dict[str, np.ndarray]:
    shape = (3, 2, 2)
    return {
        SCORE: np.array([0.1, 1.0, 5.0], np.float32),
        P_VALUE: np.array([0.5, 1e-3, 1e-15], np.float32),
        CONTRIBUTION: np.full(shape, 0.25, np.float32),
        EXPECTED: np.full(shape, 1e6, np.float32),
        STEP_SCORE: np.full((3, 2), 0.5, np.float32),
    }


def test_rounding_passes() -> None:
    other = {name: values * np.float32(1 + 1e-5) for name, values in outputs().items()}
    assert difference(other, outputs(), tolerances(outputs())) is None


def test_each_output_is_named_with_its_difference() -> None:
    for name, change in ((SCORE, 0.01), (P_VALUE, 1e-3), (CONTRIBUTION, 0.01), (EXPECTED, 1e3), (STEP_SCORE, 0.01)):
        other = outputs()
        other[name].flat[1] += change
        assert str(difference(other, outputs(), tolerances(outputs()))).startswith(f"output {name!r} differs by ")


def test_a_score_may_be_off_by_a_thousandth_of_the_threshold() -> None:
    for name in (SCORE, STEP_SCORE):
        for change, passes in ((9e-4, True), (2e-3, False)):
            other = outputs()
            other[name].flat[0] += change
            assert (difference(other, outputs(), tolerances(outputs())) is None) == passes


def test_a_p_value_is_compared_by_its_own_size() -> None:
    other = outputs()
    other[P_VALUE][2] *= 2
    # a tail so thin is beyond what the absolute tolerance leaves
    assert difference(other, outputs(), tolerances(outputs())) is None
    other[P_VALUE][1] *= 2
    assert difference(other, outputs(), tolerances(outputs())) is not None


def test_what_is_not_finite_never_passes() -> None:
    other = outputs()
    other[SCORE][0] = np.nan
    assert difference(other, outputs(), tolerances(outputs())) == "output 'score' is not finite"


def test_only_of_what_is_expected_both_may_have_no_opinion() -> None:
    one, other = outputs(), outputs()
    one[EXPECTED][0] = np.nan
    assert (
        difference(one, other, tolerances(other))
        == difference(other, one, tolerances(one))
        == "output 'expected' is not finite"
    )
    other[EXPECTED][0] = np.nan
    assert difference(one, other, tolerances(other)) is None
    one[SCORE][0] = other[SCORE][0] = np.nan
    assert difference(one, other, tolerances(other)) == "output 'score' is not finite"
