"""A Kafka in memory: topics, consumer groups and transactions, with the clients' own interface and the clients' errors.

One contract suite (tests/contract) holds it and real Kafka to the same behaviour. Nothing waits: a call that would wait
moves the bus's clock. Members take their turns in `consume`; what befalls a process and its calls is its `Process`'s.
"""

import uuid
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal

from confluent_kafka import (
    KafkaError,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec

from tests.log_record import LogRecord
from tests.simulator.consumer import MemoryConsumer
from tests.simulator.coordinators import GroupCoordinator, TransactionCoordinator
from tests.simulator.log import Partition, Place, Transaction
from tests.simulator.process import Process
from tests.simulator.producer import MemoryProducer
from tests.simulator.refusal import refuse, time_out

Coordinator = Literal["group", "transactions"]

# ---- the bus -------------------------------------------------------------------------------------------------------


class MemoryBus:
    """The cluster. Its clients are made by `consumer`, `producer` and `admin`."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.topics: dict[str, list[Partition]] = {}
        self.topic_ids: dict[str, str] = {}
        self.offsets: dict[tuple[str, Place], TopicPartition] = {}
        self.transactions = TransactionCoordinator(self.topics, self.offsets)
        self.groups: dict[str, GroupCoordinator] = defaultdict(lambda: GroupCoordinator(self._partition_count))
        self.on_the_way: list[Callable[[], object]] = []
        self._away_until_s: dict[Coordinator, float] = {}
        self._faults: dict[str, list[Callable[[], None]]] = defaultdict(list)

    def clock(self) -> float:
        """Seconds since the bus was made; only waiting moves them."""
        return self.now_s

    # ---- topics

    def create(self, topic: str, *, partitions: int = 1) -> str:
        """A new, empty topic."""
        self.topics[topic] = [Partition() for _ in range(partitions)]
        self.topic_ids[topic] = uuid.uuid4().hex
        return topic

    def add_partitions(self, topic: str, count: int) -> None:
        """More of them."""
        self.topics[topic] += [Partition() for _ in range(count)]
        for group in self.groups.values():
            group.generation += 1  # its members see more of the topic, and join anew

    def ids(self) -> Mapping[str, str]:
        """What tells a topic from another of the same name."""
        return self.topic_ids

    def log_end(self, partition: tuple[str, int]) -> int:
        """The offset after a partition's last record, whatever becomes of it."""
        self.strike("log_end")
        topic, number = partition
        return self.topics[topic][number].end

    def count_partitions(self, topic: str) -> int:
        """How many a topic has."""
        self.strike("count_partitions")
        if topic not in self.topics:
            refuse(KafkaError.UNKNOWN_TOPIC_OR_PART)
        return self._partition_count(topic)

    def _partition_count(self, topic: str) -> int:
        return len(self.topics[topic])

    def write(self, records: Iterable[LogRecord]) -> list[LogRecord]:
        """Append records outside any transaction; the same records with their places."""
        return [self.append(record, None) for record in records]

    def write_in_transaction(self, records: Iterable[LogRecord], *, commit: bool) -> None:
        """Write these in one transaction of its own, and end it as told."""
        transaction = Transaction()
        for record in records:
            self.append(record, transaction)
        self.transactions.finish(transaction, commit=commit)

    def append(self, record: LogRecord, transaction: Transaction | None) -> LogRecord:
        """One record at the end of its partition; -1 lets the key decide."""
        if record.topic not in self.topics:
            refuse(KafkaError.UNKNOWN_TOPIC_OR_PART)
        number = self.partition_of(record)
        log = self.topics[record.topic][number]
        placed = record._replace(partition=number, offset=log.end)
        log.append(placed, transaction)
        if transaction is not None:
            transaction.partitions.add((record.topic, number))
        return placed

    def partition_of(self, record: LogRecord) -> int:
        """Where a record goes: where it says, or where its key says."""
        if record.partition >= 0:
            return record.partition
        return zlib.crc32(record.key or b"") % self._partition_count(record.topic)

    def read(self, *topics: str) -> list[LogRecord]:
        """Every committed record, ordered by topic, partition and offset."""
        return [
            entry.record
            for topic in sorted(topics)
            for partition in self.topics[topic]
            for entry in partition.entries[partition.start : partition.stable_end]
            if entry.is_visible and entry.record is not None
        ]

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Move a partition's log start forward, as retention does."""
        self.topics[topic][partition].start = offset

    def committed(self, group: str, topic: str) -> dict[int, TopicPartition]:
        """What the group has committed in the topic: partition -> offset and metadata."""
        return {
            number: place for (owner, (own, number)), place in self.offsets.items() if (owner, own) == (group, topic)
        }

    def commit(self, group: str, places: Sequence[TopicPartition]) -> None:
        """Set the offsets of a group that has no members, as an operator's reset does."""
        self.offsets |= {(group, (place.topic, place.partition)): place for place in places}

    # ---- what may go wrong

    def fail_next(self, call: str, *faults: Callable[[], None]) -> None:
        """Let the next calls of that client method do these things first (raise, or crash the caller)."""
        self._faults[call] += faults

    def heal(self) -> None:
        """No fault waits any more, and every coordinator answers."""
        self._faults.clear()
        self._away_until_s.clear()

    def strike(self, call: str) -> None:
        """What a fault that waits for this call does."""
        if self._faults and self._faults[call]:
            self._faults[call].pop(0)()

    def move(self, coordinator: Coordinator, away_s: float) -> None:
        """Another broker takes over as coordinator, and is not ready for so long."""
        self._away_until_s[coordinator] = self.now_s + away_s

    def is_away(self, coordinator: Coordinator) -> bool:
        """Whether nobody would answer now."""
        return self._away_until_s.get(coordinator, 0.0) > self.now_s

    def reach(self, coordinator: Coordinator, timeout_s: float) -> None:
        """Wait for the coordinator, as the client does by itself. Raises the client's time-out."""
        wait_s = self._away_until_s.get(coordinator, 0.0) - self.now_s
        if wait_s <= 0:
            return
        if 0 <= timeout_s < wait_s:
            self.now_s += timeout_s
            time_out()
        self.now_s += wait_s

    def expire(self) -> None:
        """What time does: transactions that are too old are aborted, silent members are given up."""
        self.transactions.expire(self.now_s)
        for group in self.groups.values():
            group.expire(self.now_s)

    expire_transactions = expire

    # ---- clients

    def consumer(self, properties: Mapping[str, object], process: Process | None = None) -> MemoryConsumer:
        """A consumer that joins its group's turns."""
        return MemoryConsumer(self, properties, process or Process(self))

    def producer(self, properties: Mapping[str, object], process: Process | None = None) -> MemoryProducer:
        """A producer, transactional if it has a transactional.id."""
        return MemoryProducer(self, properties, process or Process(self))

    def admin(self) -> "MemoryAdmin":
        """The admin client."""
        return MemoryAdmin(self)


# ---- the admin client ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Answer:
    offset: int
    timestamp: int = -1


class MemoryAdmin:
    """Answers of confluent_kafka.admin.AdminClient, ready at once."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus

    def list_offsets(
        self, asked: Mapping[TopicPartition, object], **_: object
    ) -> dict[TopicPartition, Future[_Answer]]:
        """Log start, end, or the first record that is not older."""
        return {partition: _ready(self._offset(partition, spec)) for partition, spec in asked.items()}

    def _offset(self, partition: TopicPartition, spec: object) -> _Answer:
        log = self._bus.topics[partition.topic][partition.partition]
        if isinstance(spec, type(OffsetSpec.earliest())):
            return _Answer(log.start)
        if isinstance(spec, type(OffsetSpec.latest())):
            return _Answer(log.stable_end)
        wanted = vars(spec)["timestamp"]
        records = (entry.record for entry in log.entries[log.start :] if entry.record is not None)
        found = next((record for record in records if record.timestamp >= wanted), None)
        return _Answer(-1) if found is None else _Answer(found.offset, found.timestamp)


def _ready(answer: _Answer) -> Future[_Answer]:
    future: Future[_Answer] = Future()
    future.set_result(answer)
    return future
