"""Topics of a test: created under names that nobody else has, read back whole, deleted at the end.

It knows nothing of the worker and nothing of what the records mean.
"""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

from tests.log_record import LogRecord

ANSWER_TIMEOUT_S = 20.0
ON_THE_WAY = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
}
"""Whoever can answer has been chosen, but does not know it yet."""

Answer = TypeVar("Answer")


class Topics:
    """The topics that one test made on one cluster."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self._created: list[str] = []
        self._outsiders: dict[str, Consumer] = {}

    def create(self, name: str = "topic", *, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """A new topic with a unique name that begins as told; it is there when this returns."""
        unique = f"{name}-{uuid.uuid4().hex[:10]}"
        self._created.append(unique)
        topic = NewTopic(unique, num_partitions=partitions, config=dict(config or {}))
        self.admin.create_topics([topic])[unique].result(ANSWER_TIMEOUT_S)
        self._wait_for_leaders(unique, partitions)
        return unique

    def read(self, *topics: str, isolation: str = "read_committed") -> list[LogRecord]:
        """Everything in these topics up to their ends of now, ordered by topic, partition and offset."""
        return read_topics(self.bootstrap, topics, isolation=isolation)

    def write_in_transaction(self, records: Iterable[LogRecord], *, commit: bool) -> None:
        """Write these in one transaction of its own, and end it as told; return once readers can see that it ended."""
        written = list(records)
        producer = self.begin_transaction(written)
        if commit:
            producer.commit_transaction(ANSWER_TIMEOUT_S)
        else:
            producer.abort_transaction(ANSWER_TIMEOUT_S)
        self.wait_until_stable(*{record.topic for record in written})

    def wait_until_stable(self, *topics: str, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Return once no transaction is open on them: brokers say that one has ended before its markers are there."""
        deadline = time.monotonic() + timeout_s
        with contextlib.closing(_reader(self.bootstrap, "read_committed")) as reader:
            while any(self._is_unstable(reader, topic) for topic in topics):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"a transaction is open on one of {topics} after {timeout_s:g} s")
                time.sleep(0.02)

    def _is_unstable(self, reader: Consumer, topic: str) -> bool:
        ends = {partition: end for partition, (_, end) in self.ends(topic).items()}
        places = {partition: TopicPartition(topic, partition) for partition in ends}
        stable = {number: reader.get_watermark_offsets(place, ANSWER_TIMEOUT_S) for number, place in places.items()}
        return any(stable[partition][1] < end for partition, end in ends.items())

    def begin_transaction(self, records: Iterable[LogRecord]) -> Producer:
        """Write these in a transaction of its own, and leave it open."""
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "transactional.id": f"writer-{uuid.uuid4().hex}", "log_level": 0}
        )
        producer.init_transactions(ANSWER_TIMEOUT_S)
        producer.begin_transaction()
        for record in records:
            produce(producer, record)
        producer.flush(ANSWER_TIMEOUT_S)
        return producer

    def write(self, records: Iterable[LogRecord]) -> list[LogRecord]:
        """Write these where `partition` says (-1: by key); the same records with the offsets that they got."""
        return write_records(self.bootstrap, records)

    def committed(self, group: str, topic: str) -> dict[int, TopicPartition]:
        """What the group has committed in the topic: partition -> offset and metadata."""
        places = [TopicPartition(topic, partition) for partition in self._partitions(topic)]
        answer = _patiently(lambda: self._outsider(group).committed(places, timeout=ANSWER_TIMEOUT_S))
        return {place.partition: place for place in answer if place.offset >= 0}

    def commit(self, group: str, places: Sequence[TopicPartition]) -> None:
        """Set the offsets of a group that has no members, as an operator's reset does."""
        _patiently(lambda: self._outsider(group).commit(offsets=list(places), asynchronous=False))

    def ends(self, topic: str) -> dict[int, tuple[int, int]]:
        """Partition -> log start and end."""
        return {
            partition: _patiently(partial(self._bounds, TopicPartition(topic, partition)))
            for partition in self._partitions(topic)
        }

    def _bounds(self, place: TopicPartition) -> tuple[int, int]:
        bounds: tuple[int, int] = self._outsider("ends").get_watermark_offsets(place, timeout=ANSWER_TIMEOUT_S)
        return bounds

    def ids(self) -> Mapping[str, str]:
        """What tells a topic from another of the same name: not asked for here."""
        return {}

    def log_end(self, partition: tuple[str, int]) -> int:
        """The offset after a partition's last record, whatever becomes of it."""
        return self.ends(partition[0])[partition[1]][1]

    def count_partitions(self, topic: str) -> int:
        """How many a topic has."""
        return len(self._partitions(topic))

    def _partitions(self, topic: str) -> Sequence[int]:
        return sorted(self.admin.list_topics(topic, timeout=ANSWER_TIMEOUT_S).topics[topic].partitions)

    def _outsider(self, group: str) -> Consumer:
        """A client that may ask for the group and never joins it."""
        if group not in self._outsiders:
            self._outsiders[group] = _reader(self.bootstrap, "read_uncommitted", group=group)
        return self._outsiders[group]

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Move a partition's log start forward, as retention does."""
        place = TopicPartition(topic, partition, offset)
        for answer in self.admin.delete_records([place]).values():
            answer.result(ANSWER_TIMEOUT_S)

    def delete_all(self) -> None:
        """Delete what was created here and is still there, and close the connections."""
        while self._outsiders:
            self._outsiders.popitem()[1].close()
        if self._created:
            for answer in self.admin.delete_topics(self._created).values():
                with contextlib.suppress(KafkaException):
                    answer.result(ANSWER_TIMEOUT_S)
        self._created.clear()

    def _wait_for_leaders(self, topic: str, partitions: int) -> None:
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while time.monotonic() < deadline:
            known = self.admin.list_topics(topic, timeout=ANSWER_TIMEOUT_S).topics[topic].partitions
            if len(known) == partitions and all(partition.leader >= 0 for partition in known.values()):
                return
        raise TimeoutError(f"{topic} has no leaders after {ANSWER_TIMEOUT_S} s")


