"""Raw scores of held-back windows, and whose they are, in; a curve of p-values for each entity that has enough, out.

What is enough is a matter of the alarm rate: a rate of 1 in 1,000 is not known from 1,000 windows, and neighbouring
windows, which share most of their rows, are worth far less than their number. docs/quality.md tells what came of
thresholds by too few.
"""

import numpy as np
from numpy.typing import NDArray

from export.calibration import PValueCurve, fit_curve
from export.windows import Windows

ENOUGH_ALARMS = 10
"""Alarms to be expected of an entity's held-back windows, of those that share no row: its rate is known to a third."""


def own_curves(
    raw: NDArray[np.float32], windows: Windows, entity: NDArray[np.int32], *, alarm_rate: float
) -> dict[int, PValueCurve]:
    """The curve of each entity that has enough held-back windows, by its place in the data.

    Args:
        raw: (m,) of the windows.
        windows: m held-back ones, sorted by their rows.
        entity: (n,) of the rows.
        alarm_rate: The p-value at which a score becomes 1.
    """
    whose = entity[windows.last]
    curves = {}
    for one in np.unique(whose).tolist():
        of_one = whose == one
        if _apart(windows.last[of_one], windows.window) * alarm_rate >= ENOUGH_ALARMS:
            curves[one] = fit_curve(raw[of_one], alarm_rate=alarm_rate)
    return curves


def _apart(last: NDArray[np.int64], window: int) -> int:
    """How many windows could stand beside each other in the rows that these cover."""
    return 1 + int(np.minimum(np.diff(last), window).sum()) // window
