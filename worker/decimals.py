"""float32 numbers in, the numbers to write for them out: the shortest decimals that read back as the same float32."""

import numpy as np
from numpy.typing import NDArray

from worker.batch import Float32

_SMALLEST, _LARGEST = -12, 15
"""Between these powers of ten a number is scaled by at most 10**20: up to 10**22 they are exact."""
_POWERS = np.array([float(f"1e{power}") for power in range(_SMALLEST, _LARGEST + 1)])
_SCALES = np.array([float(f"1e{power}") for power in range(23)])
_ENOUGH = 9  # significant digits that tell every float32 from its neighbours; 6 are the most that all of them keep
_LEAST = 6


def shortest(numbers: Float32) -> NDArray[np.float64]:
    """Of the same shape; what is not finite stays what it is.

    It takes powers from a table, for computed ones differ in the last digit from machine to machine.
    """
    single = numbers.ravel()
    wide = single.astype(np.float64)
    magnitude = np.abs(wide)
    usual = (magnitude >= _POWERS[0]) & (magnitude < _POWERS[-1])
    exponent = np.searchsorted(_POWERS, magnitude, side="right") - 1 + _SMALLEST
    left = np.flatnonzero(usual)
    result = wide.copy()
    for digits in range(_LEAST, _ENOUGH + 1):
        rounded = _rounded(wide[left], digits - 1 - exponent[left])
        result[left] = rounded
        left = left[rounded.astype(np.float32) != single[left]]
    unusual = np.flatnonzero(~usual & np.isfinite(wide) & (magnitude > 0))
    result[unusual] = [float(str(single[place])) for place in unusual]
    return result.reshape(numbers.shape)


def _rounded(numbers: NDArray[np.float64], decimals: NDArray[np.int64]) -> NDArray[np.float64]:
    up, down = _SCALES[np.maximum(decimals, 0)], _SCALES[np.maximum(-decimals, 0)]
    rounded: NDArray[np.float64] = np.rint(numbers * up / down) * down / up
    return rounded
