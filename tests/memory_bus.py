"""A Kafka in memory: topics, consumer groups and transactions, with the clients' own interface and the clients' errors.

One contract suite (tests/contract) holds it and real Kafka to the same behaviour. Nothing waits: a call that would wait
moves the bus's clock. Members take their turns in `consume`; a crash is `drop_member` and a process that is forgotten.
"""

import uuid
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NoReturn

from confluent_kafka import (
    OFFSET_END,
    OFFSET_INVALID,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_NOT_AVAILABLE,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec

from tests.log_record import LogRecord

Place = tuple[str, int]
SESSION_TIMEOUT_S = 10.0


def kafka_error(code: int, *, fatal: bool = False, retriable: bool = False, abortable: bool = False) -> KafkaError:
    """The error as the client would hand it over."""
    return KafkaError(code, KafkaError(code).str(), fatal, retriable, abortable)


def _refuse(code: int, *, fatal: bool = False, retriable: bool = False, abortable: bool = False) -> NoReturn:
    raise KafkaException(kafka_error(code, fatal=fatal, retriable=retriable, abortable=abortable))


# ---- the log -------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Transaction:
    producer: "MemoryProducer"
    partitions: set[Place] = field(default_factory=set)
    offsets: dict[tuple[str, Place], TopicPartition] = field(default_factory=dict)  # by group and place
    is_open: bool = True
    committed: bool = False


@dataclass
class _Entry:
    record: LogRecord | None  # None: a transaction's marker
    transaction: _Transaction | None = None

    @property
    def is_visible(self) -> bool:
        return self.record is not None and (self.transaction is None or self.transaction.committed)


@dataclass
class _Partition:
    start: int = 0
    entries: list[_Entry] = field(default_factory=list)  # every offset from 0 on; those below `start` are deleted

    @property
    def end(self) -> int:
        return len(self.entries)

    @property
    def stable_end(self) -> int:
        """The last stable offset: where the first open transaction begins."""
        is_open = (
            offset for offset, entry in enumerate(self.entries) if entry.transaction and entry.transaction.is_open
        )
        return next(is_open, self.end)


# ---- the bus -------------------------------------------------------------------------------------------------------


class MemoryBus:
    """The cluster. Its clients are made by `consumer`, `producer` and `admin`."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.topics: dict[str, list[_Partition]] = {}
        self.topic_ids: dict[str, str] = {}
        self.offsets: dict[tuple[str, Place], TopicPartition] = {}
        self.groups: dict[str, _Group] = defaultdict(lambda: _Group(self))
        self.epochs: dict[str, MemoryProducer] = {}
        self._faults: dict[str, list[Callable[[], None]]] = defaultdict(list)

    def clock(self) -> float:
        """Seconds since the bus was made; only waiting moves them."""
        return self.now_s

    def create(self, topic: str, *, partitions: int = 1) -> str:
        """A new, empty topic."""
        self.topics[topic] = [_Partition() for _ in range(partitions)]
        self.topic_ids[topic] = uuid.uuid4().hex
        return topic

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
            _refuse(KafkaError.UNKNOWN_TOPIC_OR_PART)
        return len(self.topics[topic])

    def write(self, records: Iterable[LogRecord]) -> list[LogRecord]:
        """Append records outside any transaction; the same records with their places."""
        return [self.append(record, None) for record in records]

    def write_in_transaction(self, records: Iterable[LogRecord], *, commit: bool) -> None:
        """Write these in one transaction of its own, and end it as told."""
        transaction = _Transaction(MemoryProducer(self, {}))
        for record in records:
            self.append(record, transaction)
        self.finish(transaction, commit=commit)

    def append(self, record: LogRecord, transaction: _Transaction | None) -> LogRecord:
        """One record at the end of its partition; -1 lets the key decide."""
        if record.topic not in self.topics:
            _refuse(KafkaError.UNKNOWN_TOPIC_OR_PART)
        partitions = self.topics[record.topic]
        number = record.partition if record.partition >= 0 else zlib.crc32(record.key or b"") % len(partitions)
        placed = record._replace(partition=number, offset=partitions[number].end)
        partitions[number].entries.append(_Entry(placed, transaction))
        if transaction is not None:
            transaction.partitions.add((record.topic, number))
        return placed

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

    def fail_next(self, call: str, *faults: Callable[[], None]) -> None:
        """Let the next calls of that client method do these things first (raise, or crash the caller)."""
        self._faults[call] += faults

    def heal(self) -> None:
        """No fault waits any more."""
        self._faults.clear()

    def strike(self, call: str) -> None:
        """What a fault that waits for this call does."""
        if self._faults[call]:
            self._faults[call].pop(0)()

    def finish(self, transaction: _Transaction, *, commit: bool) -> None:
        """End a transaction: its records become visible or never will, its offsets count or are forgotten."""
        transaction.is_open, transaction.committed = False, commit
        for topic, number in transaction.partitions:
            self.topics[topic][number].entries.append(_Entry(None))
        if commit:
            self.offsets |= transaction.offsets

    def committed(self, group: str, topic: str) -> dict[int, TopicPartition]:
        """What the group has committed in the topic: partition -> offset and metadata."""
        return {
            number: place for (owner, (own, number)), place in self.offsets.items() if (owner, own) == (group, topic)
        }

    def is_unstable(self, group: str, place: Place) -> bool:
        """Whether an open transaction holds an offset of this partition."""
        return any(
            producer.transaction is not None and (group, place) in producer.transaction.offsets
            for producer in self.epochs.values()
        )

    def expire_transactions(self) -> None:
        """Abort what has been open longer than its timeout; its producer is fenced by that."""
        for producer in self.epochs.values():
            if producer.transaction is not None and self.now_s - producer.began_s > producer.timeout_s:
                self.finish(producer.transaction, commit=False)
                producer.transaction = None
                producer.is_fenced = True

    def consumer(self, properties: Mapping[str, object]) -> "MemoryConsumer":
        """A consumer that joins its group's turns."""
        return MemoryConsumer(self, properties)

    def producer(self, properties: Mapping[str, object]) -> "MemoryProducer":
        """A producer, transactional if it has a transactional.id."""
        return MemoryProducer(self, properties)

    def admin(self) -> "MemoryAdmin":
        """The admin client."""
        return MemoryAdmin(self)


# ---- groups --------------------------------------------------------------------------------------------------------


class _Group:
    """Members and who owns what: a partition goes to its new owner once the former one has let it go."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus
        self.members: list[MemoryConsumer] = []
        self.owners: dict[Place, MemoryConsumer] = {}
        self.generation = 0

    def join(self, member: "MemoryConsumer") -> None:
        self.members.append(member)
        self.generation += 1

    def leave(self, member: "MemoryConsumer") -> None:
        if member in self.members:
            self.members.remove(member)
            self.generation += 1
        self.owners = {place: owner for place, owner in self.owners.items() if owner is not member}

    def target(self, member: "MemoryConsumer") -> set[Place]:
        """The member's part, in turn over all partitions of the topics."""
        places = [
            (topic, number)
            for topic in sorted({topic for each in self.members for topic in each.topics})
            for number in range(len(self._bus.topics[topic]))
        ]
        return {place for turn, place in enumerate(places) if self.members[turn % len(self.members)] is member}


@dataclass(frozen=True)
class _Membership:
    """What a consumer's group metadata says."""

    member: "MemoryConsumer"
    group: str
    generation: int  # -1: no member, but a reader of partitions of its own choice


# ---- clients -------------------------------------------------------------------------------------------------------

Rebalanced = Callable[["MemoryConsumer", list[TopicPartition]], None]


def _ignore(*_: object) -> None:
    pass


class MemoryConsumer:
    """A read_committed consumer with cooperative rebalances and the methods of confluent_kafka.Consumer."""

    def __init__(self, bus: MemoryBus, properties: Mapping[str, object]) -> None:
        self._bus = bus
        self._group_id = str(properties["group.id"])
        self._reports_ends = bool(properties.get("enable.partition.eof", False))
        self._read_committed = properties.get("isolation.level", "read_committed") == "read_committed"
        self._positions: dict[Place, int] = {}
        self._paused: set[Place] = set()
        self._ends_told: dict[Place, int] = {}
        self._on_assign: Rebalanced = _ignore
        self._on_revoke: Rebalanced = _ignore
        self._on_lost: Rebalanced = _ignore
        self._joined = False
        self._was_assigned = False
        self._turn = 0
        self.topics: list[str] = []

    @property
    def _group(self) -> _Group:
        return self._bus.groups[self._group_id]

    def subscribe(
        self,
        topics: Sequence[str],
        on_assign: Rebalanced = _ignore,
        on_revoke: Rebalanced = _ignore,
        on_lost: Rebalanced = _ignore,
    ) -> None:
        """Join the group; partitions come and go within `consume`."""
        self.topics = list(topics)
        self._on_assign, self._on_revoke, self._on_lost = on_assign, on_revoke, on_lost
        self._group.join(self)
        self._joined = True

    def close(self) -> None:
        """Let everything go, and leave."""
        if self._joined and self in self._group.members and self._positions:
            self._on_revoke(self, self._as_partitions(self._positions))
        self._positions.clear()
        self._group.leave(self)
        self._joined = False

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        """Take a turn in the group, then what is there; nothing there = the whole timeout passes."""
        self._bus.strike("consume")
        self._bus.expire_transactions()
        if self._joined:
            self._rebalance()
        messages: list[Message] = []
        places = sorted(self._positions)
        self._turn += 1
        for place in places[self._turn % max(1, len(places)) :] + places[: self._turn % max(1, len(places))]:
            if place not in self._paused and len(messages) < num_messages:
                messages += self._fetch(place, num_messages - len(messages))
        if not messages:
            self._bus.now_s += max(timeout, 0.0)
        return messages

    def poll(self, timeout: float = -1) -> Message | None:
        """One message."""
        messages = self.consume(1, timeout)
        return messages[0] if messages else None

    def _rebalance(self) -> None:
        group = self._group
        if self not in group.members:
            lost = self._as_partitions(self._positions)
            if lost:
                self._on_lost(self, lost)
            self._positions.clear()
            group.join(self)
            return
        target = group.target(self)
        leaving = [place for place in self._positions if place not in target]
        if leaving:
            self._on_revoke(self, self._as_partitions(leaving))
            for place in leaving:
                self._positions.pop(place, None)
                group.owners.pop(place, None)
            return
        coming = [place for place in sorted(target) if place not in group.owners]
        if coming or not self._was_assigned:
            self._was_assigned = True  # a member without partitions is told so once, with an empty list
            group.owners |= dict.fromkeys(coming, self)
            self._positions |= {place: self._start_of(place) for place in coming}
            self._on_assign(self, self._as_partitions(coming))

    def _start_of(self, place: Place) -> int:
        committed = self._bus.offsets.get((self._group_id, place))
        return 0 if committed is None else committed.offset

    def _as_partitions(self, places: Iterable[Place]) -> list[TopicPartition]:
        return [TopicPartition(*place) for place in sorted(places)]

    def _fetch(self, place: Place, at_most: int) -> list[Message]:
        partition = self._bus.topics[place[0]][place[1]]
        position = self._positions[place]
        end = partition.stable_end if self._read_committed else partition.end
        if not partition.start <= position <= partition.end:
            return [_event(place, position, KafkaError._AUTO_OFFSET_RESET)]
        messages: list[Message] = []
        while position < end and len(messages) < at_most:
            entry = partition.entries[position]
            if entry.record is not None and (entry.is_visible or not self._read_committed):
                messages.append(_message(entry.record))
            position += 1
        if position != self._positions[place]:
            self._ends_told.pop(place, None)
        self._positions[place] = position
        if position == end and self._reports_ends and self._ends_told.get(place) != end:
            self._ends_told[place] = end
            messages.append(_event(place, end, KafkaError._PARTITION_EOF))
        return messages

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Read these, and no others."""
        self._positions.clear()
        self.incremental_assign(partitions)

    def incremental_assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Read these too, from where they say."""
        for partition in partitions:
            place = (partition.topic, partition.partition)
            self._positions[place] = self._position_of(place, partition.offset)
            self._ends_told.pop(place, None)

    def _position_of(self, place: Place, offset: int) -> int:
        if offset == OFFSET_END:
            return self._bus.topics[place[0]][place[1]].end
        return offset if offset >= 0 else self._start_of(place)

    def incremental_unassign(self, partitions: Sequence[TopicPartition]) -> None:
        """Read these no more."""
        for partition in partitions:
            self._positions.pop((partition.topic, partition.partition), None)

    def unassign(self) -> None:
        """Read nothing."""
        self._positions.clear()

    def assignment(self) -> list[TopicPartition]:
        """What is read now."""
        return self._as_partitions(self._positions)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Read these later."""
        self._paused |= {(partition.topic, partition.partition) for partition in partitions}

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Read these again."""
        self._paused -= {(partition.topic, partition.partition) for partition in partitions}

    def seek(self, partition: TopicPartition) -> None:
        """Go on from there."""
        place = (partition.topic, partition.partition)
        if place not in self._positions:
            _refuse(KafkaError._STATE)
        self._positions[place] = partition.offset
        self._ends_told.pop(place, None)

    def position(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Where reading stands."""
        return [
            TopicPartition(
                each.topic, each.partition, self._positions.get((each.topic, each.partition), OFFSET_INVALID)
            )
            for each in partitions
        ]

    def committed(self, partitions: Sequence[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        """What the group has committed; waits while a transaction on it is open."""
        self._bus.strike("committed")
        self._bus.expire_transactions()
        if any(self._bus.is_unstable(self._group_id, (each.topic, each.partition)) for each in partitions):
            self._bus.now_s += max(timeout, 0.0)
            self._bus.expire_transactions()
            _refuse(KafkaError._TIMED_OUT, retriable=True)
        return [self._committed(each) for each in partitions]

    def _committed(self, partition: TopicPartition) -> TopicPartition:
        known = self._bus.offsets.get((self._group_id, (partition.topic, partition.partition)))
        return known or TopicPartition(partition.topic, partition.partition, OFFSET_INVALID)

    def commit(
        self, message: object = None, offsets: Sequence[TopicPartition] = (), **_: object
    ) -> list[TopicPartition]:
        """Commit outside a transaction."""
        self._bus.strike("commit")
        if self._joined and self not in self._group.members:
            _refuse(KafkaError.UNKNOWN_MEMBER_ID)
        for each in offsets:
            self._bus.offsets[self._group_id, (each.topic, each.partition)] = each
        return list(offsets)

    def consumer_group_metadata(self) -> _Membership:
        """This member as the group knows it now."""
        generation = self._group.generation if self._joined else -1
        return _Membership(self, self._group_id, generation)

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = -1, *, cached: bool = False
    ) -> tuple[int, int]:
        """Log start and end; what is cached needs no broker."""
        if not cached:
            self._bus.strike("get_watermark_offsets")
        log = self._bus.topics[partition.topic][partition.partition]
        return log.start, log.stable_end if self._read_committed else log.end

    def offsets_for_times(self, asked: Sequence[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        """For each partition the first offset that is not older than its `offset`, read as a time in milliseconds."""
        self._bus.strike("offsets_for_times")
        return [TopicPartition(each.topic, each.partition, self._offset_of_time(each)) for each in asked]

    def _offset_of_time(self, asked: TopicPartition) -> int:
        log = self._bus.topics[asked.topic][asked.partition]
        records = (entry.record for entry in log.entries[log.start :] if entry.record is not None)
        return next((record.offset for record in records if record.timestamp >= asked.offset), OFFSET_END)

    def drop_member(self) -> None:
        """The group no longer hears of this member: its partitions are for others, and it does not know yet."""
        self._group.leave(self)


def _message(record: LogRecord) -> Message:
    kind = TIMESTAMP_NOT_AVAILABLE if record.timestamp < 0 else TIMESTAMP_CREATE_TIME
    return Message(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=list(record.headers) or None,
        timestamp=(kind, record.timestamp),
    )


def _event(place: Place, offset: int, code: int) -> Message:
    return Message(topic=place[0], partition=place[1], offset=offset, error=kafka_error(code))


class MemoryProducer:
    """A producer with the methods of confluent_kafka.Producer."""

    def __init__(self, bus: MemoryBus, properties: Mapping[str, object]) -> None:
        self._bus = bus
        self._id = properties.get("transactional.id")
        self.timeout_s = float(str(properties.get("transaction.timeout.ms", 60_000))) / 1000
        self._largest = int(str(properties.get("message.max.bytes", 1_000_000)))
        self.transaction: _Transaction | None = None
        self.began_s = 0.0
        self.is_fenced = False

    def __len__(self) -> int:
        return 0

    def init_transactions(self, timeout: float = -1) -> None:
        """Fence whoever had this transactional.id before, and abort what it left open."""
        self._bus.strike("init_transactions")
        former = self._bus.epochs.get(str(self._id))
        if former is not None and former is not self:
            former.is_fenced = True
            if former.transaction is not None:
                self._bus.finish(former.transaction, commit=False)
                former.transaction = None
        self._bus.epochs[str(self._id)] = self

    def begin_transaction(self) -> None:
        """Everything produced from here on stands or falls together."""
        self._check()
        if self.transaction is not None:
            _refuse(KafkaError._STATE)
        self.transaction = _Transaction(self)
        self.began_s = self._bus.now_s

    def produce(  # noqa: PLR0917 - the client's own order
        self,
        topic: str,
        value: bytes | str | None = None,
        key: bytes | str | None = None,
        partition: int = -1,
        callback: Callable[..., None] | None = None,
        on_delivery: Callable[..., None] | None = None,
        timestamp: int = -1,
        headers: Sequence[tuple[str, bytes | None]] | Mapping[str, bytes | None] | None = None,
    ) -> None:
        """Append at once."""
        self._bus.strike("produce")
        self._check()
        value, key = (each.encode() if isinstance(each, str) else each for each in (value, key))
        if len(value or b"") > self._largest:
            _refuse(KafkaError.MSG_SIZE_TOO_LARGE)
        pairs = tuple(headers.items() if isinstance(headers, Mapping) else headers or ())
        stamp = timestamp if timestamp > 0 else int(self._bus.now_s * 1000)
        self._bus.append(LogRecord(topic, partition, -1, stamp, key, value, pairs), self.transaction)

    def poll(self, timeout: float = -1) -> int:
        """Nothing is under way."""
        return 0

    def flush(self, timeout: float = -1) -> int:
        """Nothing is under way."""
        self._check()
        return 0

    def send_offsets_to_transaction(
        self, offsets: Sequence[TopicPartition], group_metadata: _Membership, timeout: float = -1
    ) -> None:
        """The offsets count once the transaction is committed; only a member of now may send them."""
        self._bus.strike("send_offsets_to_transaction")
        self._check()
        group = self._bus.groups[group_metadata.group]
        is_member = group_metadata.member in group.members
        if not is_member if group_metadata.generation >= 0 else group.members:
            _refuse(KafkaError.UNKNOWN_MEMBER_ID, abortable=True)
        if self.transaction is None:
            _refuse(KafkaError._STATE)
        for each in offsets:
            self.transaction.offsets[group_metadata.group, (each.topic, each.partition)] = each

    def commit_transaction(self, timeout: float = -1) -> None:
        """Everything becomes visible, offsets too."""
        self._end(commit=True)

    def abort_transaction(self, timeout: float = -1) -> None:
        """Nothing ever becomes visible."""
        self._end(commit=False)

    def _end(self, *, commit: bool) -> None:
        call = "commit_transaction" if commit else "abort_transaction"
        self._bus.strike(call)
        self._check()
        if self.transaction is None:
            _refuse(KafkaError._STATE)
        self._bus.finish(self.transaction, commit=commit)
        self.transaction = None
        self._bus.strike(f"after {call}")

    def _check(self) -> None:
        self._bus.expire_transactions()
        if self.is_fenced:
            _refuse(KafkaError._FENCED, fatal=True)


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
