"""A range of time or a number of the newest records in, slices of the input topics' log out."""

from collections.abc import Iterable
from dataclasses import dataclass

from worker.kafka_log import KafkaLog
from worker.log_slice import Slice, newest
from worker.times import iso


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Records from `from_ms` until before `to_ms`, of these at most the newest `max_events`."""

    from_ms: int | None = None
    to_ms: int | None = None
    max_events: int | None = None

    def __str__(self) -> str:
        """For the end of a sentence; empty where the time is not limited."""
        since = "" if self.from_ms is None else f" from {iso(self.from_ms)}"
        return since + ("" if self.to_ms is None else f" until {iso(self.to_ms)}")


def slices_of(log: KafkaLog, topics: Iterable[str], extent: Extent) -> list[Slice]:
    """Which offsets of which partitions to read. The ends are taken now: what is written later is not waited for."""
    partitions = log.partitions(topics)
    slices = log.bounds(partitions)
    if extent.from_ms is not None:
        first = log.offsets_at(partitions, extent.from_ms)
        slices = [Slice(s.partition, max(s.start, first.get(s.partition, s.end)), s.end) for s in slices]
    if extent.to_ms is not None:
        last = log.offsets_at(partitions, extent.to_ms)
        slices = [Slice(s.partition, s.start, min(s.end, last.get(s.partition, s.end))) for s in slices]
    return slices if extent.max_events is None else newest(slices, extent.max_events)
