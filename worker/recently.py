"""What a worker did in the last minute, and its latest alarms: told once a batch and once a second, for a page.

Its memory is bounded: a minute's counts, a few alarms with the few features that weigh most. It knows no page.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from worker.batch import TopicPartition
from worker.metrics import Answered

LATEST_ALARMS = 20
"""As many as a person looks through."""

SPAN_S = 60.0
_TOP = 5


class Contribution(msgspec.Struct, frozen=True):
    """A feature's share in a score, and where it was most unlike what was expected."""

    feature: str
    share: float
    value: float | None
    expected: float | None


class Alarm(msgspec.Struct, frozen=True):
    """What is kept of a score record."""

    entity: str
    event_time: int
    score: float
    contributions: tuple[Contribution, ...]


@dataclass(frozen=True, slots=True)
class _Counts:
    records: int
    scored: int
    anomalies: int


@dataclass(frozen=True, slots=True)
class _Position:
    lag: Mapping[TopicPartition, int]
    refill_remaining: Mapping[TopicPartition, int]
    entities: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lately:
    """A look at it."""

    span_s: float  # what the counts are of; 0 where there is nothing to compare with yet
    records: int
    scored: int
    anomalies: int
    entities: int
    lag: Mapping[TopicPartition, int]
    refill_remaining: Mapping[TopicPartition, int]
    alarms: tuple[Alarm, ...]  # the newest first


class Recently:
    """Written by the loop, read by the thread of the page: each value is replaced whole, never changed."""

    def __init__(self) -> None:
        self._total = _Counts(0, 0, 0)
        self._minute: tuple[tuple[float, _Counts], ...] = ()  # once a second, the oldest first
        self._position = _Position({}, {}, 0)
        self._unread: tuple[bytes, ...] = ()
        self._alarms: tuple[Alarm, ...] = ()  # the newest first

    def committed(self, answered: Answered) -> None:
        """A batch is out for good."""
        total = self._total
        self._total = _Counts(
            total.records + answered.scored + answered.skipped + len(answered.reasons),
            total.scored + answered.scored,
            total.anomalies + answered.anomalies,
        )
        if answered.alarms:
            self._unread = (*self._unread, *answered.alarms)[-LATEST_ALARMS:]

    def position(
        self,
        *,
        lag: Mapping[TopicPartition, int],
        refill_remaining: Mapping[TopicPartition, int],
        entities: int,
        now_s: float,
    ) -> None:
        """Where the worker stands, about once a second. Only then are alarms read: few, however many there were."""
        self._position = _Position(lag, refill_remaining, entities)
        self._minute = (
            *((at_s, counts) for at_s, counts in self._minute if at_s >= now_s - SPAN_S),
            (now_s, self._total),
        )
        unread, self._unread = self._unread, ()
        self._alarms = (*map(_alarm, reversed(unread)), *self._alarms)[:LATEST_ALARMS]

    @property
    def lately(self) -> Lately:
        """What there is to tell now."""
        position, minute = self._position, self._minute
        (since_s, before), (now_s, now) = (minute[0], minute[-1]) if minute else ((0.0, self._total),) * 2
        return Lately(
            span_s=now_s - since_s,
            records=now.records - before.records,
            scored=now.scored - before.scored,
            anomalies=now.anomalies - before.anomalies,
            entities=position.entities,
            lag=position.lag,
            refill_remaining=position.refill_remaining,
            alarms=self._alarms,
        )


def _alarm(record: bytes) -> Alarm:
    alarm = _read_alarm(record)
    return msgspec.structs.replace(alarm, contributions=alarm.contributions[:_TOP])


_read_alarm = msgspec.json.Decoder(Alarm).decode
