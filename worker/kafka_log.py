"""Slices of topics in, their records out in the order of the log, one partition after the other.

No group is joined and nothing is committed: reading leaves no trace on the brokers. It knows no decoder.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import numpy as np
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # public, but not in its __all__

from schemas.settings import Settings
from worker.batch import Headers, Records, TopicPartition
from worker.errors import BrokerError
from worker.kafka_clients import BrokerComplaint, client, common_properties, consumer_properties, patience_s
from worker.log_slice import Slice

if TYPE_CHECKING:
    from concurrent.futures import Future

Offsets = dict[TopicPartition, int]
Result = TypeVar("Result")

_REQUEST_TIMEOUT_S = 10.0
_STALL_S = 60.0
"""Without a record for so long, although there must be some: the brokers are gone."""
_POLL_S = 0.1
_NEVER_JOINED = "anomaly-worker-reader"  # the client wants a group's name even where none is joined


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive records of one partition, and how many offsets reading went on by (markers hold some)."""

    records: Records
    offsets: int


class KafkaLog:
    """The brokers, looked at from outside any group. To be closed, or used as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self._complaint = BrokerComplaint()
        self._start_timeout_s = settings.kafka.start_timeout_s
        self.admin: AdminClient = client(AdminClient, common_properties(settings, self._complaint))
        self._consumer: Consumer = client(Consumer, _reader_properties(settings, self._complaint))

    def __enter__(self) -> Self:
        """The log itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the connections."""
        self._consumer.close()

    def partition_counts(self) -> dict[str, int]:
        """Partitions of each topic that may be seen. Raises BrokerError where no broker answers in time."""
        deadline = time.monotonic() + patience_s(self._start_timeout_s)
        while True:
            try:
                metadata = self.admin.list_topics(timeout=min(2.0, max(0.1, deadline - time.monotonic())))
            except KafkaException as error:
                self.admin.poll(0)  # lets the client say what was wrong
                if time.monotonic() < deadline:
                    continue
                raise BrokerError(
                    f"No broker answered within {self._start_timeout_s:g} s: {self._complaint.sentence}."
                ) from error
            return {name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}

    def partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        """The partitions of `topics`. Raises BrokerError where one of them is missing."""
        counts = self.partition_counts()
        missing = sorted(set(topics) - counts.keys())
        if missing:
            raise BrokerError(
                f"There is no topic {missing[0]!r}, or no right to see it: create it, grant Read on it, or correct"
                " kafka.input_topics."
            )
        return [TopicPartition(topic, number) for topic in topics for number in range(counts[topic])]

    def bounds(self, partitions: Sequence[TopicPartition]) -> list[Slice]:
        """All that a read_committed reader can see now."""
        starts = self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        ends = self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return [Slice(partition, starts[partition], ends[partition]) for partition in partitions]

    def offsets_at(self, partitions: Sequence[TopicPartition], timestamp_ms: int) -> Offsets:
        """The first offset of each partition whose record is not older; left out where there is none."""
        found = self._offsets(partitions, OffsetSpec.for_timestamp(timestamp_ms))
        return {partition: offset for partition, offset in found.items() if offset >= 0}

    def _offsets(self, partitions: Sequence[TopicPartition], spec: OffsetSpec) -> Offsets:
        asked = {KafkaTopicPartition(*partition): spec for partition in partitions}
        futures = self.admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_REQUEST_TIMEOUT_S
        )
        return {TopicPartition(at.topic, at.partition): answer(future).offset for at, future in futures.items()}

    def read(self, slices: Iterable[Slice], *, max_records: int) -> Iterator[Piece]:
        """Every committed record of each slice, slice after slice, `max_records` at most in a piece.

        Raises BrokerError where there is no right to read, or nothing comes for a minute.
        """
        for wanted in slices:
            if len(wanted):
                yield from self._read_slice(wanted, max_records)

    def _read_slice(self, wanted: Slice, max_records: int) -> Iterator[Piece]:
        self._consumer.assign([KafkaTopicPartition(*wanted.partition, wanted.start)])
        next_offset, heard_s = wanted.start, time.monotonic()
        while next_offset < wanted.end:
            messages = self._consumer.consume(max_records, _POLL_S)
            if not messages:
                self._refuse_stall(wanted, heard_s)
                continue
            heard_s = time.monotonic()
            before, next_offset = next_offset, min(_offset_after(messages, next_offset), wanted.end)
            records = [m for m in messages if m.error() is None and _offset(m) < wanted.end]
            yield Piece(_records(wanted.partition, records), next_offset - before)

    def _refuse_stall(self, wanted: Slice, heard_s: float) -> None:
        if time.monotonic() - heard_s > _STALL_S:
            topic, number = wanted.partition
            raise BrokerError(f"Nothing came from {topic}-{number} for {_STALL_S:g} s: {self._complaint.sentence}.")


def answer(future: "Future[Result]") -> Result:
    """What the brokers answered to one admin call. Raises BrokerError."""
    try:
        return future.result(timeout=2 * _REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise BrokerError(f"The broker refused: {error.args[0].str()} ({error.args[0].name()}).") from error


def _reader_properties(settings: Settings, complaint: BrokerComplaint) -> dict[str, Any]:
    properties = consumer_properties(settings, complaint)
    membership = {name for name in properties if name.startswith(("group.", "session.", "heartbeat.", "partition.ass"))}
    kept = {name: value for name, value in properties.items() if name not in membership}
    # The next partition is asked for only when the broker has answered the last fetch: it is not to wait for more.
    return {"fetch.wait.max.ms": 20, **kept, "group.id": _NEVER_JOINED, "auto.offset.reset": "error"}


def _offset_after(messages: Sequence[Message], before: int) -> int:
    """Where reading stands after these: markers and aborted records at the end of a log are told by its EOF event."""
    next_offset = before
    for message in messages:
        error = message.error()
        if error is None:
            next_offset = _offset(message) + 1
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  the client's public name of a local event
            next_offset = _offset(message)
        elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise BrokerError(f"There is no right to read topic {message.topic()!r}: grant Read on it.")
        elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED and not error.retriable():  # no group is needed
            raise BrokerError(f"Reading {message.topic()} failed: {error.str()} ({error.name()}).")
    return next_offset


def _offset(message: Message) -> int:
    return cast("int", message.offset())  # a message that was read has one


def _records(partition: TopicPartition, messages: Sequence[Message]) -> Records:
    count = len(messages)
    return Records(
        partitions=[partition],
        partition=np.zeros(count, np.int64),
        offset=np.fromiter(map(Message.offset, messages), np.int64, count),
        timestamp=np.fromiter((stamp[1] for stamp in map(Message.timestamp, messages)), np.int64, count),
        key=list(map(Message.key, messages)),
        value=list(map(Message.value, messages)),
        headers=lambda row: _headers(messages[row]),
    )


def _headers(message: Message) -> Headers:
    return cast("Headers", message.headers() or ())
