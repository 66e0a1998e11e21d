"""Windows: valid events in, the last rows of each event's entity out, as one block of float32.

`window(p, o)` = the last W valid events of the same entity in partition p with an offset in (o - L, o], not reaching
back over a step of event time longer than the largest gap. What a batch adds is staged: it counts at once, is permanent
after `keep`, and leaves no trace after `drop`. The store knows no Kafka, no transaction and no clock.

Rows of all partitions share one arena, each linked to its entity's row before, so that an entity costs what it has
shown. A row that falls out of its entity's last W is used again; rows older than L are swept from time to time.
"""

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from worker.batch import Bool, Events, Float32, Int64, Windows

# Two rows hold no event (their features are NaN): where a chain ends because nothing is known before, and because what
# was before is out of reach for good (a gap, the lookback).
_UNKNOWN, _CUT, _FIRST_ROW = 0, 1, 2
# A row's step back: how many offsets in the high half, to which row in the low half.
_LINK_BITS = 32
_LINK = (1 << _LINK_BITS) - 1
# Later than any event time, above any offset; far enough from the ends of int64 to be subtracted.
_NEVER = 1 << 62
# What is kept of an entity: its newest row, that row's event time and offset, the oldest offset it still needs.
_HEAD, _TIME, _OFFSET, _OLDEST = range(4)
_STRANGER = (_UNKNOWN, _NEVER, _NEVER, _NEVER)

_SWEEPS_PER_LOOKBACK = 4  # rows up to 1.25 L old are held, and a sweep costs little per event
_GROWTH = 16  # arrays grow by a sixteenth: within the tenth of slack that the memory bound allows
_CHUNK = 1 << 20  # elements of a temporary array in work that covers a whole partition
_INT_BYTES = 32  # of a Python int


def _splitmix64(values: Int64) -> NDArray[np.uint64]:
    """Sebastiano Vigna's splitmix64 of each value (https://prng.di.unimi.it/splitmix64.c), modulo 2^64."""
    z = values.astype(np.uint64)
    z += np.uint64(0x9E3779B97F4A7C15)
    shifted = np.empty_like(z)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        np.right_shift(z, np.uint64(shift), out=shifted)
        z ^= shifted
        z *= np.uint64(factor)
    np.right_shift(z, np.uint64(31), out=shifted)
    z ^= shifted
    return z


def _previous(values: Int64, first: Int64, before_first: Int64) -> Int64:
    """Each event's predecessor in its run; that of a run's first event is given."""
    previous = np.empty_like(values)
    previous[1:] = values[:-1]
    previous[first] = before_first
    return previous


def _unsorted(column: Int64, order: Int64) -> Int64:
    """A sorted column in the order of the batch again."""
    unsorted = np.empty_like(column)
    unsorted[order] = column
    return unsorted