def _patiently(call: Callable[[], Answer]) -> Answer:
    """The call's answer, once the group's coordinator, or the partition's leader, is found and awake."""
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while True:
        try:
            return call()
        except KafkaException as error:
            if error.args[0].code() not in ON_THE_WAY or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def read_topics(bootstrap: str, topics: Sequence[str], *, isolation: str = "read_committed") -> list[LogRecord]:
    """Everything in the topics up to their ends of now, ordered. Raises TimeoutError where nothing comes any more."""
    with contextlib.closing(_reader(bootstrap, isolation)) as consumer:
        places = [
            TopicPartition(topic, partition, 0)
            for topic in topics
            for partition in consumer.list_topics(topic, timeout=ANSWER_TIMEOUT_S).topics[topic].partitions
        ]
        consumer.assign(places)
        open_places = {(place.topic, place.partition) for place in places}
        records: list[LogRecord] = []
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while open_places:
            for message in consumer.consume(10_000, 0.05):
                deadline = time.monotonic() + ANSWER_TIMEOUT_S  # however long it takes, as long as something comes
                error = message.error()
                if error is None:
                    records.append(log_record(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    open_places.discard((message.topic(), message.partition()))
                else:
                    raise KafkaException(error)
            if time.monotonic() > deadline:
                raise TimeoutError(f"the ends of {sorted(open_places)} did not come in {ANSWER_TIMEOUT_S} s")
    return sorted(records, key=lambda record: record.place)


def _reader(bootstrap: str, isolation: str, *, group: str = "reader") -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,  # demanded by the client, never joined
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
            "log_level": 0,
        }
    )


def log_record(message: Message) -> LogRecord:
    """The message as a plain value."""
    kind, timestamp = message.timestamp()
    return LogRecord(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        timestamp=-1 if kind == TIMESTAMP_NOT_AVAILABLE else timestamp,
        key=message.key(),
        value=message.value(),
        headers=tuple(message.headers() or ()),
    )


def write_records(bootstrap: str, records: Iterable[LogRecord]) -> list[LogRecord]:
    """Write the records and wait until all are acknowledged; the same with the places that they got."""
    written: list[LogRecord] = []
    errors: list[KafkaError] = []

    def note(record: LogRecord, error: KafkaError | None, message: Message) -> None:
        if error is None:  # the report repeats no headers
            written.append(log_record(message)._replace(headers=record.headers))
        else:
            errors.append(error)

    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "enable.idempotence": True, "log_level": 0})
    for record in records:
        produce(producer, record, on_delivery=partial(note, record))
    left = producer.flush(ANSWER_TIMEOUT_S)
    if errors or left:
        raise RuntimeError(f"{left} records not acknowledged, {len(errors)} refused: {errors[:1]}")
    return sorted(written, key=lambda record: record.place)


def produce(producer: Producer, record: LogRecord, **callbacks: object) -> None:
    """Queue the record as it is; -1 as partition or timestamp leaves the choice to the client (0 is no time to it)."""
    optional = {} if record.timestamp == -1 else {"timestamp": record.timestamp}
    producer.produce(
        record.topic,
        key=record.key,
        value=record.value,
        partition=record.partition,
        headers=list(record.headers),
        **optional,
        **callbacks,
    )
