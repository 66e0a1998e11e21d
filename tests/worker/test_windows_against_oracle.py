"""The window store against an oracle that knows nothing but the log: whatever is staged, kept, dropped or refilled."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from worker.batch import Events, Int64, Windows
from worker.windows import WindowStore

PARTITIONS = 3
ENTITIES = "abcde"


class Row(NamedTuple):
    partition: int
    offset: int
    entity: str
    event_time: int
    value: float


class Expected(NamedTuple):
    rows: list[Row]
    truncated: bool


class Coming(NamedTuple):
    partition: int
    entity: str
    offset_step: int
    time_step: int


def splitmix64(x: int) -> int:
    mask = (1 << 64) - 1
    z = (x + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
    return z ^ z >> 31


@dataclass(frozen=True)
class Contract:
    window: int
    lookback: int
    max_gap_ms: int | None

    def expected(self, log: list[Row], last: Row, missing_before: int | None) -> Expected:
        """The window of one row, read from its partition's log alone."""
        earlier = [row for row in log if row.entity == last.entity and row.offset < last.offset]
        rows, reach = [last], max(0, last.offset - self.lookback + 1)
        while len(rows) < self.window:
            if not earlier:
                return Expected(rows, truncated=missing_before is not None and reach < missing_before)
            before = earlier.pop()
            too_long = self.max_gap_ms is not None and rows[0].event_time - before.event_time > self.max_gap_ms
            if too_long or before.offset < reach:
                break
            rows.insert(0, before)
        return Expected(rows, truncated=False)

    def store(self, slack_bytes: int) -> WindowStore:
        return WindowStore(
            window=self.window,
            features=2,
            lookback_offsets=self.lookback,
            max_gap_ms=self.max_gap_ms,
            with_elapsed=True,
            slack_bytes=slack_bytes,
        )


def events_of(rows: list[Row]) -> Events:
    return Events(
        row=np.arange(len(rows)),
        entity=[row.entity for row in rows],
        event_time=np.array([row.event_time for row in rows], np.int64),
        features=np.array([(row.value, -row.value) for row in rows], np.float32).reshape(len(rows), 2),
        context=None,
        refused=[],
        skipped=np.zeros(0, np.int64),
    )


def sources_of(rows: list[Row]) -> dict[str, Int64]:
    return {
        "partition": np.array([row.partition for row in rows], np.int64),
        "offset": np.array([row.offset for row in rows], np.int64),
    }


def check(windows: Windows, place: int, expected: Expected, width: int) -> None:
    rows, empty = expected.rows, width - len(expected.rows)
    assert windows.length[place] == len(rows)
    assert windows.first_offset[place] == rows[0].offset
    assert int(windows.digest[place]) == sum(splitmix64(row.offset) for row in rows) % (1 << 64)
    assert bool(windows.truncated[place]) is expected.truncated
    assert np.isnan(windows.values[place, :empty]).all()
    assert windows.values[place, empty:].tolist() == [[row.value, -row.value] for row in rows]
    assert windows.elapsed is not None
    assert np.isnan(windows.elapsed[place, :empty]).all()
    elapsed = [np.float32((rows[-1].event_time - row.event_time) / 1000) for row in rows]
    assert windows.elapsed[place, empty:].tolist() == elapsed


offset_steps = st.one_of(st.just(1), st.integers(1, 4), st.sampled_from([9, 30, 1 << 31, 1 << 33]))
time_steps = st.one_of(st.integers(-50, 150), st.integers(1000, 2000))
coming = st.lists(
    st.builds(Coming, st.integers(0, PARTITIONS - 1), st.sampled_from(ENTITIES), offset_steps, time_steps), max_size=12
)
partitions = st.integers(0, PARTITIONS - 1)