class _FreePlaces:
    """A stack of places in an array that hold nothing."""

    def __init__(self) -> None:
        self._places = np.empty(0, np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        return self._places.nbytes

    def push(self, places: Int64) -> None:
        end = self._count + len(places)
        if end > len(self._places):
            self._places.resize(end + end // _GROWTH, refcheck=False)
        self._places[self._count : end] = places
        self._count = end

    def pop(self, count: int) -> Int64:
        self._count -= count
        return self._places[self._count : self._count + count].astype(np.int64)


class _Rows:
    """The arena: a row holds an event's features and the step back to its entity's row before."""

    def __init__(self, *, features: int, with_time: bool, slack_bytes: int) -> None:
        self.features: Float32 = np.full((_FIRST_ROW, features), np.nan, np.float32)
        self._back: Int64 = np.array([_UNKNOWN, _CUT], np.int64)
        self.event_time: Int64 | None = np.zeros(_FIRST_ROW, np.int64) if with_time else None
        self._free = _FreePlaces()
        self.slack = max(1, slack_bytes // (self.nbytes // _FIRST_ROW))

    @property
    def capacity(self) -> int:
        return len(self._back)

    @property
    def unused(self) -> int:
        return len(self._free)

    @property
    def nbytes(self) -> int:
        time = 0 if self.event_time is None else self.event_time.nbytes
        return self.features.nbytes + self._back.nbytes + time + self._free.nbytes

    def take(self, count: int) -> Int64:
        missing = count - len(self._free)
        if missing > 0:
            self._grow(max(missing, self.slack, self.capacity // _GROWTH))
        return self._free.pop(count)

    def give_back(self, rows: Int64) -> None:
        self._free.push(rows)

    def _grow(self, count: int) -> None:
        start, end = self.capacity, self.capacity + count
        self._resize(end)
        self._free.push(np.arange(end - 1, start - 1, -1))

    def _resize(self, capacity: int) -> None:
        # In place, by realloc: no moment at which a large arena exists twice. No view of these arrays outlives a call.
        self.features.resize((capacity, self.features.shape[1]), refcheck=False)
        self._back.resize(capacity, refcheck=False)
        if self.event_time is not None:
            self.event_time.resize(capacity, refcheck=False)

    def write(self, rows: Int64, *, features: Float32, event_time: Int64) -> None:
        self.features[rows] = features
        if self.event_time is not None:
            self.event_time[rows] = event_time

    def link(self, rows: Int64, *, to: Int64, offsets: Int64) -> None:
        """Tell each row's row before, and how many offsets lie between them."""
        self._back[rows] = offsets << _LINK_BITS | to

    def chains(self, head: Int64, offset: Int64, depth: int) -> tuple[Int64, Int64]:
        """The last `depth` rows of each chain and their offsets, the newest first: both (depth, chain).

        A shorter chain repeats the row that ends it, with offsets that mean nothing. Links beyond the depth that is
        kept are never followed: they may lead to a row in use elsewhere.
        """
        rows = np.empty((depth, len(head)), np.int64)
        offsets = np.empty((depth, len(head)), np.int64)
        rows[0], offsets[0] = head, offset
        back, step = np.empty_like(rows[0]), np.empty_like(rows[0])
        for place in range(1, depth):
            if place % 8 == 0 and rows[place - 1].max(initial=_UNKNOWN) < _FIRST_ROW:
                rows[place:], offsets[place:] = rows[place - 1], offsets[place - 1]
                break
            np.take(self._back, rows[place - 1], out=back, mode="clip")
            np.bitwise_and(back, _LINK, out=rows[place])
            np.right_shift(back, _LINK_BITS, out=step)
            np.subtract(offsets[place - 1], step, out=offsets[place])
        return rows, offsets

    def cut_behind(self, rows: Int64) -> None:
        """These rows are the oldest of their chains from now on."""
        self._back[rows] = _CUT

    def compact(self) -> NDArray[np.int32]:
        """Move the last rows into the holes, give the memory behind them back, and tell where each row went."""
        size = self.capacity - self.unused
        free = self._free.pop(self.unused)
        moved_to = np.arange(self.capacity, dtype=np.int32)
        moved_to[free] = _CUT
        holes, last = free[free < size], size + np.flatnonzero(moved_to[size:] != _CUT)
        moved_to[last] = holes
        self.features[holes] = self.features[last]
        self._back[holes] = self._back[last]
        if self.event_time is not None:
            self.event_time[holes] = self.event_time[last]
        self._resize(size)
        for start in range(0, size, _CHUNK):
            back = self._back[start : start + _CHUNK]
            back[:] = back & ~_LINK | moved_to[back & _LINK]
        self._free = _FreePlaces()
        return moved_to


class _Entities:
    """Which entities are known in each partition, and one slot of state for each."""

    def __init__(self, *, slack_bytes: int) -> None:
        self.state: Int64 = np.empty((0, len(_STRANGER)), np.int64)  # (slot, column)
        self.partition: NDArray[np.int32] = np.empty(0, np.int32)  # (slot,), -1 where the slot is free
        self._names: list[str | None] = []
        self._slots: list[dict[str, int]] = []  # one dict a partition
        self._free = _FreePlaces()
        self._name_bytes = 0
        self.slack = max(1, slack_bytes // 64)

    def __len__(self) -> int:
        return self.capacity - len(self._free)

    @property
    def capacity(self) -> int:
        return len(self.partition)

    @property
    def nbytes(self) -> int:
        arrays = self.state.nbytes + self.partition.nbytes + self._free.nbytes
        return arrays + self._name_bytes + sum(map(sys.getsizeof, (self._names, *self._slots))) + len(self) * _INT_BYTES

    def cover(self, partitions: int) -> None:
        self._slots.extend({} for _ in range(partitions - len(self._slots)))

    def of(self, partition: int) -> Int64:
        return np.flatnonzero(self.partition == partition)

    def find(self, entity: list[str], partition: Int64) -> tuple[Int64, Int64]:
        """The slot of each event's entity (m,), and those that were made because their entity was not known."""
        slot = np.fromiter(self._look_up(entity, partition), np.int64, len(entity))
        missing = np.flatnonzero(slot < 0)
        return slot, self._make(missing, entity, partition, slot)

    def _look_up(self, entity: list[str], partition: Int64) -> Iterator[int]:
        ends = np.flatnonzero(np.diff(partition, append=-1)) + 1
        if len(ends) > len(entity) // 8:  # many short stretches
            return map(dict.get, map(self._slots.__getitem__, partition.tolist()), entity, repeat(-1))
        stretches = zip(partition[ends - 1].tolist(), [0, *ends.tolist()], ends.tolist(), strict=False)
        return chain.from_iterable(
            map(self._slots[p].get, entity[start:end], repeat(-1)) for p, start, end in stretches
        )

    def _make(self, missing: Int64, entity: list[str], partition: Int64, slot: Int64) -> Int64:
        spare, made = self._take(len(missing)), 0
        for row, place in zip(missing.tolist(), partition[missing].tolist(), strict=True):
            name, new = entity[row], int(spare[made])
            slot[row] = self._slots[place].setdefault(name, new)
            if slot[row] == new:
                self._names[new] = name
                self._name_bytes += sys.getsizeof(name)
                self.partition[new] = place
                made += 1
        self._free.push(spare[made:])
        return spare[:made]

    def _take(self, count: int) -> Int64:
        missing = count - len(self._free)
        if missing > 0:
            self._grow(max(missing, self.slack, self.capacity // _GROWTH))
        return self._free.pop(count)

    def _grow(self, count: int) -> None:
        start, end = self.capacity, self.capacity + count
        self.state.resize((end, len(_STRANGER)), refcheck=False)
        self.partition.resize(end, refcheck=False)
        self.state[start:], self.partition[start:] = _STRANGER, -1
        self._names.extend(repeat(None, count))
        self._free.push(np.arange(end - 1, start - 1, -1))

    def release(self, slots: Int64) -> None:
        """Forget these entities."""
        for slot, partition in zip(slots.tolist(), self.partition[slots].tolist(), strict=True):
            name = self._names[slot]
            if name is not None:
                self._names[slot] = None
                self._name_bytes -= sys.getsizeof(name)
                del self._slots[partition][name]
        self.state[slots], self.partition[slots] = _STRANGER, -1
        self._free.push(slots)

    def tighten(self, partition: int) -> None:
        """Give back what the dict of a partition holds beyond its entities: a dict never shrinks by itself."""
        self._slots[partition] = dict(self._slots[partition])

    def oldest(self) -> Int64:
        """The oldest offset that any entity needs, for each partition."""
        oldest = np.full(len(self._slots), _NEVER)
        if len(oldest):
            # A free slot's partition is -1, the last one: its _NEVER changes nothing there.
            np.minimum.at(oldest, self.partition, self.state[:, _OLDEST])
        return oldest

    def compact(self) -> Int64:
        """Number the slots anew without holes, and tell where each went."""
        used = np.flatnonzero(self.partition >= 0)
        moved_to = np.full(self.capacity, -1)
        moved_to[used] = np.arange(len(used))
        self.state, self.partition = self.state[used], self.partition[used]
        self._names = [self._names[slot] for slot in used.tolist()]
        self._slots = [
            dict(zip(slots, moved_to[list(slots.values())].tolist(), strict=True)) if slots else {}
            for slots in self._slots
        ]
        self._free = _FreePlaces()
        return moved_to


@dataclass(frozen=True, slots=True)
class _Runs:
    """A batch sorted by entity: one run of events each, in the order of the log."""

    order: Int64  # (m,) rows of the batch
    slots: Int64  # (u,) the entities
    first: Int64  # (u,) where each run begins in `order`
    run: Int64  # (m,) the run of each sorted event

    @classmethod
    def of(cls, slot: Int64) -> "_Runs":
        keys = np.sort(slot << _LINK_BITS | np.arange(len(slot)))  # one sort of integers, several times an argsort
        sorted_slot = keys >> _LINK_BITS
        is_first = np.ones(len(slot), np.bool_)
        is_first[1:] = sorted_slot[1:] != sorted_slot[:-1]
        first = np.flatnonzero(is_first)
        return cls(keys & _LINK, sorted_slot[first], first, np.cumsum(is_first) - 1)

    @property
    def last(self) -> Int64:
        """(u,) where each run ends in `order`."""
        return np.append(self.first, len(self.order))[1:] - 1


@dataclass(frozen=True, slots=True)
class _Line:
    """Each entity's known rows (W places, the newest last), then its new ones: N = u * W + m places in all.

    So a window is a stretch of the line that ends at its event's place. Columns of m are sorted as in the runs.
    """

    rows: Int64  # (N,), _UNKNOWN or _CUT in front of a chain shorter than W
    offsets: Int64  # (N,), without meaning there
    place: Int64  # (m,) of each event
    known_from: Int64  # (m,) place of the oldest row of the event's entity
    start: Int64  # (m,) place of the window's oldest row, the lookback aside

    @classmethod
    def of(cls, runs: _Runs, known: tuple[Int64, Int64], new: tuple[Int64, Int64], cut: Bool) -> "_Line":
        """Line up the known rows and offsets, each (W, u) and newest first, with the new ones, each (m,)."""
        window = len(known[0])
        place = np.arange(len(runs.run)) + (runs.run + 1) * window
        is_known = np.ones(known[0].size + len(place), np.bool_)
        is_known[place] = False
        rows, offsets = (np.empty(len(is_known), np.int64) for _ in range(2))
        rows[place], offsets[place] = new
        rows[is_known], offsets[is_known] = (column[::-1].T.ravel() for column in known)
        known_from = (place[runs.first] - (known[0] >= _FIRST_ROW).sum(axis=0))[runs.run]
        last_cut = np.maximum.accumulate(np.where(cut, place, 0))
        start = np.maximum(np.maximum(place - window + 1, known_from), last_cut)
        return cls(rows, offsets, place, known_from, start)

    def garbage(self, last: Int64) -> Int64:
        """Rows in front of the window of their entity's last event: no later window reaches them."""
        begin = self.known_from[last]
        count = self.start[last] - begin
        first = np.cumsum(count) - count  # of each entity's among all
        places: Int64 = np.repeat(begin - first, count) + np.arange(count.sum())
        return self.rows[places]


@dataclass(frozen=True, slots=True)
class _Staged:
    """What one batch changed."""

    slots: Int64  # (u,) entities it touched
    former: Int64  # (u, column) their state before
    made: Int64  # entities it brought
    rows: Int64  # (m,) rows it brought
    garbage: Int64  # rows that no entity needs once it is kept
    ends: Int64  # (partition,) the next offset after it, 0 where it says nothing

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in (self.slots, self.former, self.made, self.rows, self.garbage, self.ends))


class WindowStore:
    """The last rows of every entity, of many partitions.

    Args:
        window: W, rows in a window.
        features: F, features a row.
        lookback_offsets: L; a window reaches back over fewer than this many offsets.
        max_gap_ms: a longer step of event time from an entity's row to its next cuts the window; None = nothing cuts.
        with_elapsed: whether windows come with the seconds from each row to the last (8 bytes a row more).
        slack_bytes: memory that may lie idle however little is stored (beside a tenth of what is).

    `partition` is a place in the table of `worker.batch.Records`. Within a partition offsets rise from call to call,
    except that dropped batches are given again.
    """

    def __init__(
        self,
        *,
        window: int,
        features: int,
        lookback_offsets: int,
        max_gap_ms: int | None,
        with_elapsed: bool,
        slack_bytes: int = 1 << 16,
    ) -> None:
        if window < 1 or features < 1 or not 1 <= lookback_offsets < 1 << 31:
            raise ValueError("a window has at least one row and one feature, and looks back over 1 to 2^31 - 1 offsets")
        self._window = window
        self._lookback = lookback_offsets
        self._max_gap_ms = max_gap_ms
        self._rows = _Rows(features=features, with_time=with_elapsed, slack_bytes=slack_bytes)
        self._entities = _Entities(slack_bytes=slack_bytes)
        self._staged: deque[_Staged] = deque()
        # For each partition: the next offset, that at the last sweep, `mark_missing`, and at most the oldest needed.
        self._end = np.zeros(0, np.int64)
        self._swept = np.zeros(0, np.int64)
        self._missing_before = np.zeros(0, np.int64)
        self._oldest = np.zeros(0, np.int64)
        self._events_since_oldest = 0

    @property
    def entities(self) -> int:
        """How many entities are known, staged ones included; the same name in two partitions counts twice."""
        return len(self._entities)

    @property
    def nbytes(self) -> int:
        """Memory held, names included."""
        return self._rows.nbytes + self._entities.nbytes + sum(staged.nbytes for staged in self._staged)

    def extend(self, events: Events, *, partition: Int64, offset: Int64) -> Windows:
        """Stage a batch and return its windows, in the order of the batch; `partition` and `offset` are (m,)."""
        runs, line, staged = self._append(events, partition, offset)
        self._staged.append(staged)
        return self._windows(runs, line, events.event_time, partition, offset)

    def refill(self, events: Events, *, partition: Int64, offset: Int64) -> None:
        """Take events in at once that need no windows; none of their partitions has staged ones."""
        *_, staged = self._append(events, partition, offset)
        self._settle(staged)
        self._sweep_where_due()

    def keep(self, batches: int = 1) -> None:
        """The oldest staged batches are permanent. Raises ValueError if there are not as many."""
        if batches > len(self._staged):
            raise ValueError(f"{batches} batches cannot be kept: {len(self._staged)} are staged")
        for _ in range(batches):
            self._settle(self._staged.popleft())
        self._sweep_where_due()

    def drop(self) -> None:
        """Forget all staged batches, as if they had never come."""
        while self._staged:
            staged = self._staged.pop()
            self._entities.state[staged.slots] = staged.former
            self._entities.release(staged.made)
            self._rows.give_back(staged.rows)

    def oldest_needed(self, partition: int, *, committed: int) -> int:
        """The oldest offset that a replay must begin with, so that all windows from `committed` on come out the same.

        `committed` is the next offset after the kept events of the partition, or after one of the staged batches. The
        answer lies between `committed` - L and `committed`; it may be lower than need be, by little.
        """
        self._cover(partition + 1)
        if self._window == 1:
            return committed
        # What is needed only rises, so an older answer stays right; a new one costs a pass over all entities.
        if self._events_since_oldest >= len(self._entities) // 16:
            self._oldest = self._oldest_now()
            self._events_since_oldest = 0
        oldest = int(self._oldest[partition])
        return max(0, min(committed, max(oldest, committed - self._lookback + 1)))

    def forget(self, partition: int) -> None:
        """Drop all that is known of a partition, its mark included. Raises ValueError while it has staged events."""
        self._cover(partition + 1)
        if any((self._entities.partition[staged.slots] == partition).any() for staged in self._staged):
            raise ValueError("a partition with staged events cannot be forgotten: keep or drop them first")
        self._release(self._entities.of(partition))
        self._entities.tighten(partition)
        self._end[partition] = self._swept[partition] = self._missing_before[partition] = 0
        self._oldest[partition] = _NEVER
        self._compact_where_wasteful()

    def mark_missing(self, partition: int, *, before: int | None) -> None:
        """Rows below `before` may be gone from the log: windows that may miss one are `truncated`; None = all is there.

        Said before the partition is refilled, so that the gaps found meanwhile are found again by a later replay.
        """
        self._cover(partition + 1)
        self._missing_before[partition] = before or 0

    def _cover(self, partitions: int) -> None:
        more = partitions - len(self._end)
        if more > 0:
            self._entities.cover(partitions)
            self._end, self._swept, self._missing_before = (
                np.append(column, np.zeros(more, np.int64)) for column in (self._end, self._swept, self._missing_before)
            )
            self._oldest = np.append(self._oldest, np.full(more, _NEVER))

    def _append(self, events: Events, partition: Int64, offset: Int64) -> tuple[_Runs, _Line, _Staged]:
        """Link a batch's events to their entities' rows."""
        self._note_offsets(partition, offset)
        slot, made = self._entities.find(events.entity, partition)
        runs = _Runs.of(slot)
        former = self._entities.state[runs.slots]
        known = self._rows.chains(former[:, _HEAD], former[:, _OFFSET], self._window)
        taken = self._rows.take(len(events))
        self._rows.write(taken, features=events.features, event_time=events.event_time)

        rows, times, offsets = (column[runs.order] for column in (taken, events.event_time, offset))
        step = offsets - _previous(offsets, runs.first, former[:, _OFFSET])
        cut = self._cuts(step, times - _previous(times, runs.first, former[:, _TIME]))
        link = np.where(cut, _CUT, _previous(rows, runs.first, former[:, _HEAD]))
        self._rows.link(rows, to=link, offsets=step)

        line = _Line.of(runs, known, (rows, offsets), cut)
        last = runs.last
        oldest = self._oldest_of(line, last, former[:, _OLDEST], partition[runs.order[last]])
        self._entities.state[runs.slots] = np.stack((rows[last], times[last], offsets[last], oldest), axis=1)
        ends = np.zeros(len(self._end), np.int64)
        ends[partition] = offset + 1  # the last of each partition stays
        return runs, line, _Staged(runs.slots, former, made, rows, line.garbage(last), ends)

    def _note_offsets(self, partition: Int64, offset: Int64) -> None:
        self._cover(int(partition.max(initial=-1)) + 1)
        first = np.full(len(self._end), _NEVER)
        first[partition[::-1]] = offset[::-1]  # the first of each partition stays
        np.minimum(self._oldest, first, out=self._oldest)
        self._events_since_oldest += len(offset)

    def _cuts(self, offset_step: Int64, time_step: Int64) -> Bool:
        """Where an entity's row before can never again be in a window."""
        if self._max_gap_ms is None:
            return offset_step >= self._lookback
        return (offset_step >= self._lookback) | (time_step > self._max_gap_ms)

    def _oldest_of(self, line: _Line, last: Int64, former: Int64, partition: Int64) -> Int64:
        """The oldest offset that each touched entity needs from now on; all columns (u,)."""
        start, place, known_from = line.start[last], line.place[last], line.known_from[last]
        oldest = line.offsets[start]
        marked = self._may_miss_rows(partition, line.offsets[place])
        if marked.any():
            # A replay must also see that a short window was cut: else it would take the window to miss rows.
            cut_before = (start == known_from) & (line.rows[known_from - 1] == _CUT)
            oldest = np.where(marked & cut_before, former, oldest)
            cut_now = (start > known_from) & (place - start + 1 < self._window)
            oldest = np.where(marked & cut_now, line.offsets[start - 1], oldest)
        return oldest

    def _may_miss_rows(self, partition: Int64, offset: Int64) -> Bool:
        """Whether the lookback from these offsets reaches rows that the log may no longer have."""
        return np.maximum(0, offset - self._lookback + 1) < self._missing_before[partition]

    def _windows(self, runs: _Runs, line: _Line, event_time: Int64, partition: Int64, offset: Int64) -> Windows:
        place, known_from, start = (
            _unsorted(column, runs.order) for column in (line.place, line.known_from, line.start)
        )
        while (beyond := line.offsets[start] <= offset - self._lookback).any():
            start += beyond
        length = place - start + 1
        rows = self._rows_of_windows(line, place, known_from, start)
        digests = np.cumsum(_splitmix64(line.offsets))
        nothing_before = (start == known_from) & (line.rows[known_from - 1] == _UNKNOWN)
        return Windows(
            values=self._rows.features.take(rows, axis=0, mode="clip"),
            elapsed=self._elapsed(rows, event_time),
            length=length,
            first_offset=line.offsets[start],
            truncated=nothing_before & (length < self._window) & self._may_miss_rows(partition, offset),
            digest=digests[place] - digests[start - 1],
        )

    def _rows_of_windows(self, line: _Line, place: Int64, known_from: Int64, start: Int64) -> Int64:
        """The arena's row for each place of each window, _UNKNOWN or _CUT in front of a short one: (m, W)."""
        if not len(place):
            return np.empty((0, self._window), np.int64)
        begin = place - self._window + 1
        rows = sliding_window_view(line.rows, self._window)[begin]
        cut = np.flatnonzero(start > np.maximum(begin, known_from))
        hidden = np.arange(self._window) < (start - begin)[cut, np.newaxis]
        rows[cut] = np.where(hidden, _CUT, rows[cut])
        return rows

    def _elapsed(self, rows: Int64, event_time: Int64) -> Float32 | None:
        if self._rows.event_time is None:
            return None
        elapsed_ms = self._rows.event_time.take(rows, mode="clip")
        np.subtract(event_time[:, np.newaxis], elapsed_ms, out=elapsed_ms)
        elapsed = np.empty(rows.shape, np.float32)
        np.divide(elapsed_ms, 1000.0, out=elapsed, casting="same_kind")  # in float64, rounded once
        elapsed[rows < _FIRST_ROW] = np.nan
        return elapsed

    def _settle(self, staged: _Staged) -> None:
        self._rows.give_back(staged.garbage)
        covered = self._end[: len(staged.ends)]
        np.maximum(covered, staged.ends, out=covered)

    def _oldest_now(self) -> Int64:
        oldest = self._entities.oldest()
        for staged in self._staged:  # what an entity needed before counts until the batch is kept
            np.minimum.at(oldest, self._entities.partition[staged.slots], staged.former[:, _OLDEST])
        return oldest

    def _sweep_where_due(self) -> None:
        interval = max(1, self._lookback // _SWEEPS_PER_LOOKBACK)
        due = np.flatnonzero(self._end - self._swept >= interval)
        for partition in due.tolist():
            self._sweep(partition)
        if len(due):
            self._compact_where_wasteful()

    def _sweep(self, partition: int) -> None:
        """Drop what no window after the kept events can reach.

        What is staged needs no care: a chain that reaches from a staged row to one that goes is already cut between.
        """
        reach = self._end[partition] - self._lookback
        slots = self._entities.of(partition)
        state = self._entities.state[slots]
        dead = state[:, _OFFSET] <= reach
        self._release(slots[dead])
        if dead.sum() > len(dead) // 2:
            self._entities.tighten(partition)
        for chunk in self._chunks(slots[~dead & (state[:, _OLDEST] <= reach)]):
            self._cut_tails(chunk, reach)
        self._swept[partition] = self._end[partition]

    def _cut_tails(self, slots: Int64, reach: int) -> None:
        """Drop the rows at or below `reach` of entities that also have rows above it."""
        state = self._entities.state[slots]
        rows, offsets = self._rows.chains(state[:, _HEAD], state[:, _OFFSET], self._window)
        is_row, above = rows >= _FIRST_ROW, offsets > reach
        oldest = (is_row & above).sum(axis=0) - 1
        each = np.arange(len(slots))
        self._entities.state[slots, _OLDEST] = offsets[oldest, each]
        tail = is_row & ~above
        self._rows.cut_behind(rows[oldest, each][tail.any(axis=0)])
        self._rows.give_back(rows[tail])

    def _release(self, slots: Int64) -> None:
        """Forget these entities and their rows."""
        for chunk in self._chunks(slots):
            state = self._entities.state[chunk]
            rows, _ = self._rows.chains(state[:, _HEAD], state[:, _OFFSET], self._window)
            self._rows.give_back(rows[rows >= _FIRST_ROW])
            self._entities.release(chunk)

    def _chunks(self, slots: Int64) -> Iterator[Int64]:
        """Parts of the slots whose chains make temporary arrays of bounded size."""
        size = max(1, _CHUNK // self._window)
        return (slots[start : start + size] for start in range(0, len(slots), size))

    def _compact_where_wasteful(self) -> None:
        rows, entities = self._rows, self._entities
        used = rows.capacity - rows.unused
        allowed = max(rows.slack, used // _GROWTH)
        if rows.unused > allowed and (rows.capacity > self._window * len(entities) * 1.1 or rows.unused > used):
            self._move_rows(rows.compact())
        if entities.capacity - len(entities) > max(entities.slack, len(entities) * 2 // 3):
            self._move_entities(entities.compact())

    def _move_rows(self, moved_to: NDArray[np.int32]) -> None:
        state = self._entities.state
        state[:, _HEAD] = moved_to[state[:, _HEAD]]
        for staged in self._staged:
            staged.former[:, _HEAD] = moved_to[staged.former[:, _HEAD]]
            staged.rows[:], staged.garbage[:] = moved_to[staged.rows], moved_to[staged.garbage]

    def _move_entities(self, moved_to: Int64) -> None:
        for staged in self._staged:
            staged.slots[:], staged.made[:] = moved_to[staged.slots], moved_to[staged.made]
