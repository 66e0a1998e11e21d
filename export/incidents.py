"""Labels and alarms of one entity in, incidents found, their delays and false episodes out. Nothing is point-adjusted.

An incident is a run of labelled rows; it is found if at least one of its rows raised an alarm, no sooner, no later.
An episode is what interrupts a person once: alarms of one entity with at most `gap_ms` between one and the next, or,
without times, alarms in consecutive rows. An episode is false if none of its alarms lies in an incident.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.runs import runs_of

EPISODE_GAP_MS = 3_600_000
"""Alarms closer than this are one interruption for a person."""

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentCounts:
    """What the alarms made of the incidents."""

    incidents: int
    delay_rows: tuple[int, ...]  # of each found incident, from its first row to its first alarm
    delay_ms: tuple[int, ...] | None  # the same as time; None without times
    episodes: int
    false_episodes: int

    @property
    def found(self) -> int:
        """Incidents with at least one alarm inside."""
        return len(self.delay_rows)

    @property
    def recall(self) -> float | None:
        """The share of incidents that were found; None where there is none."""
        return self.found / self.incidents if self.incidents else None

    @property
    def precision(self) -> float | None:
        """The share of episodes that are not false; None where there is none."""
        return 1 - self.false_episodes / self.episodes if self.episodes else None

    @property
    def median_delay_rows(self) -> float | None:
        """None where nothing was found."""
        return float(np.median(self.delay_rows)) if self.delay_rows else None

    @property
    def median_delay_s(self) -> float | None:
        """None where nothing was found, or without times."""
        return float(np.median(self.delay_ms)) / 1000 if self.delay_ms else None


def count_incidents(label: Bool, alarm: Bool, time_ms: Int64 | None, *, gap_ms: int = EPISODE_GAP_MS) -> IncidentCounts:
    """Counts one entity's rows: label, alarm and, where known, time of each, all (n,) and in order."""
    begin, end = runs_of(label)
    alarms = np.flatnonzero(alarm)
    next_alarm = np.searchsorted(alarms, begin)  # of each incident, the place of the first alarm not before it
    first_alarm = np.append(alarms, len(label))[next_alarm]
    found = first_alarm <= end
    begin, first_alarm = begin[found], first_alarm[found]
    episode = _episode_of(alarms, time_ms, gap_ms)
    episodes = int(episode[-1]) + 1 if len(episode) else 0
    true_episodes = len(np.unique(episode[label[alarms]]))
    return IncidentCounts(
        incidents=len(end),
        delay_rows=tuple((first_alarm - begin).tolist()),
        delay_ms=None if time_ms is None else tuple((time_ms[first_alarm] - time_ms[begin]).tolist()),
        episodes=episodes,
        false_episodes=episodes - true_episodes,
    )


def together(counts: Sequence[IncidentCounts]) -> IncidentCounts:
    """The counts of all entities as one; at least one is needed."""
    timed = [count.delay_ms for count in counts if count.delay_ms is not None]
    return IncidentCounts(
        incidents=sum(count.incidents for count in counts),
        delay_rows=tuple(delay for count in counts for delay in count.delay_rows),
        delay_ms=tuple(delay for delays in timed for delay in delays) if len(timed) == len(counts) else None,
        episodes=sum(count.episodes for count in counts),
        false_episodes=sum(count.false_episodes for count in counts),
    )


def _episode_of(alarms: Int64, time_ms: Int64 | None, gap_ms: int) -> Int64:
    """The episode of each alarm, counted from 0."""
    apart = np.diff(alarms) > 1 if time_ms is None else np.diff(time_ms[alarms]) > gap_ms
    return np.cumsum(np.r_[0, apart])[: len(alarms)]
