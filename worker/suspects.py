"""Which records kill the process that scores them: found by halving, passed over from then on.

A worker that takes a partition up records its attempt with the committed offset before it scores anything from there,
and the first commit beyond clears it. Who finds an attempt there knows that a worker ended: it goes on with care, batch
by batch, and lets the attempts count on. Who finds `ENOUGH` of them suspects the records. Workers are killed for many
reasons, so only a trial of the records themselves (`worker.trial`) tells whether they are to blame.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import compress

import numpy as np

from worker.batch import Events, Int64, Records, Refused, Windows

ENOUGH = 3
"""Attempts before this one."""
WATCHED_BATCHES = 16
"""How far on the record may lie at which a worker ended: as many batches may be published, or on their way, at once."""

CRASH = "crash"
_MESSAGE = "The model's runtime dies of this record, or does not come back from it."


class Watches:
    """Partitions where workers ended before: their first batches are committed one by one, and tried if suspected."""

    def __init__(self, *, max_events: int) -> None:
        self._records = WATCHED_BATCHES * max_events
        self._left: dict[int, int] = {}
        self._suspected: set[int] = set()

    def __bool__(self) -> bool:
        """Whether anything is watched."""
        return bool(self._left)

    @property
    def suspected(self) -> list[int]:
        """The partitions whose records are to be tried."""
        return [*self._suspected]

    def begin(self, place: int, *, before: int) -> None:
        """Watch a partition, if workers ended there before."""
        if before > 0:
            self._left[place] = self._records
        if before >= ENOUGH:
            self._suspected.add(place)

    def passed(self, partition: Int64) -> None:
        """The records of a batch came to a good end."""
        for place in self._left:
            self._left[place] -= int((partition == place).sum())

    def over(self, *, at_end: Callable[[int], bool]) -> list[int]:
        """The partitions that need no watch any more: past the records that it is for, or all of them read."""
        return [place for place, left in self._left.items() if left <= 0 or at_end(place)]

    def end(self, places: Iterable[int] | None = None) -> list[int]:
        """Watch these no more (all, where not said), as far as they were watched; which these were."""
        ended = list(self._left if places is None else self._left.keys() & set(places))
        for place in ended:
            del self._left[place]
        self._suspected -= set(ended)
        return ended


def first_culprit(suspects: Int64, kill: Callable[[Int64], bool]) -> int | None:
    """The first of the suspects (rows, in order) that kills on its own, twice; None where there is none.

    `kill(rows)` says whether scoring these rows together does.
    """
    if not len(suspects) or not kill(suspects):
        return None
    while len(suspects) > 1:
        former, latter = np.array_split(suspects, 2)
        suspects = former if kill(former) else latter
    return int(suspects[0]) if kill(suspects) and kill(suspects) else None


def without(events: Events, records: Records, skipped: Mapping[int, frozenset[int]]) -> Events:
    """The batch's events without the records that kill: those are refused. `skipped` has their offsets by partition."""
    if not skipped:
        return events
    partition, offset = records.partition[events.row], records.offset[events.row]
    out = np.zeros(len(events), np.bool_)
    for place, offsets in skipped.items():
        out |= (partition == place) & np.isin(offset, list(offsets))
    if not out.any():
        return events
    kept = ~out
    return replace(
        events,
        row=events.row[kept],
        entity=list(compress(events.entity, kept)),
        event_time=events.event_time[kept],
        features=events.features[kept],
        context=None if events.context is None else list(compress(events.context, kept)),
        refused=[*events.refused, *(Refused(row, CRASH, _MESSAGE) for row in events.row[out].tolist())],
    )


def some(windows: Windows, rows: Int64) -> Windows:
    """These rows of the batch's windows."""
    return Windows(
        values=windows.values[rows],
        elapsed=None if windows.elapsed is None else windows.elapsed[rows],
        length=windows.length[rows],
        first_offset=windows.first_offset[rows],
        truncated=windows.truncated[rows],
        digest=windows.digest[rows],
    )
