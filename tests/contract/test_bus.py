"""What the worker builds on: offsets with metadata, transactions, fencing, rebalances. Memory and Kafka agree."""

import uuid
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec

from tests.contract.conftest import Bus
from tests.log_record import LogRecord

PATIENCE_S = 20.0


def records(topic: str, count: int, *, partition: int = 0) -> list[LogRecord]:
    return [
        LogRecord(topic, partition, -1, 1_000 + number, b"key", b"value %d" % number, (("h", b"%d" % number),))
        for number in range(count)
    ]


def transactional(bus: Bus, name: str | None = None) -> Producer:
    producer = bus.producer(**{"transactional.id": name or uuid.uuid4().hex})
    producer.init_transactions(PATIENCE_S)
    return producer


def send(producer: Producer, record: LogRecord) -> None:
    producer.produce(
        record.topic,
        record.value,
        record.key,
        record.partition,
        timestamp=record.timestamp,
        headers=list(record.headers),
    )


def until(bus: Bus, consumer: Consumer, condition: Callable[[list[Message]], bool]) -> list[Message]:
    """Everything that the consumer gives until the condition holds of it."""
    messages: list[Message] = []
    deadline = bus.now_s() + PATIENCE_S
    while not condition(messages):
        assert bus.now_s() < deadline, f"only {[(m.offset(), m.error()) for m in messages]}"
        messages += consumer.consume(100, 0.05)
    return messages


def at_the_end(messages: list[Message]) -> bool:
    return bool(messages) and _is_end(messages[-1])


def _is_end(message: Message) -> bool:
    return message.error() is not None and message.error().code() == KafkaError._PARTITION_EOF


def reader(bus: Bus, topic: str, *, offset: int = 0) -> Consumer:
    consumer = bus.consumer()
    consumer.assign([TopicPartition(topic, 0, offset)])
    return consumer


class Member:
    """A consumer of the group, with what its callbacks were told."""

    def __init__(self, bus: Bus, topic: str) -> None:
        self.consumer = bus.consumer()
        self.owned: set[int] = set()
        self.lost: set[int] = set()
        self.consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._were_lost)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.owned |= {each.partition for each in partitions}
        consumer.incremental_assign([TopicPartition(each.topic, each.partition, 0) for each in partitions])

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.owned -= {each.partition for each in partitions}
        consumer.incremental_unassign(partitions)

    def _were_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.lost |= {each.partition for each in partitions}
        self._revoked(consumer, partitions)


def settle(bus: Bus, members: list[Member], condition: Callable[[], bool]) -> None:
    """Let the members take turns until the condition holds."""
    deadline = bus.now_s() + PATIENCE_S
    while not condition():
        assert bus.now_s() < deadline, [member.owned for member in members]
        for member in members:
            member.consumer.consume(10, 0.05)


def test_a_record_arrives_as_it_was_written(bus: Bus) -> None:
    topic = bus.create("in")
    written = bus.write([*records(topic, 2), LogRecord(topic, 0, -1, 5, None, None)])
    first, second, bare, _ = until(bus, reader(bus, topic), at_the_end)
    assert (first.key(), first.value(), first.headers()) == (b"key", b"value 0", [("h", b"0")])
    assert second.timestamp()[1] == written[1].timestamp
    assert (bare.offset(), bare.key(), bare.value(), bare.headers() or None) == (2, None, None, None)
    assert bus.read(topic) == written


def test_reading_begins_where_it_was_told_and_ends_with_an_event(bus: Bus) -> None:
    topic = bus.create("in")
    bus.write(records(topic, 5))
    messages = until(bus, reader(bus, topic, offset=3), at_the_end)
    assert [message.offset() for message in messages] == [3, 4, 5]


def test_a_read_committed_reader_steps_over_aborted_records_and_markers(bus: Bus) -> None:
    topic = bus.create("in")
    producer = transactional(bus)
    for commit in (True, False, True):
        producer.begin_transaction()
        for record in records(topic, 2):
            send(producer, record)
        producer.flush()  # an abort would otherwise discard what is still on its way
        producer.commit_transaction() if commit else producer.abort_transaction()
    consumer = reader(bus, topic)
    messages = until(bus, consumer, at_the_end)
    assert [message.offset() for message in messages] == [0, 1, 6, 7, 9]
    assert consumer.position([TopicPartition(topic, 0)])[0].offset == 9
    assert [record.offset for record in bus.read(topic)] == [0, 1, 6, 7]


def test_an_open_transaction_hides_what_comes_after_it(bus: Bus) -> None:
    topic = bus.create("in")
    producer = transactional(bus)
    producer.begin_transaction()
    send(producer, records(topic, 1)[0])
    producer.flush()
    bus.write(records(topic, 1))
    assert bus.read(topic) == []
    producer.commit_transaction()
    assert [record.offset for record in bus.read(topic)] == [0, 1]


def committed(consumer: Consumer, topic: str) -> tuple[int, str | None]:
    (place,) = consumer.committed([TopicPartition(topic, 0)], timeout=PATIENCE_S)
    return place.offset, place.metadata


def test_offsets_travel_with_their_metadata_in_a_transaction(bus: Bus) -> None:
    topic, out = bus.create("in"), bus.create("out")
    bus.write(records(topic, 5))
    consumer = reader(bus, topic)
    assert committed(consumer, topic)[0] == -1001
    producer = transactional(bus)
    for offset, commit in ((2, True), (4, False)):
        producer.begin_transaction()
        send(producer, records(out, 1)[0])
        place = TopicPartition(topic, 0, offset, metadata=f"v1;lo={offset}")
        producer.send_offsets_to_transaction([place], consumer.consumer_group_metadata(), PATIENCE_S)
        producer.commit_transaction() if commit else producer.abort_transaction()
    assert committed(consumer, topic) == (2, "v1;lo=2")
    assert len(bus.read(out)) == 1


