"""The settings model on plain values."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.settings import RECORD_OVERHEAD_BYTES, Settings, known_settings, steps_of

KAFKA = {
    "bootstrap_servers": "localhost:9092",
    "group_id": "machine-anomalies",
    "input_topics": ["machine-events"],
    "output_topic": "machine-scores",
    "dead_letter_topic": "machine-dead-letters",
}


def settings(**sections: object) -> Settings:
    kafka = KAFKA | sections.pop("kafka", {})
    return Settings.model_validate({"model": {"uri": "machine.onnx"}, "start": "earliest", "kafka": kafka} | sections)


def complaint(**sections: object) -> str:
    with pytest.raises(ValidationError) as caught:
        settings(**sections)
    return "\n".join(
        f"{'.'.join(map(str, fault['loc']))} {fault['type']} {fault['msg']}" for fault in caught.value.errors()
    )


def test_seven_values_are_enough_and_the_rest_is_the_contract() -> None:
    assert settings().model_dump() == {
        "model": {"uri": "machine.onnx", "sha256": None, "public_key": None},
        "kafka": KAFKA
        | {
            "transactional_id": None,
            "group_instance_id": None,
            "start_timeout_s": 15,
            "msk_iam_region": None,
            "properties": {},
            "consumer": {},
            "producer": {},
        },
        "events": {
            "format": "json",
            "entity": None,
            "timestamp": None,
            "timestamp_unit": "ms",
            "features": {},
            "where": {},
            "passthrough": [],
            "forward_headers": [],
            "tombstone": "dead-letter",
            "required": [],
            "max_missing": 0.5,
            "max_bytes": 1_000_000,
        },
        "delivery": "exactly-once",
        "start": "earliest",
        "on_gap": "fail",
        "lookback_offsets": 1_000_000,
        "batch": {"max_events": 4096, "max_wait_ms": 50},
        "commit_interval_ms": 100,
        "alert": {"threshold": 1.0},
        "explain": {"when": "anomalies", "top": 3},
        "inference": {"provider": "auto", "threads": 1},
        "http": {"host": "127.0.0.1", "port": 8080, "page": False},
        "log": {"format": "json", "level": "info"},
        "traces": {"enabled": False},
    }


def test_the_list_of_known_settings_is_the_model() -> None:
    expected: list[tuple[str, ...]] = []
    for name, value in settings().model_dump().items():
        expected += [(name, key) for key in value] if isinstance(value, dict) else [(name,)]
    assert list(known_settings()) == expected


@pytest.mark.parametrize("key", sorted(KAFKA))
def test_each_of_the_first_five_kafka_settings_is_required(key: str) -> None:
    kafka = {name: value for name, value in KAFKA.items() if name != key}
    with pytest.raises(ValidationError, match=f"kafka.{key}\n  Field required"):
        Settings.model_validate({"model": {"uri": "m"}, "start": "latest", "kafka": kafka})


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"batch": {"max_events": True}}, "batch.max_events int_type"),
        ({"batch": {"max_events": "5"}}, "batch.max_events int_type"),
        ({"batch": {"max_events": 0}}, "batch.max_events greater_than_equal"),
        ({"batch": {"max_events": 100_001}}, "batch.max_events less_than_equal"),
        ({"batch": {"max_wait_ms": 0}}, "batch.max_wait_ms greater_than_equal"),
        ({"commit_interval_ms": 5001}, "commit_interval_ms less_than_equal"),
        ({"lookback_offsets": 0}, "lookback_offsets greater_than_equal"),
        ({"lookback_offsets": 2**31}, "lookback_offsets less_than_equal"),
        ({"events": {"max_bytes": 32_000_001}}, "events.max_bytes less_than_equal"),
        ({"alert": {"threshold": float("nan")}}, "alert.threshold finite_number"),
        ({"alert": {"threshold": 0}}, "alert.threshold greater_than"),
        ({"events": {"max_missing": 1.5}}, "events.max_missing less_than_equal"),
        ({"events": {"format": "avro"}}, "events.format value_error Value error, avro is not built yet: use json"),
        ({"events": {"format": "xml"}}, "events.format literal_error"),
        ({"events": {"entity": ""}}, "events.entity string_too_short"),
        ({"events": {"entity": "a..b"}}, "events.entity value_error"),
        ({"events": {"where": {"a.": 1}}}, "events.where.a..[key] value_error"),
        ({"events": {"where": {"a": []}}}, "events.where.a too_short"),
        ({"events": {"where": {"a": [{}]}}}, "events.where.a.0 value_error"),
        ({"events": {"passthrough": ["a", "a"]}}, "events.passthrough value_error Value error, names 'a' twice"),
        ({"http": {"port": 70_000}}, "http.port less_than_equal"),
        ({"http": {"port": -1}}, "http.port greater_than_equal"),
        ({"inference": {"threads": 0}}, "inference.threads greater_than_equal"),
        ({"explain": {"when": "sometimes"}}, "explain.when literal_error"),
        ({"bacth": {}}, "bacth extra_forbidden"),
        ({"kafka": {"grup_id": "x"}}, "kafka.grup_id extra_forbidden"),
        ({"kafka": {"group_id": ""}}, "kafka.group_id string_too_short"),
        ({"kafka": {"group_id": 5}}, "kafka.group_id string_type"),
        ({"kafka": {"transactional_id": ""}}, "kafka.transactional_id string_too_short"),
        ({"kafka": {"input_topics": []}}, "kafka.input_topics too_short"),
        ({"kafka": {"input_topics": "a"}}, "kafka.input_topics list_type"),
        ({"kafka": {"input_topics": ["^machine-.*"]}}, "kafka.input_topics.0 value_error"),
        ({"kafka": {"input_topics": ["a", "a"]}}, "kafka.input_topics value_error"),
        ({"kafka": {"output_topic": "."}}, "kafka.output_topic value_error"),
        ({"kafka": {"bootstrap_servers": "a:9092,,b:9092"}}, "kafka.bootstrap_servers value_error"),
        ({"kafka": {"bootstrap_servers": "a:0"}}, "kafka.bootstrap_servers value_error"),
        ({"kafka": {"bootstrap_servers": "a:65536"}}, "kafka.bootstrap_servers value_error"),
        ({"kafka": {"bootstrap_servers": "a b"}}, "kafka.bootstrap_servers value_error"),
        ({"kafka": {"properties": {"linger.ms": None}}}, "kafka.properties.linger.ms value_error"),
        ({"kafka": {"properties": {"linger.ms": [1]}}}, "kafka.properties.linger.ms value_error"),
    ],
)
def test_a_wrong_value_is_told_at_its_place(sections: dict[str, Any], said: str) -> None:
    assert said in complaint(**sections)


@pytest.mark.parametrize(
    "servers", ["localhost", "a:9092,b:9093", "a:9092, b:9093", "SASL_SSL://a.b:9092", "[::1]:9092", "10.0.0.1:9092"]
)
def test_brokers_are_hosts_with_ports(servers: str) -> None:
    assert settings(kafka={"bootstrap_servers": servers}).kafka.bootstrap_servers == servers


def test_the_worker_may_not_read_what_it_writes() -> None:
    assert "kafka.output_topic" in complaint(kafka={"output_topic": "machine-events"})
    assert "kafka.dead_letter_topic" in complaint(kafka={"dead_letter_topic": "machine-events"})
    assert "kafka.dead_letter_topic" in complaint(kafka={"dead_letter_topic": "machine-scores"})


@pytest.mark.parametrize(
    "uri", ["http://models/machine.onnx", "https://models/machine.onnx", "s3://models/machine.onnx"]
)
def test_a_model_from_a_server_is_pinned(uri: str) -> None:
    assert "model.sha256" in complaint(model={"uri": uri})
    assert settings(model={"uri": uri, "sha256": "AB" * 32}).model.sha256 == "ab" * 32


@pytest.mark.parametrize(
    "uri", ["machine.onnx", "/models/machine.onnx", "file:///models/machine.onnx", "C:\\models\\m"]
)
def test_a_local_model_needs_no_digest(uri: str) -> None:
    assert settings(model={"uri": uri}).model.sha256 is None


@pytest.mark.parametrize("digest", ["", "ab", "g" * 64, "a" * 65, 5])
def test_a_digest_is_64_hexadecimal_digits(digest: object) -> None:
    assert "model.sha256" in complaint(model={"uri": "m", "sha256": digest})


@pytest.mark.parametrize(
    ("start", "milliseconds"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T00:00:01", 1000),
        ("1970-01-01 01:00:01.5+01:00", 1500),
        ("1970-01-02", 86_400_000),
        (datetime(1970, 1, 1, 0, 0, 1), 1000),  # noqa: DTZ001 - what YAML 1.1 makes of a time without a zone
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 0),
        (date(1970, 1, 2), 86_400_000),
    ],
)
def test_a_start_time_without_a_zone_is_utc(start: object, milliseconds: int) -> None:
    given_start = settings(start=start)
    assert given_start.start_time_ms == milliseconds
    assert isinstance(given_start.start, datetime)
    assert given_start.start.tzinfo is UTC


def test_a_start_by_name_has_no_time() -> None:
    assert (settings(start="earliest").start, settings(start="earliest").start_time_ms) == ("earliest", None)
    assert (settings(start="latest").start, settings(start="latest").start_time_ms) == ("latest", None)


@pytest.mark.parametrize(
    "start",
    ["", "tomorrow", "Earliest", 5, True, None, "1969-12-31", "1970-01-01T00:00+05:00", "9999-12-31T23:59-12:00"],
)
def test_a_start_that_is_no_time_is_refused(start: object) -> None:
    assert complaint(start=start).startswith("start ")


def test_start_has_no_default() -> None:
    with pytest.raises(ValidationError, match="start\n  Field required"):
        Settings.model_validate({"model": {"uri": "m"}, "kafka": KAFKA})


def test_one_value_to_look_for_is_a_list_of_one() -> None:
    where = settings(events={"where": {"type": "reading", "a.b": [1, None, True]}}).events.where
    assert where == {"type": ["reading"], "a.b": [1, None, True]}


def test_messages_have_room_for_the_largest_event() -> None:
    least = 1000 + RECORD_OVERHEAD_BYTES
    for clients in ("properties", "producer"):
        fits = settings(events={"max_bytes": 1000}, kafka={clients: {"message.max.bytes": least}})
        assert getattr(fits.kafka, clients) == {"message.max.bytes": least}
        for value in (least - 1, str(least - 1), "much", True, 1e9):
            said = complaint(events={"max_bytes": 1000}, kafka={clients: {"message.max.bytes": value}})
            assert f"must be a whole number of at least {least}" in said


def test_the_largest_event_may_be_set_without_another_setting() -> None:
    assert settings(events={"max_bytes": 32_000_000}).events.max_bytes == 32_000_000


@pytest.mark.parametrize("clients", ["properties", "producer"])
def test_the_producers_queue_has_room_for_the_largest_record(clients: str) -> None:
    larger = {"message.max.bytes": 70_000_000}
    assert "must be at most 67108864, the producer's whole queue" in complaint(kafka={clients: larger})
    assert settings(kafka={clients: larger | {"queue.buffering.max.kbytes": 68_360}})
    for too_little in (68_359, "68359", "much", True):
        said = complaint(kafka={clients: larger | {"queue.buffering.max.kbytes": too_little}})
        assert "must be a whole number of at least 68360" in said
    assert "at least 1024," in complaint(kafka={clients: {"queue.buffering.max.kbytes": 1}})


def test_the_producers_own_queue_goes_before_that_of_both_clients() -> None:
    kafka = {"properties": {"queue.buffering.max.kbytes": 1}, "producer": {"queue.buffering.max.kbytes": 2000}}
    assert settings(kafka=kafka).kafka.producer == {"queue.buffering.max.kbytes": 2000}


def test_a_property_that_breaks_a_promise_is_refused_for_each_client() -> None:
    for clients in ("properties", "consumer", "producer"):
        assert f"kafka.{clients}.isolation.level.[key] value_error" in complaint(
            kafka={clients: {"isolation.level": "read_committed"}}
        )


@pytest.mark.parametrize("region", ["eu-west-1", "us-gov-east-1", "ap-southeast-2"])
def test_a_region_of_aws_is_one_way_to_sign_in(region: str) -> None:
    properties = {"ssl.ca.location": "/ca.pem", "client.id": "me"}
    assert settings(kafka={"msk_iam_region": region, "properties": properties}).kafka.msk_iam_region == region


@pytest.mark.parametrize("region", ["", "eu-west-1a", "EU-WEST-1", "eu-west-1.example/", "eu-west-1\n", "Ireland"])
def test_what_is_no_region_is_refused(region: str) -> None:
    assert "must be a region of AWS, such as eu-west-1" in complaint(kafka={"msk_iam_region": region})


@pytest.mark.parametrize("clients", ["properties", "consumer", "producer"])
@pytest.mark.parametrize("name", ["security.protocol", "sasl.mechanism", "sasl.password", "sasl.oauthbearer.method"])
def test_two_ways_to_sign_in_contradict_each_other(clients: str, name: str) -> None:
    said = complaint(kafka={"msk_iam_region": "eu-west-1", clients: {name: "hush"}})
    assert "contradicts kafka.msk_iam_region, which says how to sign in: drop one of them" in said
    assert "hush" not in said


def test_properties_keep_their_kinds() -> None:
    properties = {"group.protocol": "consumer", "socket.keepalive.enable": True, "linger.ms": 0.5, "log_level": 3}
    assert settings(kafka={"properties": properties}).kafka.properties == properties


def test_printing_settings_shows_no_property_and_no_address_of_a_model() -> None:
    text = repr(settings(kafka={"properties": {"sasl.password": "hush"}}, model={"uri": "/hush"}))
    assert "hush" not in text


def test_an_error_shows_no_value() -> None:
    with pytest.raises(ValidationError) as caught:
        settings(kafka={"properties": {"sasl.password": ["hush"]}})
    assert "hush" not in str(caught.value)


def test_a_feature_is_found_under_its_own_name_unless_it_is_mapped() -> None:
    events = settings(events={"features": {"load": "cpu.load", "a.b": r"x\.y.z"}}).events
    assert events.feature_path("load") == ("cpu", "load")
    assert events.feature_path("a.b") == ("x.y", "z")
    assert events.feature_path("c.d") == ("c.d",)


@given(st.lists(st.text(min_size=1), min_size=1))
def test_any_names_can_be_written_as_a_path(names: list[str]) -> None:
    path = ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in names)
    assert steps_of(path) == tuple(names)


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a\\", "a\\b"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="must be a path"):
        steps_of(path)
