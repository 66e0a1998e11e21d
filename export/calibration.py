"""Raw scores of held-back windows in, the curve from raw score to p-value out. Knows no windows and no network.

The curve is -log(p): piecewise linear through quantiles of the held-back scores, and a straight line beyond the highest
per cent, which is an exponential tail of p. It rises strictly from 0 at raw score 0, so ranks are kept everywhere
(empirical p-values with the +1 of conformal prediction, Bates et al., arXiv 2104.08279; the tail is peaks over
threshold with shape 0, Siffer et al., KDD 2017).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Each knot is compared with every event's score, so they are few: some for the common half, more for the rare one.
_COMMON_KNOTS = 8
_RARE_KNOTS = 24
# Nearer to the alarm rate the tail fits better (5 % took every second alarm away on machine data, 1 % every tenth).
_TAIL_SHARE = 0.01
_FEWEST_EXCEEDANCES = 20
# Raw scores are of the order of 1, and two runtimes differ in them by 1e-6: over nearer knots that would become a
# difference in the score (a series that never moves has raw scores of 1e-5, nothing but rounding).
_CLOSEST_KNOTS = 1e-2
_CLOSEST_SHARE = 1e-5  # of the highest knot


@dataclass(frozen=True, slots=True, kw_only=True)
class PValueCurve:
    """-log(p) at its knots, linear between them; beyond the last it rises by 1 for every `tail_scale`."""

    knots: NDArray[np.float64]  # (k,) raw scores, rising strictly from 0
    surprise: NDArray[np.float64]  # (k,) -log(p), rising strictly from 0
    tail_scale: float
    alarm_rate: float
    windows: int

    @property
    def tail_start(self) -> float:
        """The raw score from which on the exponential tail holds."""
        return float(self.knots[-1])

    @property
    def threshold(self) -> float:
        """The raw score at which the p-value equals the alarm rate."""
        wanted = -math.log(self.alarm_rate)
        if wanted > self.surprise[-1]:
            return self.tail_start + (wanted - float(self.surprise[-1])) * self.tail_scale
        return float(np.interp(wanted, self.surprise, self.knots))

    @property
    def slopes(self) -> NDArray[np.float64]:
        """(k,) of -log(p) from each knot on."""
        return np.append(np.diff(self.surprise) / np.diff(self.knots), 1 / self.tail_scale)


def fit_curve(raw: NDArray[np.float32], *, alarm_rate: float) -> PValueCurve:
    """The curve for these scores of normal windows, all finite and >= 0.

    Args:
        raw: (n,) held-back windows' raw scores.
        alarm_rate: The p-value at which a score becomes 1.
    """
    ordered = np.sort(raw.astype(np.float64))
    count = len(ordered)
    exceedances = min(max(round(count * _TAIL_SHARE), _FEWEST_EXCEEDANCES), count // 2)
    tail_place = count - 1 - exceedances
    places = _knot_places(count, tail_place)
    # p = (how many others scored at least as high, + 1) / (n + 1): where lines are counted many are equal
    surprise = -np.log((count - np.searchsorted(ordered, ordered[places])) / (count + 1))
    knots, surprise = _rising(np.append(0.0, ordered[places]), np.append(0.0, surprise))
    excess = ordered[tail_place + 1 :] - ordered[tail_place]
    return PValueCurve(
        knots=knots,
        surprise=surprise,
        tail_scale=max(float(excess.mean()) if exceedances else 0.0, 1e-3 * float(knots[-1]), _CLOSEST_KNOTS),
        alarm_rate=alarm_rate,
        windows=count,
    )


def _knot_places(count: int, tail_place: int) -> NDArray[np.int64]:
    """(k,) which of `count` ordered scores become knots: evenly spaced in p below the median, in log(p) above."""
    middle = min(count // 2, tail_place)
    common = np.linspace(0, middle, _COMMON_KNOTS)
    rare = count - np.geomspace(count - middle, count - tail_place, _RARE_KNOTS)
    return np.unique(np.concatenate((common, rare)).round().astype(np.int64))


def _rising(
    knots: NDArray[np.float64], surprise: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Without the knots that do not rise (equal scores): of equal ones the rarest counts."""
    closest = max(_CLOSEST_KNOTS, _CLOSEST_SHARE * float(knots[-1]))
    kept = [len(knots) - 1]
    for place in range(len(knots) - 2, -1, -1):
        if knots[kept[-1]] - knots[place] > closest:
            kept.append(place)
    kept[-1] = 0  # the curve begins at raw score 0 with p = 1, whatever lies too near
    order = kept[::-1]
    return knots[order], surprise[order]
