"""Labels and alarms in, how often normal rows raise one out: in all, a day, and as time goes on. Knows no detector.

This is what an alarm rate is a promise about. A threshold is frozen with its file and the world is not, so the rate is
also told for equal parts of the time, oldest first. And a score that stays high while its window still holds rows of an
incident is neither wrong nor drift, so the rate is told once more for the rows that are clear of incidents.
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
    clear_rows: tuple[int, ...]  # those of the normal rows whose score saw no row of an incident
    clear_false_alarms: tuple[int, ...]
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
        return _share(sum(self.false_alarms), sum(self.normal_rows))

    @property
    def false_alarm_rate_over_time(self) -> tuple[float | None, ...]:
        """The same for each part."""
        return tuple(map(_share, self.false_alarms, self.normal_rows))

    @property
    def clear_rate(self) -> float | None:
        """The share of rows clear of incidents that raised an alarm; None without such rows."""
        return _share(sum(self.clear_false_alarms), sum(self.clear_rows))

    @property
    def clear_rate_over_time(self) -> tuple[float | None, ...]:
        """The same for each part."""
        return tuple(map(_share, self.clear_false_alarms, self.clear_rows))

    @property
    def alarms_a_day(self) -> float | None:
        """For each entity; None where it cannot be said how long it was observed."""
        return (self.true_alarms + sum(self.false_alarms)) / self.entity_days if self.entity_days else None


def parts_of(time_ms: Int64 | None, entities: Sequence[slice]) -> Int64:
    """(n,) the part that each row of all entities falls into, 0 = the oldest.

    Equal spans of the time from the first row of all to the last, so that a day is in one part whoever's it is; without
    times equal numbers of each entity's rows.
    """
    if time_ms is None:
        lengths = [rows.stop - rows.start for rows in entities]
        return np.concatenate([np.arange(length) * PARTS // length for length in lengths])
    since = time_ms - time_ms.min()
    return np.asarray(since * PARTS // (since.max() + 1))


def saw_incident(label: Bool, length: Int64) -> Bool:
    """(n,) whether the windows that end in each row, of so many rows, hold a labelled one."""
    row = np.arange(len(label))
    last_labelled = np.maximum.accumulate(np.where(label, row, -1))
    return np.asarray(last_labelled > row - length)


def covered_by(windows: Bool, length: Int64) -> Bool:
    """(n,) whether at least one of these windows, which end in the marked rows, covers a row."""
    last = np.flatnonzero(windows)
    change = np.zeros(len(windows) + 1, dtype=np.int64)
    np.add.at(change, last - length[last] + 1, 1)
    np.add.at(change, last + 1, -1)
    return np.asarray(np.cumsum(change)[:-1] > 0)


def count_alarms(
    label: Bool, alarm: Bool, warming: Bool, time_ms: Int64 | None, *, part: Int64, touched: Bool
) -> AlarmCounts:
    """Counts one entity's rows, all (n,) and in order; warming rows never alarm, so no promise is about them.

    Args:
        label: Rows of incidents.
        alarm: Rows that raised one.
        warming: Rows that could not.
        time_ms: None without times.
        part: As `parts_of` says.
        touched: Rows whose score saw a row of an incident, be they of one or not.
    """
    clear = ~label & ~touched
    return AlarmCounts(
        labelled_rows=int(label.sum()),
        true_alarms=int((alarm & label).sum()),
        normal_rows=_by_part(part[~label & ~warming]),
        false_alarms=_by_part(part[~label & alarm]),
        clear_rows=_by_part(part[clear & ~warming]),
        clear_false_alarms=_by_part(part[clear & alarm]),
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
        normal_rows=_sums([count.normal_rows for count in counts]),
        false_alarms=_sums([count.false_alarms for count in counts]),
        clear_rows=_sums([count.clear_rows for count in counts]),
        clear_false_alarms=_sums([count.clear_false_alarms for count in counts]),
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


def _sums(parts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*parts, strict=True)))


def _share(alarms: int, rows: int) -> float | None:
    return alarms / rows if rows else None
