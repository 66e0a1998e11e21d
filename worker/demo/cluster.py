"""librdkafka's embedded cluster: a Kafka for one process to hold and any process on this machine to use.

It keeps topics, groups and committed offsets in memory. It stores no transactional offsets, so the worker runs
`delivery: at-least-once` on it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import KafkaException, Producer

from worker.errors import BrokerError

PARTITIONS = 4
"""What the embedded cluster gives each topic."""

START_TIMEOUT_S = 10.0


@contextmanager
def embedded_cluster(topics: Sequence[str]) -> Iterator[str]:
    """The bootstrap address of a cluster that has these topics, for as long as the block runs. Raises BrokerError."""
    owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    try:
        brokers = owner.list_topics(timeout=START_TIMEOUT_S).brokers.values()
        for topic in topics:
            owner.list_topics(topic, timeout=START_TIMEOUT_S)  # asking for a topic makes it
    except KafkaException as error:
        raise BrokerError(f"the embedded cluster did not start: {error}") from error
    try:
        yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    finally:
        del owner  # the cluster ends with the client that holds it
