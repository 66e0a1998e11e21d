"""`helm test`: one scored record comes out of the output topic. It joins no group and commits nothing."""

import os
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from pydantic import ValidationError

from schemas.score_record import ScoreRecord
from worker.settings_file import load_settings

REMEMBERED = 1000  # offsets to look back on each partition: the newest score may be older than the test
settings = load_settings(Path("/etc/anomaly-worker/worker.yaml"), environ=os.environ)
topic = settings.kafka.output_topic
consumer = Consumer(
    {
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        "group.id": settings.kafka.group_id,  # demanded by the client, never joined
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        **settings.kafka.properties,
    }
)


def fail(sentence: str) -> None:
    """End, with the sentence as the pod's last words."""
    sys.exit(f"helm test: {sentence}")


def newest(timeout_s: float) -> list[TopicPartition]:
    """Where to begin on each partition. Raises KafkaException."""
    places = []
    for partition in consumer.list_topics(topic, timeout=timeout_s).topics[topic].partitions:
        start, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=timeout_s)
        places.append(TopicPartition(topic, partition, max(start, end - REMEMBERED)))
    return places


patience_s = float(os.environ["TIMEOUT_SECONDS"])
deadline = time.monotonic() + patience_s
try:
    consumer.assign(newest(patience_s))
except KafkaException as error:
    fail(f"{topic} cannot be looked at: {error.args[0].str()}.")
while time.monotonic() < deadline:
    message = consumer.poll(1.0)
    if message is None:
        continue
    error = message.error()
    if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        fail(f"the right Read on {topic} is missing; the worker does not need it, this test does.")
    if error is not None:
        fail(f"{topic} cannot be read: {error.str()}.")
    try:
        record = ScoreRecord.model_validate_json(message.value())
    except ValidationError:
        fail(f"partition {message.partition()}, offset {message.offset()} of {topic} holds no score record.")
    print(f"{record.id} of {record.entity}: score {record.score}")  # noqa: T201 - the test's output
    sys.exit(0)
fail(f"no score came to {topic}; are there events, and is the worker Ready?")
