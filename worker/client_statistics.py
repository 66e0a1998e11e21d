"""What librdkafka tells of a client from time to time: its JSON goes in, the few figures that tell of trouble come out.

https://github.com/confluentinc/librdkafka/blob/master/STATISTICS.md
"""

from dataclasses import dataclass

import msgspec

INTERVAL_MS = 5000
"""How often a client tells. It writes some kilobytes of JSON a partition for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFigures:
    """One client since its start, over all brokers."""

    queue_bytes: int  # fetched and not read yet, or to be sent
    round_trip_s: float  # of the slowest broker: 99 in 100 requests of late took no longer
    sent_bytes: int
    received_bytes: int
    timeouts: int  # requests that no broker answered in time
    disconnects: int


class _RoundTrip(msgspec.Struct):
    p99: int = 0  # microseconds


class _Broker(msgspec.Struct):
    rtt: _RoundTrip = msgspec.field(default_factory=_RoundTrip)
    req_timeouts: int = 0
    disconnects: int = 0


class _Partition(msgspec.Struct):
    fetchq_size: int = 0


class _Topic(msgspec.Struct):
    partitions: dict[str, _Partition] = {}


class _Statistics(msgspec.Struct):
    msg_size: int = 0
    tx_bytes: int = 0
    rx_bytes: int = 0
    brokers: dict[str, _Broker] = {}
    topics: dict[str, _Topic] = {}


def figures_of(statistics: str) -> ClientFigures:
    """Read what a client tells."""
    told = _read(statistics)
    brokers = told.brokers.values()
    fetched = sum(partition.fetchq_size for topic in told.topics.values() for partition in topic.partitions.values())
    return ClientFigures(
        queue_bytes=told.msg_size + fetched,
        round_trip_s=max((broker.rtt.p99 for broker in brokers), default=0) / 1e6,
        sent_bytes=told.tx_bytes,
        received_bytes=told.rx_bytes,
        timeouts=sum(broker.req_timeouts for broker in brokers),
        disconnects=sum(broker.disconnects for broker in brokers),
    )


_read = msgspec.json.Decoder(_Statistics).decode
