"""A column of truths becomes its runs: where each begins and ends."""

import numpy as np
from numpy.typing import NDArray


def runs_of(truth: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last row of each run of true values, both included."""
    change = np.diff(np.r_[0, truth.astype(np.int8), 0])
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1) - 1
