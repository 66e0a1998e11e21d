"""The Kafka clients as this project sets them: settings in, librdkafka properties out.

And what the brokers last complained of, for the sentence that ends a failed start.
"""

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from confluent_kafka import KafkaError, KafkaException

from schemas.settings import RECORD_OVERHEAD_BYTES, Settings
from worker.errors import ConfigError
from worker.msk_iam import MskIam, signer

Property: TypeAlias = str | int | float | bool
Properties: TypeAlias = dict[str, Property | Callable[..., object] | logging.Logger]

_OWN_TIME_S = 2.0
"""What the process takes to start and to end, and what is left of a call under way."""

TRANSACTION_TIMEOUT_MS = 10_000
"""How long a dead worker's open transaction may hold back its readers and its successors."""

MAX_POLL_INTERVAL_MS = 60_000

_HINTS: Mapping[int, str] = {
    KafkaError._AUTHENTICATION: (  # noqa: SLF001 - the client's public names of local errors
        "check kafka.properties sasl.mechanism, sasl.username and sasl.password; with kafka.msk_iam_region, that the"
        " identity may kafka-cluster:Connect"
    ),
    KafkaError._SSL: "check kafka.properties ssl.ca.location and the broker's certificate",  # noqa: SLF001
    KafkaError._RESOLVE: "check the host names in kafka.bootstrap_servers",  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN: (  # noqa: SLF001
        "check that kafka.bootstrap_servers names running brokers and kafka.properties has their security.protocol"
    ),
    KafkaError._TRANSPORT: "check that kafka.bootstrap_servers names running brokers",  # noqa: SLF001
}
_MORE_TELLING = (KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError._RESOLVE)  # noqa: SLF001
_REFUSED_CERTIFICATE = re.compile("alert.*(certificate|unknown ca)", re.IGNORECASE)
"""The client calls a broker's alert a lost connection."""


def _library_log() -> logging.Logger:
    """Where the library's own lines go: to the worker's log, but for what our sentences tell better.

    Even at `log_level` 0 it has one for each fatal error, also for those that are recovered from.
    """
    log = logging.getLogger("librdkafka")
    log.addFilter(_is_not_fatal)
    return log


def _is_not_fatal(record: logging.LogRecord) -> bool:
    return record.levelno < logging.CRITICAL


def patience_s(start_timeout_s: float) -> float:
    """How long to ask silent brokers, so that a command that finds none has ended after `kafka.start_timeout_s`."""
    return max(start_timeout_s - _OWN_TIME_S, start_timeout_s / 2)


class BrokerComplaint:
    """The most telling thing that the clients' error callback said lately."""

    def __init__(self) -> None:
        self._error: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        """Called by librdkafka, in the thread that polls."""
        if self._error is None or _tells_more(error) or not _tells_more(self._error):
            self._error = error

    @property
    def sentence(self) -> str:
        """What was said and what it usually means."""
        if self._error is None:
            return "nothing answered; check that kafka.bootstrap_servers names running brokers"
        return f"{self._error.str()} ({self._error.name()}); {_hint(self._error)}"


def _tells_more(error: KafkaError) -> bool:
    return error.code() in _MORE_TELLING or _REFUSED_CERTIFICATE.search(error.str()) is not None


def _hint(error: KafkaError) -> str:
    if _REFUSED_CERTIFICATE.search(error.str()):
        return (
            "the broker wants a certificate of an authority that it trusts: check kafka.properties"
            " ssl.certificate.location and ssl.key.location"
        )
    return _HINTS.get(error.code(), "check kafka.bootstrap_servers and kafka.properties")


def client(kind: Callable[..., Any], properties: Mapping[str, object]) -> Any:  # noqa: ANN401 - one of the clients' classes
    """A client of Kafka.

    Raises ConfigError where the library refuses a property, and BrokerError where there is no token to sign in with.
    """
    sign_in = properties.get("oauth_cb")
    if isinstance(sign_in, MskIam):
        sign_in.token()  # the library would wait for it for ten seconds, and tell no reason
    try:
        return kind(dict(properties))
    except (KafkaException, ValueError, TypeError) as error:
        told = error.args[0].str() if error.args and isinstance(error.args[0], KafkaError) else error
        raise ConfigError(f"kafka: librdkafka refuses a property: {told}{_unreadable(properties)}.") from error


