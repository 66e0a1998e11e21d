"""The topics named in the settings: waits until brokers answer and the topics are there, or says what is missing."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType, TopicMetadata  # type: ignore[attr-defined]  # public

from schemas.settings import Settings
from worker.batch import TopicPartition
from worker.errors import BrokerError
from worker.kafka_clients import BrokerComplaint, Properties, client, common_properties, patience_s

log = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 2.0
_PAUSE_S = 0.2
_TELL_EVERY_S = 30.0
"""Whoever waits for an hour says more than once what for."""


class Topics:
    """Looks at topics without joining a group. Keeps its clients: an admin client must outlive its answers."""

    def __init__(self, settings: Settings, complaint: BrokerComplaint) -> None:
        self._kafka = settings.kafka
        self._complaint = complaint
        properties = common_properties(settings, complaint)
        self._admin: AdminClient = client(AdminClient, properties)
        # A consumer asks for a topic without making it; the other clients may make it.
        # To it a partition ends where the log ends: the workers' own consumers see no further than open transactions.
        told: Properties = {"group.id": self._kafka.group_id, "isolation.level": "read_uncommitted"}
        self._reader: Consumer = client(Consumer, {**properties, **told})

    def wait_for(self, *, stopping: Callable[[], bool]) -> int | None:
        """The output topic's partition count, once brokers answer and every topic is there and ours to use.

        Meanwhile the log tells what is waited for. None where it was told to stop meanwhile. Raises BrokerError after
        `kafka.start_timeout_s`.
        """
        tell_s = time.monotonic()
        deadline = tell_s + patience_s(self._kafka.start_timeout_s)
        while not stopping():
            left_s = deadline - time.monotonic()
            try:
                counts = {topic: self._partition_count(topic, min(_CALL_TIMEOUT_S, left_s)) for topic in self._named()}
            except BrokerError as error:
                now_s = time.monotonic()
                if now_s > deadline:
                    raise
                if now_s >= tell_s and deadline - now_s > _TELL_EVERY_S:  # else it soon ends with these words
                    log.warning("waiting for another %.0f s at most: %s", deadline - now_s, error)
                    tell_s = now_s + _TELL_EVERY_S
                time.sleep(_PAUSE_S)
            else:
                self._refuse_compaction()
                return counts[self._kafka.output_topic]
        return None

    def ids(self) -> Mapping[str, str]:
        """What tells a topic from a later one of the same name; empty where it cannot be read."""
        try:
            futures = self._admin.describe_topics(
                TopicCollection(list(self._kafka.input_topics)), request_timeout=_CALL_TIMEOUT_S
            )
            return {topic: str(future.result(2 * _CALL_TIMEOUT_S).topic_id) for topic, future in futures.items()}
        except (KafkaException, TimeoutError, ValueError):
            return {}

    def count_partitions(self, topic: str) -> int:
        """How many there are now. Raises KafkaException."""
        told = self._described(topic, _CALL_TIMEOUT_S)
        if told.error is not None:
            raise KafkaException(told.error)
        return len(told.partitions)

    def log_end(self, partition: TopicPartition) -> int:
        """The offset after the last record, those of open transactions included. Raises KafkaException."""
        asked = KafkaTopicPartition(*partition)
        return int(self._reader.get_watermark_offsets(asked, timeout=_CALL_TIMEOUT_S)[1])

    def _described(self, topic: str, timeout_s: float) -> TopicMetadata:
        return cast("TopicMetadata", self._reader.list_topics(topic, timeout=max(timeout_s, 0.1)).topics[topic])

    def _named(self) -> dict[str, str]:
        kafka = self._kafka
        return {
            **dict.fromkeys(kafka.input_topics, "kafka.input_topics"),
            kafka.output_topic: "kafka.output_topic",
            kafka.dead_letter_topic: "kafka.dead_letter_topic",
        }

    def _partition_count(self, topic: str, timeout_s: float) -> int:
        setting = self._named()[topic]
        try:
            told = self._described(topic, timeout_s)
        except KafkaException as error:
            self._reader.poll(0)  # lets the client say what was wrong
            raise BrokerError(f"No broker answered at kafka.bootstrap_servers: {self._complaint.sentence}.") from error
        if told.error is None:
            return len(told.partitions)
        if told.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            right = "Read" if setting == "kafka.input_topics" else "Write"
            raise BrokerError(f"There is no right to {right.lower()} topic {topic!r} ({setting}): grant {right} on it.")
        if told.error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:  # noqa: SLF001 - public
            raise BrokerError(f"There is no topic {topic!r}: create it, or correct {setting}.")
        raise BrokerError(f"Topic {topic!r} ({setting}) cannot be used: {told.error.str()}.")

    def _refuse_compaction(self) -> None:
        """Compaction takes rows out of windows; where the policy cannot be read, nothing is said."""
        asked = [ConfigResource(ResourceType.TOPIC, topic) for topic in self._kafka.input_topics]
        for resource, future in self._admin.describe_configs(asked, request_timeout=_CALL_TIMEOUT_S).items():
            try:
                policy = future.result(2 * _CALL_TIMEOUT_S)["cleanup.policy"].value
            except (KafkaException, TimeoutError, KeyError):
                continue
            if "compact" in policy:
                raise BrokerError(
                    f"Topic {resource.name!r} is compacted (cleanup.policy={policy}), which takes rows out of windows: "
                    "use a topic with cleanup.policy=delete."
                )
