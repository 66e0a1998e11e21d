"""The plain baseline, from a manifest's quantiles."""

import numpy as np
import pytest

from export.z_score import z_score
from schemas.manifest import Feature

STANDARD = Feature(name="x", quantiles=[-3.0, -3.0, -2.3, -1.645, -0.67, 0.0, 0.67, 1.645, 2.3, 3.0, 3.0])
CONSTANT = Feature(name="y", quantiles=[40.0] * 11)


def test_it_is_the_mean_square_of_the_distances_in_standard_deviations() -> None:
    rows = np.array([[0.0, 40.0], [2.0, 40.0], [0.0, 42.0], [np.nan, np.nan]], dtype=np.float32)
    assert z_score(rows, [STANDARD, CONSTANT]) == pytest.approx([0.0, 2.0, 0.5, 0.0], abs=1e-6)


def test_a_wild_value_says_no_more_than_twenty_deviations() -> None:
    assert z_score(np.array([[1e9]], dtype=np.float32), [STANDARD]) == pytest.approx([400.0])


def test_without_quantiles_there_is_none() -> None:
    assert z_score(np.zeros((3, 2), dtype=np.float32), [STANDARD, Feature(name="y")]) is None
