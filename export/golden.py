"""Windows that show a detector's every side: full, with holes, still filling, empty, far beyond anything seen."""

import numpy as np
from numpy.typing import NDArray

from export.windows import Windows

_PROBED_WINDOWS = 600


def golden_windows(windows: Windows, *, min_length: int) -> NDArray[np.float32]:
    """(8, W, F): two as they are, then one of each kind, made from others."""
    values = windows.spread(8).take(np.resize(np.arange(min(8, len(windows))), 8))
    values[2, ::2, 0] = np.nan  # holes in one feature
    values[3] = _still_filling(values[3], min_length)
    values[4] = _still_filling(values[4], 1)
    values[5, -1] = np.nan  # nothing known of the scored row
    values[6] = np.nan
    span = np.nanmax(values, axis=(0, 1), initial=0.0, where=~np.isnan(values)) - np.nanmin(
        values, axis=(0, 1), initial=0.0, where=~np.isnan(values)
    )
    values[7, -1] = np.nan_to_num(values[7, -1]) + 10 * (span + 1)
    return values


def probing_windows(windows: Windows, *, min_length: int, seed: int) -> NDArray[np.float32]:
    """(n, W, F) for the parity gate: the golden ones, and many more of which some have holes and some still fill."""
    few = windows.spread(_PROBED_WINDOWS)
    values = few.take(np.arange(len(few)))
    chance = np.random.default_rng(seed)
    values[1::3][chance.random(values[1::3].shape) < 0.1] = np.nan
    for place in range(2, len(values), 3):
        values[place] = _still_filling(values[place], int(chance.integers(1, windows.window + 1)))
    return np.concatenate((golden_windows(windows, min_length=min_length), values))


def _still_filling(window: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    shorter = window.copy()
    shorter[: len(window) - rows] = np.nan
    return shorter
