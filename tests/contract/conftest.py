"""One bus, twice: in memory, and on real Kafka. Every test of this folder runs on both."""

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from tests.log_record import LogRecord
from tests.memory_bus import MemoryBus
from tests.topics import Topics


class Bus(Protocol):
    """What both have: topics to write and read, clients to hold to the contract."""

    group: str

    def create(self, topic: str, *, partitions: int = 1) -> str: ...
    def write(self, records: Iterable[LogRecord]) -> list[LogRecord]: ...
    def read(self, *topics: str) -> list[LogRecord]: ...
    def delete_before(self, topic: str, partition: int, offset: int) -> None: ...
    def consumer(self, **properties: object) -> Consumer: ...
    def producer(self, **properties: object) -> Producer: ...
    def admin(self) -> AdminClient: ...
    def now_s(self) -> float: ...
    def close(self) -> None: ...


CONSUMER: Mapping[str, object] = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 3000,
    "heartbeat.interval.ms": 300,
    "fetch.wait.max.ms": 20,
    "log_level": 0,
}
PRODUCER: Mapping[str, object] = {"transaction.timeout.ms": 10_000, "linger.ms": 1, "log_level": 0}


class InMemory:
    """The bus of the simulations."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.group = "group"
        self.create, self.write, self.read = self.bus.create, self.bus.write, self.bus.read
        self.delete_before, self.admin, self.now_s = self.bus.delete_before, self.bus.admin, self.bus.clock

    def consumer(self, **properties: object) -> Consumer:
        return self.bus.consumer({"group.id": self.group, **CONSUMER, **properties})

    def producer(self, **properties: object) -> Producer:
        return self.bus.producer({**PRODUCER, **properties})

    def close(self) -> None:
        pass


class OnKafka:
    """Real Kafka."""

    def __init__(self, topics: Topics) -> None:
        self.topics = topics
        self._clients: list[Consumer] = []
        self.group = f"group-{uuid.uuid4().hex[:10]}"
        self.create, self.write, self.read = topics.create, topics.write, topics.read
        self.delete_before = topics.delete_before

    def consumer(self, **properties: object) -> Consumer:
        servers = {"bootstrap.servers": self.topics.bootstrap, "group.id": self.group}
        self._clients.append(Consumer({**servers, **CONSUMER, **properties}))
        return self._clients[-1]

    def producer(self, **properties: object) -> Producer:
        return Producer({"bootstrap.servers": self.topics.bootstrap, **PRODUCER, **properties})

    def admin(self) -> AdminClient:
        return self.topics.admin

    def now_s(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        for client in self._clients:
            client.close()


@pytest.fixture(params=["memory", "kafka"])
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    """The bus under test."""
    made = InMemory() if request.param == "memory" else OnKafka(request.getfixturevalue("topics"))
    yield made
    made.close()
