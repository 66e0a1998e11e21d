"""The page about Kafka, held to the properties that the clients get."""

import json
import re
from pathlib import Path

from schemas.kafka_properties import REFUSED
from tests.least_settings import least_settings
from worker.kafka_clients import (
    RECORD_OVERHEAD_BYTES,
    BrokerComplaint,
    Properties,
    common_properties,
    consumer_properties,
    producer_properties,
)

PAGE = (Path(__file__).parents[2] / "docs" / "kafka.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z._]+)` \| `([^`]+)` \| \S", re.MULTILINE)
FROM_SETTINGS = {"bootstrap.servers", "group.id", "transactional.id"}
NO_VALUES = {"error_cb", "logger"}  # parts of the worker, not properties of librdkafka


def told(title: str) -> dict[str, str]:
    (part,) = re.findall(rf"^{title}:\n\n(.*?)\n\n", PAGE, re.DOTALL | re.MULTILINE)
    return dict(ROW.findall(part))


def given(properties: Properties, *, beyond: Properties | None = None) -> dict[str, str]:
    own = {
        name: value for name, value in properties.items() if name not in {*FROM_SETTINGS, *NO_VALUES, *(beyond or {})}
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in own.items()}


def test_the_page_tells_every_property_and_its_value() -> None:
    settings, complaint = least_settings(), BrokerComplaint()
    common = common_properties(settings, complaint)
    consumer = consumer_properties(settings, complaint)
    producer = producer_properties(settings, complaint, transactional_id="machines-1")
    assert told("Both clients") == given(common)
    assert told("The consumer") == given(consumer, beyond=common)
    assert told("The producer") == given(producer, beyond=common)


def test_under_kip_848_the_brokers_business_is_left_to_them() -> None:
    (left_out,) = re.findall(r"^With `group.protocol: consumer`.*$", PAGE, re.MULTILINE)
    assert "the assignment strategy, the session timeout and the heartbeat" in left_out
    settings, complaint = least_settings(), BrokerComplaint()
    kafka = {**settings.model_dump()["kafka"], "consumer": {"group.protocol": "consumer"}}
    newer = consumer_properties(least_settings(kafka=kafka), complaint)
    gone = consumer_properties(settings, complaint).keys() - newer.keys()
    assert gone == {"partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"}


def test_the_room_for_headers_is_the_codes() -> None:
    assert f"`events.max_bytes` + {RECORD_OVERHEAD_BYTES:,}" in PAGE


def test_what_carries_a_promise_cannot_be_changed() -> None:
    promises = {"enable.auto.commit", "auto.offset.reset", "isolation.level", "enable.idempotence", "partitioner"}
    assert promises <= REFUSED.keys() & {**told("The consumer"), **told("The producer")}.keys()
