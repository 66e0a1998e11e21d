"""Labels and scores of one series in, the volumes under its range-based PR and ROC surfaces out. Knows no detector.

Paparrizos et al., "Volume Under the Surface", PVLDB 15(11), 2022; the variant `opt` with 250 thresholds, by which the
benchmark TSB-AD (Liu and Paparrizos, NeurIPS 2024) ranks detectors.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.runs import runs_of

THRESHOLDS = 250

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Volumes:
    """Both between 0 and about 1, 1 = perfect."""

    pr: float
    roc: float


def volumes(label: Bool, score: Float64, *, window: int) -> Volumes:
    """VUS-PR and VUS-ROC: the mean of the range-based areas over the buffers 0, 1, ..., `window`.

    With a buffer of w rows, a row at distance d <= w // 2 before or after an incident counts as sqrt(1 - d / w) of
    an anomaly, and recall is multiplied by the share of incidents, buffers included, that have an alarm.

    Args:
        label: (n,) the rows of incidents.
        score: (n,) high = anomalous; only the order counts.
        window: the widest buffer, in rows.

    Raises:
        ValueError: only one kind of row is there, a score is not finite, or the window is negative.
    """
    if not label.any() or label.all():
        raise ValueError("a surface needs rows of both kinds, normal and anomalous")
    if not np.isfinite(score).all():
        raise ValueError("every score must be finite")
    if window < 0:
        raise ValueError(f"the window must be 0 or more rows, and is {window}")
    curve = _Curve(label, _first_threshold(score))
    areas = np.array([curve.areas(buffer) for buffer in range(window + 1)])
    pr, roc = areas.mean(axis=0)
    return Volumes(pr=float(pr), roc=float(roc))


def _first_threshold(score: Float64) -> Int64:
    """(n,) the place of the highest of the thresholds, evenly spaced ranks of the scores, that each row reaches."""
    descending = np.sort(score)[::-1]
    thresholds = descending[np.linspace(0, len(score) - 1, THRESHOLDS).astype(np.int64)]
    return np.searchsorted(-thresholds, -score, side="left")


class _Curve:
    """What does not depend on the buffer. A row alarms at the thresholds from its `first` one on."""

    def __init__(self, label: Bool, first: Int64) -> None:
        self._label = label
        self._first = first
        self._begin, self._end = runs_of(label)  # both included
        self._alarms = _accumulated(first)
        self._inside = _accumulated(first[label])

    def areas(self, buffer: int) -> tuple[float, float]:
        """Under the range-based PR and ROC curves."""
        rows, share = self._buffer_rows(buffer)
        beside = _accumulated(self._first[rows], share)
        found = self._inside + beside
        anomalous = self._label.sum() + beside / 2
        recall = np.minimum(found / anomalous, 1.0) * self._share_of_incidents(buffer)
        false_positive_rate = (self._alarms - found) / (len(self._label) - anomalous)
        precision = found / self._alarms
        x = np.r_[0.0, false_positive_rate, 1.0]
        y = np.r_[0.0, recall, 1.0]
        return float(np.diff(y[:-1]) @ precision), float(np.diff(x) @ (y[1:] + y[:-1]) / 2)

    def _buffer_rows(self, buffer: int) -> tuple[Int64, Float64]:
        """The normal rows beside incidents, and how much of an anomaly each is: at most 1 where two buffers meet."""
        distance = np.arange(1, buffer // 2 + 1)
        rows = np.concatenate(((self._begin[:, None] - distance).ravel(), (self._end[:, None] + distance).ravel()))
        shares = np.tile(np.sqrt(1 - distance / max(buffer, 1)), 2 * len(self._begin))
        within = (rows >= 0) & (rows < len(self._label))
        rows, shares = rows[within], shares[within]
        normal = ~self._label[rows]
        unique, place = np.unique(rows[normal], return_inverse=True)
        return unique, np.minimum(np.bincount(place, shares[normal], minlength=len(unique)), 1.0)

    def _share_of_incidents(self, buffer: int) -> Float64:
        """(thresholds,) of incidents with their buffers, those that touch being one: the share with an alarm."""
        half = buffer // 2
        apart = self._end[:-1] + half < self._begin[1:] - half
        begin = np.maximum(self._begin[np.r_[True, apart]] - half, 0)
        end = np.minimum(self._end[np.r_[apart, True]] + half + 1, len(self._label))
        bounds = np.stack((begin, end), axis=1).ravel()
        padded = np.r_[self._first, THRESHOLDS - 1]  # the last bound may be the length
        return _accumulated(np.minimum.reduceat(padded, bounds)[::2]) / len(begin)


def _accumulated(first: Int64, weight: Float64 | None = None) -> Float64:
    """(thresholds,) the number, or weight, of what alarms at each."""
    return np.cumsum(np.bincount(first, weight, minlength=THRESHOLDS)).astype(np.float64)
