"""Rows and the training quantiles of a manifest in, the plainest score there is out: a detector must beat it.

A feature's distance from its training median in standard deviations, these told from the 5 % and 95 % quantiles as if
it were normally distributed; the score is the mean of the squares. It knows no time and nothing of how features move
together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.manifest import QUANTILE_LEVELS, Feature

_CLIP = 20.0  # a feature that left its training range by more says no more by it
_SPREAD = 3.29  # standard deviations from the 5 % to the 95 % quantile of a normal distribution
_FLOOR = 0.05  # of the largest value, and of 1: a feature that never moved does not divide by nothing
_LOWEST, _FIVE, _MEDIAN, _NINETY_FIVE, _HIGHEST = map(QUANTILE_LEVELS.index, (0.0, 0.05, 0.5, 0.95, 1.0))


def z_score(rows: NDArray[np.float32], features: Sequence[Feature]) -> NDArray[np.float64] | None:
    """(n,) high = anomalous; a missing value counts as the median. None where the manifest holds no quantiles.

    Args:
        rows: (n, F).
        features: F of them.
    """
    quantiles = [feature.quantiles for feature in features if feature.quantiles is not None]
    if len(quantiles) < len(features):
        return None
    level = np.array(quantiles)  # (F, levels)
    largest = np.abs(level[:, [_LOWEST, _HIGHEST]]).max(axis=1)
    deviation = np.maximum((level[:, _NINETY_FIVE] - level[:, _FIVE]) / _SPREAD, _FLOOR * np.maximum(1.0, largest))
    z = np.clip((rows - level[:, _MEDIAN]) / deviation, -_CLIP, _CLIP)
    return np.asarray(np.square(np.where(np.isnan(z), 0.0, z)).mean(axis=1))
