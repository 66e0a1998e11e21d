"""The figures of a contestant's run: broker times of its records and readings of its process go in."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from numpy.typing import NDArray

from tests.benchmarks.process import Reading

BROKER_TIME = {"message.timestamp.type": "LogAppendTime"}
"""An output topic with this tells when the broker got each record, whoever wrote it."""

_READ_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The steady part of a run, from its first to its last record."""

    events: int
    events_per_s: float
    cpu_us_per_event: float
    peak_mib: float
    seconds: float

    def as_json(self) -> dict[str, float]:
        """Rounded to what was really seen."""
        return {name: round(value, 2) for name, value in asdict(self).items()}


def measure(append_ms: NDArray[np.int64], readings: Sequence[Reading]) -> Measurement:
    """`append_ms`: when each record reached the broker, ascending. What came in the first of them is not counted."""
    first, last = append_ms[0], append_ms[-1]
    events = int((append_ms > first).sum())
    if not events:
        raise ValueError("all records came in the same millisecond: too few to measure")
    moments = [reading.at_s * 1000 for reading in readings]
    cpu_s = np.interp([first, last], moments, [reading.cpu_s for reading in readings])
    return Measurement(
        events=len(append_ms),
        events_per_s=events / (last - first) * 1000,
        cpu_us_per_event=float(cpu_s[1] - cpu_s[0]) * 1e6 / events,
        peak_mib=max(reading.peak_bytes for reading in readings) / 2**20,
        seconds=float(last - first) / 1000,
    )


def median(runs: Sequence[Measurement]) -> Measurement:
    """Figure by figure."""
    figures = [asdict(run) for run in runs]
    return Measurement(**{name: statistics.median(figure[name] for figure in figures) for name in figures[0]})


def append_times(bootstrap: str, topics: Sequence[str]) -> NDArray[np.int64]:
    """Milliseconds, ascending, of all committed records in the topics. Raises TimeoutError where no end comes."""
    reader = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "benchmark-reader",  # demanded by the client, never joined
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "log_level": 0,
        }
    )
    try:
        return np.sort(np.concatenate([_append_times(reader, topic) for topic in topics]))
    finally:
        reader.close()


def _append_times(reader: Consumer, topic: str) -> NDArray[np.int64]:
    partitions = reader.list_topics(topic, timeout=_READ_TIMEOUT_S).topics[topic].partitions
    reader.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    open_ends = len(partitions)
    times = [np.empty(0, np.int64)]
    deadline = time.monotonic() + _READ_TIMEOUT_S
    while open_ends:
        messages = reader.consume(10_000, 0.1)
        records = [message for message in messages if not _is_end(message)]
        open_ends -= len(messages) - len(records)
        times.append(np.fromiter((message.timestamp()[1] for message in records), np.int64, len(records)))
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic} was not read in {_READ_TIMEOUT_S:g} s")
    return np.concatenate(times)


def _is_end(message: Message) -> bool:
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    return error is not None
