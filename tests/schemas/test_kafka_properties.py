"""Names of librdkafka properties, held against the library itself."""

import pytest
from confluent_kafka import KafkaException, Producer

from schemas.kafka_properties import REFUSED, is_secret, refusal

OF_THE_PYTHON_CLIENT = {"logger", "default.topic.config", "test.mock.broker.rtt"}


def is_known_to_librdkafka(name: str) -> bool:
    try:
        Producer({name: "?"})
    except (KafkaException, TypeError, ValueError) as error:
        return "No such configuration property" not in str(error)
    return True


@pytest.mark.parametrize("name", sorted(set(REFUSED) - OF_THE_PYTHON_CLIENT))
def test_each_refused_property_exists(name: str) -> None:
    assert is_known_to_librdkafka(name)


def test_a_property_that_does_not_exist_would_be_seen() -> None:
    assert not is_known_to_librdkafka("enable.auto.comit")


@pytest.mark.parametrize("name", ["on_delivery", "on_commit", "error_cb", "stats_cb", "oauth_cb", "dr_msg_cb"])
def test_callbacks_are_refused(name: str) -> None:
    assert "callbacks" in (refusal(name) or "")


@pytest.mark.parametrize(
    "name",
    [
        "security.protocol",
        "group.protocol",
        "session.timeout.ms",
        "compression.type",
        "message.max.bytes",
        "transaction.timeout.ms",
        "client.id",
        "sasl.password",
    ],
)
def test_what_breaks_no_promise_is_allowed(name: str) -> None:
    assert refusal(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "sasl.password",
        "SASL.PASSWORD",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "sasl.kerberos.keytab",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.key.location",
        "ssl_key",
        "ssl.keystore.password",
        "ssl.certificate.pem",
        "basic.auth.user.info",
        "some.token",
        "my.credentials",
    ],
)
def test_secrets_are_known_by_name(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["sasl.username", "sasl.mechanism", "sasl.mechanisms", "security.protocol", "ssl.ca.location", "client.id"]
)
def test_what_helps_to_find_a_fault_is_shown(name: str) -> None:
    assert not is_secret(name)
