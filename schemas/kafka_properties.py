"""librdkafka properties by name: which would break a promise of the worker, and which are secret. Knows no client."""

import re
from types import MappingProxyType

_OFFSETS = "offsets are committed together with the scores, by the worker alone"
_ORDER = "the producer is idempotent, so that nothing is lost, doubled or put out of order"
_OBJECT = "the worker sets its own callbacks, and a settings file cannot hold one"

REFUSED = MappingProxyType(
    {
        # These have a setting of their own, which other parts read.
        "bootstrap.servers": "set kafka.bootstrap_servers instead",
        "metadata.broker.list": "set kafka.bootstrap_servers instead",
        "group.id": "set kafka.group_id instead",
        "group.instance.id": "set kafka.group_instance_id instead",
        "transactional.id": "set kafka.transactional_id instead",
        "auto.offset.reset": "set start and on_gap instead",
        # Offsets: a committed one without its score is a lost record, a score without its offset a doubled one.
        "enable.auto.commit": _OFFSETS,
        "auto.commit.enable": _OFFSETS,
        "auto.commit.interval.ms": _OFFSETS,
        "enable.auto.offset.store": _OFFSETS,
        "offset.store.method": _OFFSETS,
        "offset.store.path": _OFFSETS,
        "offset.store.sync.interval.ms": _OFFSETS,
        # Reading.
        "isolation.level": "records of aborted transactions must not be scored, so it is always read_committed",
        "enable.partition.eof": "the worker needs the ends of partitions to tell when it has caught up",
        "partition.assignment.strategy": "partitions are handed over one by one, so it is always cooperative-sticky",
        "allow.auto.create.topics": "a mistyped topic is to be told at start and not to be created",
        "topic.blacklist": "a hidden topic looks like a missing one",
        # Writing.
        "enable.idempotence": _ORDER,
        "acks": _ORDER,
        "request.required.acks": _ORDER,
        "max.in.flight": _ORDER,
        "max.in.flight.requests.per.connection": _ORDER,
        "retries": _ORDER,
        "message.send.max.retries": _ORDER,
        "queuing.strategy": _ORDER,
        "delivery.report.only.error": "the worker decides which deliveries it hears of",
        "partitioner": "an entity's scores stay in one partition, the one that Java clients compute (murmur2_random)",
        # An embedded cluster would quietly take the place of the brokers.
        "test.mock.num.brokers": "the worker would talk to a cluster inside its own process",
        "test.mock.broker.rtt": "the worker would talk to a cluster inside its own process",
        # Objects of a program.
        "logger": _OBJECT,
        "opaque": _OBJECT,
        "interceptors": _OBJECT,
        "default.topic.config": "put the topic's properties beside the others",
        "default_topic_conf": "put the topic's properties beside the others",
    }
)
"""Refused names, each with the reason or the remedy."""

_CALLBACK = re.compile(r"_cb$|^on_")
_SECRET = re.compile(
    r"password|passphrase|secret|token|credential|user\.?info"
    r"|^sasl\.(?!username$|mechanisms?$)"  # names of users and mechanisms help to find a fault and open nothing
    r"|^ssl\.key|^ssl_key$|private\.?key|keystore|keytab|\.pem$|\.key$"
)


def refusal(name: str) -> str | None:
    """Why a property may not be set, as the second half of a sentence; None where it may."""
    if _CALLBACK.search(name):
        return _OBJECT
    return REFUSED.get(name)


def is_secret(name: str) -> bool:
    """Whether a property's value is never to be printed. In doubt it is."""
    return _SECRET.search(name.lower()) is not None