def test_a_commit_outside_transactions_carries_metadata_and_may_go_back(bus: Bus) -> None:
    topic = bus.create("in")
    consumer = reader(bus, topic)
    for offset in (5, 3):
        consumer.commit(offsets=[TopicPartition(topic, 0, offset, metadata="m")], asynchronous=False)
    assert committed(consumer, topic) == (3, "m")


def test_committed_offsets_are_hidden_while_a_transaction_on_them_is_open(bus: Bus) -> None:
    topic = bus.create("in")
    consumer = reader(bus, topic)
    producer = transactional(bus)
    producer.begin_transaction()
    place = TopicPartition(topic, 0, 1, metadata="m")
    producer.send_offsets_to_transaction([place], consumer.consumer_group_metadata(), PATIENCE_S)
    with pytest.raises(KafkaException) as refused:
        consumer.committed([TopicPartition(topic, 0)], timeout=0.5)
    assert refused.value.args[0].code() in {KafkaError._TIMED_OUT, KafkaError.UNSTABLE_OFFSET_COMMIT}
    producer.commit_transaction()
    assert committed(consumer, topic) == (1, "m")


def test_a_second_producer_of_the_same_name_fences_the_first_and_ends_its_transaction(bus: Bus) -> None:
    out = bus.create("out")
    name = uuid.uuid4().hex
    zombie = transactional(bus, name)
    zombie.begin_transaction()
    send(zombie, records(out, 1)[0])
    zombie.flush()
    transactional(bus, name)
    with pytest.raises(KafkaException) as fenced:
        zombie.commit_transaction(PATIENCE_S)
    assert fenced.value.args[0].code() == KafkaError._FENCED
    assert fenced.value.args[0].fatal()
    assert bus.read(out) == []


def test_an_oversized_record_is_refused(bus: Bus) -> None:
    out = bus.create("out")
    producer = bus.producer(**{"message.max.bytes": 1000})
    with pytest.raises(KafkaException) as refused:
        producer.produce(out, b"x" * 2000)
    assert refused.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE


def test_two_members_share_the_partitions_and_a_leaver_gives_its_part_back(bus: Bus) -> None:
    topic = bus.create("in", partitions=4)
    first, second = Member(bus, topic), Member(bus, topic)
    settle(bus, [first, second], lambda: len(first.owned) == len(second.owned) == 2)
    assert first.owned | second.owned == {0, 1, 2, 3}
    second.consumer.close()
    settle(bus, [first], lambda: len(first.owned) == 4)
    assert second.owned == set()


def test_a_former_member_can_commit_nothing(bus: Bus) -> None:
    topic, out = bus.create("in"), bus.create("out")
    bus.write(records(topic, 3))
    member = Member(bus, topic)
    settle(bus, [member], lambda: member.owned == {0})
    stale = member.consumer.consumer_group_metadata()
    member.consumer.close()
    producer = transactional(bus)
    producer.begin_transaction()
    send(producer, records(out, 1)[0])
    with pytest.raises(KafkaException) as refused:
        producer.send_offsets_to_transaction([TopicPartition(topic, 0, 3)], stale, PATIENCE_S)
    assert refused.value.args[0].txn_requires_abort()
    producer.abort_transaction()
    assert bus.read(out) == []
    assert committed(reader(bus, topic), topic)[0] == -1001


def test_a_member_as_it_was_before_a_rebalance_can_commit_nothing(bus: Bus) -> None:
    topic, out = bus.create("in", partitions=2), bus.create("out")
    first = Member(bus, topic)
    settle(bus, [first], lambda: first.owned == {0, 1})
    stale = first.consumer.consumer_group_metadata()
    second = Member(bus, topic)
    settle(bus, [first, second], lambda: len(first.owned) == len(second.owned) == 1)
    producer = transactional(bus)
    producer.begin_transaction()
    send(producer, records(out, 1)[0])
    with pytest.raises(KafkaException) as refused:
        producer.send_offsets_to_transaction([TopicPartition(topic, 0, 3)], stale, PATIENCE_S)
    assert refused.value.args[0].code() == KafkaError.ILLEGAL_GENERATION
    assert refused.value.args[0].txn_requires_abort()
    producer.abort_transaction()


def test_reading_below_the_logs_start_is_told_once_and_ends_until_the_partition_is_assigned_anew(bus: Bus) -> None:
    topic = bus.create("in")
    bus.write(records(topic, 5))
    bus.delete_before(topic, 0, 3)
    consumer = reader(bus, topic, offset=1)
    (told,) = until(bus, consumer, bool)
    assert told.error().code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}
    with pytest.raises(KafkaException) as refused:
        consumer.seek(TopicPartition(topic, 0, 3))
    assert refused.value.args[0].code() == KafkaError._STATE
    assert consumer.consume(10, 0.5) == []
    consumer.assign([TopicPartition(topic, 0, 3)])
    assert [message.offset() for message in until(bus, consumer, at_the_end)] == [3, 4, 5]


def test_the_log_tells_its_start_its_end_and_where_a_time_begins(bus: Bus) -> None:
    topic = bus.create("in")
    bus.write(records(topic, 5))
    bus.delete_before(topic, 0, 1)
    found = []
    for spec in (
        OffsetSpec.earliest(),
        OffsetSpec.latest(),
        OffsetSpec.for_timestamp(1_003),
        OffsetSpec.for_timestamp(9_999),
    ):
        (answer,) = bus.admin().list_offsets({TopicPartition(topic, 0): spec}).values()
        found.append(answer.result(PATIENCE_S).offset)
    assert found == [1, 5, 3, -1]
