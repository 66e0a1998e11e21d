"""Waiting for brokers and topics, on the embedded cluster: it has topics and groups, and no topic configuration."""

import threading
import time
from collections.abc import Iterator
from itertools import count

import pytest
from confluent_kafka import Producer

from schemas.settings import Settings
from tests.broker import free_port
from tests.least_settings import least_settings
from worker.demo.cluster import PARTITIONS, embedded_cluster
from worker.errors import BrokerError, ConfigError
from worker.kafka_clients import BrokerComplaint
from worker.topics import Topics


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with embedded_cluster(["events", "more-events", "scores", "dead-letters"]) as bootstrap:
        yield bootstrap


def settings(bootstrap: str, **kafka: object) -> Settings:
    needed = {
        "bootstrap_servers": bootstrap,
        "group_id": "machines",
        "input_topics": ["events", "more-events"],
        "output_topic": "scores",
        "dead_letter_topic": "dead-letters",
        "start_timeout_s": 0.05,
    }
    return least_settings(kafka=needed | kafka)


def wait(given: Settings) -> int | None:
    return Topics(given, BrokerComplaint()).wait_for(stopping=lambda: False)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("input_topics", ["events", "no-such-topic"]),
        ("output_topic", "no-such-topic"),
        ("dead_letter_topic", "no-such-topic"),
    ],
)
def test_a_missing_topic_is_named_with_its_setting(cluster: str, setting: str, value: object) -> None:
    with pytest.raises(
        BrokerError, match=rf"^There is no topic 'no-such-topic': create it, or correct kafka.{setting}"
    ):
        wait(settings(cluster, **{setting: value}))


def test_looking_for_a_topic_does_not_make_it(cluster: str) -> None:
    for _ in range(2):
        with pytest.raises(BrokerError, match="There is no topic"):
            wait(settings(cluster, output_topic="never-made"))


def test_a_topic_that_comes_late_is_waited_for_and_then_the_output_topics_partitions_are_told() -> None:
    with embedded_cluster(["events", "more-events", "scores"]) as bootstrap:
        given = settings(bootstrap, start_timeout_s=10)
        later = threading.Timer(0.3, _make_topic, (bootstrap, "dead-letters"))
        later.start()
        assert wait(given) == PARTITIONS
        later.join()


def _make_topic(bootstrap: str, topic: str) -> None:
    """Asking the embedded cluster for a topic makes it."""
    Producer({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(topic, timeout=5)


def test_brokers_out_of_reach_are_told_soon_after_the_time_is_over() -> None:
    began_s = time.monotonic()
    with pytest.raises(BrokerError, match=r"No broker answered at kafka\.bootstrap_servers.*refused"):
        wait(settings(f"127.0.0.1:{free_port()}"))
    assert time.monotonic() - began_s < 5


def test_a_worker_that_is_told_to_stop_waits_no_longer(cluster: str) -> None:
    turns = count()
    given = settings(cluster, output_topic="no-such-topic", start_timeout_s=600)
    assert Topics(given, BrokerComplaint()).wait_for(stopping=lambda: next(turns) >= 2) is None


def test_a_worker_that_waits_tells_why_and_not_all_the_time(cluster: str, caplog: pytest.LogCaptureFixture) -> None:
    turns = count()
    given = settings(cluster, output_topic="no-such-topic", start_timeout_s=600)
    Topics(given, BrokerComplaint()).wait_for(stopping=lambda: next(turns) >= 3)
    (told,) = (record.getMessage() for record in caplog.records)
    assert told.startswith("waiting for another ")
    assert "There is no topic 'no-such-topic'" in told


def test_a_property_that_librdkafka_refuses_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match=r'No such configuration property: "no\.such"'):
        Topics(settings("localhost:9092", properties={"no.such": 1}), BrokerComplaint())
