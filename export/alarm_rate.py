"""Labels and alarms in, how often normal rows raise one out: in all, a day, and as time goes on. Knows no detector.

This is what an alarm rate is a promise about. A threshold is frozen with its file and the world is not, so the rate is
also told for equal parts of the rows, oldest first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PARTS = 10
DAY_MS = 86_400_000

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmCounts:
    """Rows, counted each by itself."""

    labelled_rows: int
    true_alarms: int
    normal_rows: tuple[int, ...]  # of each part, oldest first; those that could raise an alarm
    false_alarms: tuple[int, ...]  # of each part
    entity_days: float | None  # None without times

    @property
    def precision(self) -> float | None:
        """The share of alarms in incidents; None without alarms."""
        alarms = self.true_alarms + sum(self.false_alarms)
        return self.true_alarms / alarms if alarms else None

    @property
    def recall(self) -> float | None:
        """The share of labelled rows that raised an alarm; None without labelled rows."""
        return self.true_alarms / self.labelled_rows if self.labelled_rows else None

    @property
    def false_alarm_rate(self) -> float | None:
        """The share of normal rows that raised an alarm; None without normal rows."""
        normal = sum(self.normal_rows)
        return sum(self.false_alarms) / normal if normal else None

    @property
    def false_alarm_rate_over_time(self) -> tuple[float | None, ...]:
        """The same for each part."""
        parts = zip(self.false_alarms, self.normal_rows, strict=True)
        return tuple(false / normal if normal else None for false, normal in parts)

    @property
    def alarms_a_day(self) -> float | None:
        """For each entity; None where it cannot be said how long it was observed."""
        return (self.true_alarms + sum(self.false_alarms)) / self.entity_days if self.entity_days else None


def count_alarms(label: Bool, alarm: Bool, warming: Bool, time_ms: Int64 | None) -> AlarmCounts:
    """Counts one entity's rows, all (n,) and in order; warming rows never alarm, so no promise is about them."""
    part = np.arange(len(label)) * PARTS // max(1, len(label))
    return AlarmCounts(
        labelled_rows=int(label.sum()),
        true_alarms=int((alarm & label).sum()),
        normal_rows=_by_part(part[~label & ~warming]),
        false_alarms=_by_part(part[~label & alarm]),
        entity_days=None if time_ms is None else observed_days(time_ms),
    )


def observed_days(time_ms: Int64) -> float:
    """One entity's observed time: a row stands for the median step after it."""
    return float(np.median(np.diff(time_ms))) * len(time_ms) / DAY_MS if len(time_ms) > 1 else 0.0


def together(counts: Sequence[AlarmCounts]) -> AlarmCounts:
    """The counts of all entities as one, their parts laid over each other."""
    days = [count.entity_days for count in counts if count.entity_days is not None]
    return AlarmCounts(
        labelled_rows=sum(count.labelled_rows for count in counts),
        true_alarms=sum(count.true_alarms for count in counts),
        normal_rows=tuple(map(sum, zip(*(count.normal_rows for count in counts), strict=True))),
        false_alarms=tuple(map(sum, zip(*(count.false_alarms for count in counts), strict=True))),
        entity_days=sum(days) if len(days) == len(counts) else None,
    )


def kept_promise(score: Float64, alarm_rate: float, promised: Float64) -> Float64:
    """The shares of normal rows that would raise an alarm at thresholds which promise these shares, all in (0, 1).

    Args:
        score: (n,) of normal rows that may raise one, in units of the artifact contract.
        alarm_rate: The one of the manifest, at which the score is 1.
        promised: (k,) p-values.
    """
    threshold = np.log(promised) / np.log(alarm_rate)
    return np.asarray(1 - np.searchsorted(np.sort(score), threshold, side="right") / len(score))


def _by_part(part: Int64) -> tuple[int, ...]:
    return tuple(np.bincount(part, minlength=PARTS).tolist())
