"""What the Kafka clients are told: our defaults, what users may change, and what librdkafka itself makes of it."""

import re

import pytest
from confluent_kafka import Consumer, KafkaError, Producer

from schemas.settings import RECORD_OVERHEAD_BYTES, Settings
from tests.least_settings import least_settings
from worker.errors import ConfigError, ExitCode
from worker.kafka_clients import (
    TRANSACTION_TIMEOUT_MS,
    BrokerComplaint,
    Properties,
    brokers_assign,
    client,
    consumer_properties,
    producer_properties,
    transaction_timeout_ms,
)

CLASSIC_ALONE = ("session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy")


def settings(**kafka: object) -> Settings:
    needed = {
        "bootstrap_servers": "localhost:9092",
        "group_id": "machines",
        "input_topics": ["events"],
        "output_topic": "scores",
        "dead_letter_topic": "dead-letters",
    }
    return least_settings(kafka=needed | kafka)


def of_consumer(**kafka: object) -> Properties:
    return consumer_properties(settings(**kafka), BrokerComplaint())


def of_producer(transactional_id: str | None = "worker-1", **kafka: object) -> Properties:
    return producer_properties(settings(**kafka), BrokerComplaint(), transactional_id=transactional_id)


# --- the consumer


def test_a_consumer_commits_stores_and_resets_nothing_by_itself() -> None:
    told = of_consumer()
    assert told["enable.auto.commit"] is False
    assert told["enable.auto.offset.store"] is False
    assert told["auto.offset.reset"] == "error"
    assert told["isolation.level"] == "read_committed"
    assert told["group.id"] == "machines"
    assert told["bootstrap.servers"] == "localhost:9092"


def test_a_dead_classic_member_is_replaced_within_ten_seconds() -> None:
    told = of_consumer()
    assert told["session.timeout.ms"] == 10_000
    assert told["max.poll.interval.ms"] == 60_000
    assert told["partition.assignment.strategy"] == "cooperative-sticky"


@pytest.mark.parametrize("place", ["properties", "consumer"])
@pytest.mark.parametrize("name", ["consumer", "CONSUMER"])
def test_where_the_brokers_assign_they_set_the_times_too(place: str, name: str) -> None:
    kafka = {place: {"group.protocol": name}}
    assert brokers_assign(settings(**kafka))
    told = of_consumer(**kafka)
    assert not set(CLASSIC_ALONE) & set(told)
    client(Consumer, told).close()


@pytest.mark.parametrize("properties", [{}, {"group.protocol": "classic"}, {"group.protocol": "Classic"}])
def test_else_the_members_assign(properties: dict[str, str]) -> None:
    assert not brokers_assign(settings(consumer=properties))
    assert set(CLASSIC_ALONE) <= set(of_consumer(consumer=properties))


def test_a_static_member_is_told_its_name_and_others_none() -> None:
    assert of_consumer(group_instance_id="pod-0")["group.instance.id"] == "pod-0"
    assert "group.instance.id" not in of_consumer()


# --- the producer


def test_a_transactional_producer_holds_nobody_back_for_longer_than_its_limit() -> None:
    told = of_producer()
    assert told["transactional.id"] == "worker-1"
    assert told["enable.idempotence"] is True
    assert told["transaction.timeout.ms"] == told["delivery.timeout.ms"] == TRANSACTION_TIMEOUT_MS


def test_without_a_transactional_id_it_is_idempotent_all_the_same() -> None:
    told = of_producer(None)
    assert told["enable.idempotence"] is True
    assert not [name for name in told if "transaction" in name]
    assert "delivery.timeout.ms" not in told


def test_keys_lie_where_java_clients_put_them() -> None:
    assert of_producer()["partitioner"] == "murmur2_random"


def test_the_largest_event_fits_with_its_headers() -> None:
    given = least_settings(events={"max_bytes": 5_000_000})
    told = producer_properties(given, BrokerComplaint(), transactional_id=None)
    assert told["message.max.bytes"] == 5_000_000 + RECORD_OVERHEAD_BYTES
    client(Producer, told)