def _unreadable(properties: Mapping[str, object]) -> str:
    """A clause that names a file of the properties that cannot be read: the library names the property alone."""
    for name, path in properties.items():
        if name.startswith("ssl.") and name.endswith(".location"):
            try:
                Path(str(path)).open("rb").close()
            except IsADirectoryError:
                continue  # authorities may be one
            except OSError as error:
                return f"; the file {str(path)!r} of {name} cannot be read ({error.strerror})"
    return ""


def common_properties(settings: Settings, complaint: BrokerComplaint) -> Properties:
    """What every client of ours needs to reach the brokers."""
    return {
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        "client.id": "anomaly-worker",
        "error_cb": complaint,
        # Reconnects and fatal errors are told by our own sentences; librdkafka would print lines of its own.
        "log_level": 0,
        "logger": _library_log(),
        **_sign_in(settings.kafka.msk_iam_region),
        **settings.kafka.properties,
    }


def _sign_in(msk_iam_region: str | None) -> Properties:
    """The way to sign in where it is no matter of `kafka.properties`."""
    if msk_iam_region is None:
        return {}
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "OAUTHBEARER",
        "oauth_cb": MskIam(signer(msk_iam_region)),
    }


def consumer_properties(settings: Settings, complaint: BrokerComplaint) -> Properties:
    """The consumer's properties: nothing is committed, stored or reset behind our back."""
    ours: Properties = {
        "group.id": settings.kafka.group_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "max.poll.interval.ms": MAX_POLL_INTERVAL_MS,
        # A full fetch queue is looked at again after 20 ms instead of a second.
        "fetch.queue.backoff.ms": 20,
        "queued.max.messages.kbytes": 65_536,
    }
    if settings.kafka.group_instance_id is not None:
        ours["group.instance.id"] = settings.kafka.group_instance_id
    if not brokers_assign(settings):
        ours["session.timeout.ms"] = 10_000
        ours["heartbeat.interval.ms"] = 2_000
        ours["partition.assignment.strategy"] = "cooperative-sticky"
    return {**ours, **common_properties(settings, complaint), **settings.kafka.consumer}


def brokers_assign(settings: Settings) -> bool:
    """Whether the brokers deal out the partitions (KIP-848), and also set the session's time limits."""
    theirs = {**settings.kafka.properties, **settings.kafka.consumer}
    return str(theirs.get("group.protocol")).lower() == "consumer"


def producer_properties(settings: Settings, complaint: BrokerComplaint, *, transactional_id: str | None) -> Properties:
    """The producer's properties; with a transactional.id exactly-once, without one idempotent and at least once."""
    ours: Properties = {
        "enable.idempotence": True,
        "compression.type": "lz4",
        "linger.ms": 20,
        # The same partition for a key as Java clients choose.
        "partitioner": "murmur2_random",
        "message.max.bytes": settings.events.max_bytes + RECORD_OVERHEAD_BYTES,
        "queue.buffering.max.kbytes": 65_536,
        "queue.buffering.max.messages": 500_000,
        "delivery.report.only.error": True,
    }
    if transactional_id is not None:
        ours["transactional.id"] = transactional_id
        ours["transaction.timeout.ms"] = transaction_timeout_ms(settings)
        ours["delivery.timeout.ms"] = ours["transaction.timeout.ms"]  # librdkafka takes no more
    return {**ours, **common_properties(settings, complaint), **settings.kafka.producer}


def transaction_timeout_ms(settings: Settings) -> int:
    """How long a transaction may stay open. Raises ConfigError where it was set to what is no time."""
    theirs = {**settings.kafka.properties, **settings.kafka.producer}
    given = str(theirs.get("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS))
    if not re.fullmatch("[0-9]{1,10}", given):
        raise ConfigError("kafka.producer: transaction.timeout.ms must be a whole number of milliseconds.")
    return int(given)