class StoreAgainstLog(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, list[Row]] = defaultdict(list)  # in the order of the log
        self.staged: list[list[Row]] = []
        self.end: dict[int, int] = defaultdict(int)
        self.missing_before: dict[int, int | None] = {}
        self.clock = 10_000
        self.rows_made = 0

    @initialize(
        contract=st.builds(
            Contract,
            window=st.sampled_from([1, 2, 3, 5, 8, 17]),
            lookback=st.sampled_from([1, 2, 7, 25, 1000, (1 << 31) - 1]),
            max_gap_ms=st.sampled_from([None, 0, 100, 900]),
        ),
        slack_bytes=st.sampled_from([0, 200, 1 << 16]),
    )
    def begin(self, contract: Contract, slack_bytes: int) -> None:
        self.contract = contract
        self.store = contract.store(slack_bytes)

    def log(self, partition: int, *, staged: int) -> list[Row]:
        batches = self.staged[:staged]
        return self.kept[partition] + [row for batch in batches for row in batch if row.partition == partition]

    def produce(self, drawn: list[Coming]) -> list[Row]:
        rows = []
        for event in drawn:
            self.rows_made += 1
            self.clock = max(0, self.clock + event.time_step)
            offset = self.end[event.partition] + event.offset_step - 1
            self.end[event.partition] = offset + 1
            rows.append(Row(event.partition, offset, event.entity, self.clock, float(self.rows_made)))
        return rows

    @rule(drawn=coming)
    def extend(self, drawn: list[Coming]) -> None:
        rows = self.produce(drawn)
        windows = self.store.extend(events_of(rows), **sources_of(rows))
        self.staged.append(rows)
        for place, row in enumerate(rows):
            log = self.log(row.partition, staged=len(self.staged))
            expected = self.contract.expected(log, row, self.missing_before.get(row.partition))
            check(windows, place, expected, self.contract.window)

    @rule(drawn=coming)
    def refill(self, drawn: list[Coming]) -> None:
        busy = {row.partition for batch in self.staged for row in batch}
        rows = self.produce([event for event in drawn if event.partition not in busy])
        self.store.refill(events_of(rows), **sources_of(rows))
        for row in rows:
            self.kept[row.partition].append(row)

    @precondition(lambda self: self.staged)
    @rule(data=st.data())
    def keep(self, data: st.DataObject) -> None:
        batches = data.draw(st.integers(1, len(self.staged)))
        self.store.keep(batches)
        for row in (row for batch in self.staged[:batches] for row in batch):
            self.kept[row.partition].append(row)
        del self.staged[:batches]

    @rule()
    def drop(self) -> None:
        self.store.drop()
        for partition in {row.partition for batch in self.staged for row in batch}:
            self.end[partition] = max([row.offset + 1 for row in self.kept[partition]], default=0)
            self.end[partition] = max(self.end[partition], self.missing_before.get(partition) or 0)
        self.staged.clear()

    @rule(partition=partitions, mark=st.booleans(), jump=st.integers(0, 60))
    def forget(self, partition: int, *, mark: bool, jump: int) -> None:
        if any(row.partition == partition for batch in self.staged for row in batch):
            return
        self.store.forget(partition)
        self.kept[partition].clear()
        self.end[partition] += jump
        self.missing_before[partition] = self.end[partition] if mark else None
        self.store.mark_missing(partition, before=self.missing_before[partition])

    @rule(data=st.data(), partition=partitions, steps=st.lists(st.integers(1, 9), max_size=4))
    def replay(self, data: st.DataObject, partition: int, steps: list[int]) -> None:
        """A store that was refilled from `oldest_needed` on makes the windows that the whole log demands."""
        log = self.log(partition, staged=data.draw(st.integers(0, len(self.staged))))
        committed = max([row.offset + 1 for row in log], default=self.end[partition])
        oldest = self.store.oldest_needed(partition, committed=committed)
        assert max(0, committed - self.contract.lookback) <= oldest <= committed
        again, mark = self.contract.store(0), self.missing_before.get(partition)
        again.mark_missing(partition, before=mark)
        refilled = [row for row in log if row.offset >= oldest]
        again.refill(events_of(refilled), **sources_of(refilled))
        offset, now = committed - 1, max((row.event_time for row in log), default=0)
        for step in steps:
            offset, now = offset + step, now + data.draw(st.sampled_from([0, 100, 101]))
            row = Row(partition, offset, data.draw(st.sampled_from(ENTITIES)), now, 0.5)
            log.append(row)
            windows = again.extend(events_of([row]), **sources_of([row]))
            check(windows, 0, self.contract.expected(log, row, mark), self.contract.window)

    @precondition(lambda self: not self.staged and self.contract.lookback <= 1000)
    @rule()
    def sweep(self) -> None:
        """Once offsets have moved on, what is stored lies within each entity's last W and 1.25 times the lookback."""
        for partition in range(PARTITIONS):
            self.end[partition] += self.contract.lookback // 4 + 1
        self.refill([Coming(partition, "a", 1, 0) for partition in range(PARTITIONS)])
        reachable = sum(self.reachable(partition) for partition in range(PARTITIONS))
        assert self.store._rows.capacity - self.store._rows.unused - 2 <= reachable
        assert self.store.entities <= reachable

    def reachable(self, partition: int) -> int:
        reach = self.end[partition] - 1.25 * self.contract.lookback - 1
        young = Counter(row.entity for row in self.kept[partition] if row.offset > reach)
        return sum(min(count, self.contract.window) for count in young.values())


StoreAgainstLog.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
test_windows_are_those_of_the_log = StoreAgainstLog.TestCase
