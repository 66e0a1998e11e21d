"""What the brokers say of topics, rights and the group, gathered without changing anything that others see.

One trace stays: an unused transactional.id of its own is registered, as each worker's start does, and forgotten by the
brokers after a week. It judges nothing (see `worker.kafka_findings`).
"""

import logging
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from schemas.settings import Settings
from worker.batch import TopicPartition
from worker.errors import BrokerError
from worker.kafka_clients import BrokerComplaint, client, common_properties, producer_properties
from worker.kafka_log import KafkaLog, answer
from worker.log_slice import Slice

_REQUEST_TIMEOUT_S = 10.0
_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFacts:
    """One topic as the brokers see it."""

    name: str
    partitions: int
    operations: frozenset[str] | None
    """What this client may do (READ, WRITE, ...); None where the brokers do not say."""
    config: Mapping[str, str] | None
    """Its effective configuration; None without the right to see it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """The consumer group as the brokers see it."""

    operations: frozenset[str] | None
    refusal: str | None
    """Why its offsets cannot be seen."""
    committed: Mapping[TopicPartition, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaFacts:
    """All of it."""

    topics: Mapping[str, TopicFacts]
    """Those that exist (or may be seen)."""
    group: GroupFacts
    logs: Sequence[Slice]
    """What the input partitions hold now."""
    transaction_refusal: str | None
    """The name of the error that a transactional producer met at its start."""


def survey(log: KafkaLog, settings: Settings) -> KafkaFacts:
    """Ask the brokers. Raises BrokerError where they do not answer."""
    kafka = settings.kafka
    counts = log.partition_counts()
    named = dict.fromkeys([*kafka.input_topics, kafka.output_topic, kafka.dead_letter_topic])
    present = [topic for topic in named if topic in counts]
    operations = _topic_operations(log.admin, present)
    inputs = [topic for topic in kafka.input_topics if topic in counts]
    partitions = [TopicPartition(topic, number) for topic in inputs for number in range(counts[topic])]
    return KafkaFacts(
        topics={
            topic: TopicFacts(
                name=topic,
                partitions=counts[topic],
                operations=operations.get(topic),
                config=_topic_config(log.admin, topic),
            )
            for topic in present
        },
        group=_group(settings, log.admin, partitions),
        logs=log.bounds(partitions) if partitions else [],
        transaction_refusal=_transaction_refusal(settings) if settings.delivery == "exactly-once" else None,
    )


def _topic_operations(admin: AdminClient, topics: Sequence[str]) -> dict[str, frozenset[str] | None]:
    if not topics:
        return {}
    futures = admin.describe_topics(
        TopicCollection(list(topics)), include_authorized_operations=True, request_timeout=_REQUEST_TIMEOUT_S
    )
    return {topic: _names(answer(future).authorized_operations) for topic, future in futures.items()}


def _topic_config(admin: AdminClient, topic: str) -> dict[str, str] | None:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    future = admin.describe_configs([resource], request_timeout=_REQUEST_TIMEOUT_S)[resource]
    try:
        entries = answer(future)
    except BrokerError:  # the right to see it is not among those that a worker needs
        return None
    return {name: entry.value for name, entry in entries.items() if entry.value is not None}


def _group(settings: Settings, admin: AdminClient, partitions: Sequence[TopicPartition]) -> GroupFacts:
    operations = _group_operations(admin, settings.kafka.group_id)
    try:
        committed = _committed(settings, partitions)
    except KafkaException as error:
        return GroupFacts(operations=operations, refusal=str(error.args[0].str()), committed={})
    return GroupFacts(operations=operations, refusal=None, committed=committed)


def _committed(settings: Settings, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Asked by a client that never joins; the admin client's own call for it has crashed the interpreter."""
    properties = {**common_properties(settings, BrokerComplaint()), "group.id": settings.kafka.group_id}
    outsider: Consumer = client(Consumer, properties)
    deadline = time.monotonic() + settings.kafka.start_timeout_s
    try:
        while True:
            try:
                places = outsider.committed(
                    [KafkaTopicPartition(*one) for one in partitions], timeout=_REQUEST_TIMEOUT_S
                )
            except KafkaException as error:
                # A group's coordinator may be on the way, and another worker's transaction hides its offsets.
                if error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return {TopicPartition(at.topic, at.partition): at.offset for at in places if at.offset >= 0}
    finally:
        outsider.close()


def _group_operations(admin: AdminClient, group_id: str) -> frozenset[str] | None:
    futures = admin.describe_consumer_groups(
        [group_id], include_authorized_operations=True, request_timeout=_REQUEST_TIMEOUT_S
    )
    try:
        return _names(answer(futures[group_id]).authorized_operations)
    except BrokerError:  # newer brokers describe no group that was never there
        return None


def _names(operations: Iterable[Any] | None) -> frozenset[str] | None:
    names = frozenset(operation.name for operation in operations or ())
    return names or None


def _transaction_refusal(settings: Settings) -> str | None:
    """Start a producer as a worker would, under an id of its own: under the worker's it would fence the worker."""
    prefix = settings.kafka.transactional_id or settings.kafka.group_id
    properties = producer_properties(
        settings, BrokerComplaint(), transactional_id=f"{prefix}-check-{secrets.token_hex(4)}"
    )
    silent = logging.getLogger(f"{__name__}.throwaway")  # what the client would print is in the error
    silent.disabled = True
    try:
        producer: Producer = client(Producer, {**properties, "logger": silent})
        producer.init_transactions(settings.kafka.start_timeout_s)
    except KafkaException as error:
        return str(error.args[0].name())
    return None