@pytest.mark.parametrize("place", ["properties", "producer"])
def test_delivery_follows_the_transactions_time_limit(place: str) -> None:
    """With librdkafka a longer delivery than transaction is an error."""
    kafka = {place: {"transaction.timeout.ms": "5000"}}
    assert transaction_timeout_ms(settings(**kafka)) == 5000
    told = of_producer(**kafka)
    assert int(str(told["transaction.timeout.ms"])) == told["delivery.timeout.ms"] == 5000
    client(Producer, told)


@pytest.mark.parametrize("value", ["soon", "10s", "-1", "1.5", True])
def test_a_time_limit_that_is_none_is_a_wrong_setting(value: object) -> None:
    with pytest.raises(ConfigError, match=r"transaction\.timeout\.ms must be a whole number"):
        of_producer(producer={"transaction.timeout.ms": value})


# --- both


def test_one_clients_properties_go_before_both_and_both_before_ours() -> None:
    kafka = {
        "properties": {"client.id": "both", "session.timeout.ms": 20_000, "linger.ms": 7, "compression.type": "zstd"},
        "consumer": {"client.id": "reader"},
        "producer": {"linger.ms": 50},
    }
    reader, writer = of_consumer(**kafka), of_producer(**kafka)
    assert (reader["client.id"], reader["session.timeout.ms"]) == ("reader", 20_000)
    assert (writer["client.id"], writer["linger.ms"], writer["compression.type"]) == ("both", 50, "zstd")


def test_one_clients_properties_are_not_the_others() -> None:
    kafka = {"consumer": {"fetch.min.bytes": 2}, "producer": {"linger.ms": 50}}
    assert "linger.ms" not in of_consumer(**kafka)
    assert "fetch.min.bytes" not in of_producer(**kafka)


def test_librdkafka_takes_every_property_of_ours() -> None:
    client(Consumer, of_consumer()).close()
    client(Producer, of_producer())
    client(Producer, of_producer(None))


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"no.such.property": 1}, 'No such configuration property: "no.such.property"'),
        ({"security.protocol": "carrier pigeon"}, "security.protocol"),
        ({"socket.timeout.ms": 1}, "socket.timeout.ms"),
    ],
)
@pytest.mark.parametrize("kind", [Consumer, Producer])
def test_what_librdkafka_refuses_is_a_wrong_setting(kind: type, properties: dict[str, object], told: str) -> None:
    kafka = {"properties": properties | {"sasl.password": "canary"}}
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        client(kind, of_consumer(**kafka) if kind is Consumer else of_producer(**kafka))
    assert caught.value.exit_code == ExitCode.WRONG_USE
    assert "canary" not in str(caught.value)


# --- complaints


def error(code: int) -> KafkaError:
    return KafkaError(code, "librdkafka's words")


def test_before_anything_is_said_the_sentence_tells_where_to_look() -> None:
    assert "kafka.bootstrap_servers" in BrokerComplaint().sentence


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (KafkaError._AUTHENTICATION, "sasl.password"),
        (KafkaError._SSL, "ssl.ca.location"),
        (KafkaError._RESOLVE, "host names"),
        (KafkaError._TRANSPORT, "running brokers"),
        (KafkaError._ALL_BROKERS_DOWN, "security.protocol"),
        (KafkaError.UNKNOWN, "kafka.properties"),
    ],
)
def test_a_complaint_is_told_with_what_it_usually_means(code: int, hint: str) -> None:
    complaint = BrokerComplaint()
    complaint(error(code))
    assert "librdkafka's words" in complaint.sentence
    assert hint in complaint.sentence


def test_a_telling_complaint_is_not_buried_under_its_consequences() -> None:
    complaint = BrokerComplaint()
    for code in (KafkaError._TRANSPORT, KafkaError._AUTHENTICATION, KafkaError._ALL_BROKERS_DOWN):
        complaint(error(code))
    assert "_AUTHENTICATION" in complaint.sentence


def test_of_equally_telling_complaints_the_last_counts() -> None:
    complaint = BrokerComplaint()
    for code in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
        complaint(error(code))
    assert "_ALL_BROKERS_DOWN" in complaint.sentence
