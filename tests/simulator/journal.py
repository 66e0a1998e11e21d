"""What the simulated brokers were asked, and what they made of it: enough to ask real ones the same.

Only requests that arrived are noted. What a fault kept from arriving, or which answer it took away, no broker knows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from confluent_kafka import KafkaException, TopicPartition

from tests.log_record import LogRecord
from tests.memory_bus import MemoryBus
from tests.simulator.coordinators import Membership, TransactionCoordinator
from tests.simulator.log import Place, Transaction
from tests.simulator.process import Process
from tests.simulator.producer import MemoryProducer, Report

Refusal = Literal["fatal", "abortable"]
Identity = tuple[str, int]
"""A transactional.id and its epoch: one producer."""


@dataclass(frozen=True)
class Logs:
    """Where partitions end after a request: markers included, and as a read_committed reader sees them."""

    ends: Mapping[Place, int]
    stable_ends: Mapping[Place, int]


@dataclass(frozen=True)
class Request:
    """One request in the order of arrival; `refused` is how the producer's client would take the answer."""

    kind: Literal["init", "append", "offsets", "end", "expire", "write", "delete", "reset"]
    identity: Identity | None = None
    records: Sequence[LogRecord] = ()
    offsets: Sequence[TopicPartition] = ()
    commit: bool | None = None  # of `end`, and of a `write` in a transaction
    place: tuple[str, int, int] | None = None  # of `delete`
    refused: Refusal | None = None
    logs: Logs | None = None


class JournalBus(MemoryBus):
    """A bus in memory that notes all that changes its logs and offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.journal: list[Request] = []
        self.transactions = _NotingCoordinator(self)

    def logs(self) -> Logs:
        """Where everything ends now."""
        places = {(topic, number): log for topic, logs in self.topics.items() for number, log in enumerate(logs)}
        return Logs(
            {place: log.end for place, log in places.items()},
            {place: log.stable_end for place, log in places.items()},
        )

    def producer(self, properties: Mapping[str, object], process: Process | None = None) -> MemoryProducer:
        """One that notes what it asks."""
        return _NotingProducer(self, properties, process or Process(self))

    def write(self, records: Iterable[LogRecord]) -> list[LogRecord]:
        """Noted, too."""
        asked = list(records)
        self.journal.append(Request("write", records=asked))
        return super().write(asked)

    def write_in_transaction(self, records: Iterable[LogRecord], *, commit: bool) -> None:
        """Noted, too."""
        asked = list(records)
        self.journal.append(Request("write", records=asked, commit=commit))
        super().write_in_transaction(asked, commit=commit)

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Noted, too."""
        self.journal.append(Request("delete", place=(topic, partition, offset)))
        super().delete_before(topic, partition, offset)

    def commit(self, group: str, places: Sequence[TopicPartition]) -> None:
        """Noted, too."""
        self.journal.append(Request("reset", offsets=list(places)))
        super().commit(group, places)


class _NotingCoordinator(TransactionCoordinator):
    def __init__(self, bus: JournalBus) -> None:
        super().__init__(bus.topics, bus.offsets)
        self._bus = bus
        self._expiring = False

    def expire(self, now_s: float) -> None:
        self._expiring = True
        super().expire(now_s)
        self._expiring = False

    def finish(self, transaction: Transaction, *, commit: bool) -> None:
        names = [name for name, each in self._identities.items() if each.transaction is transaction]
        super().finish(transaction, commit=commit)
        if self._expiring:
            identity = (names[0], self._identities[names[0]].epoch)
            self._bus.journal.append(Request("expire", identity, logs=self._bus.logs()))


class _NotingProducer(MemoryProducer):
    def __init__(self, bus: JournalBus, properties: Mapping[str, object], process: Process) -> None:
        super().__init__(bus, properties, process)
        self._notes = bus
        self._has_begun = False  # for the brokers: what was sent and lost does not count

    def begin_transaction(self) -> None:
        super().begin_transaction()
        self._has_begun = False

    @property
    def _identity(self) -> Identity:
        return str(self._name), self._epoch

    def _register(self) -> int:
        epoch = super()._register()
        self._notes.journal.append(Request("init", (str(self._name), epoch), logs=self._notes.logs()))
        return epoch

    def _append(self, queue: Sequence[tuple[LogRecord, Report | None]]) -> None:
        placed = [record._replace(partition=self._notes.partition_of(record)) for record, _ in queue]
        with self._noted(Request("append", self._identity, records=placed)):
            super()._append(queue)

    def _send_offsets(self, offsets: Sequence[TopicPartition], membership: Membership) -> None:
        with self._noted(Request("offsets", self._identity, offsets=offsets)):
            super()._send_offsets(offsets, membership)

    def _tell_end(self, *, commit: bool) -> None:
        if not self._has_begun or not self._notes.transactions.is_ongoing(*self._identity):
            super()._tell_end(commit=commit)  # nothing has begun, or it is asked again: a real client would not ask
            return
        with self._noted(Request("end", self._identity, commit=commit)):
            super()._tell_end(commit=commit)

    @contextmanager
    def _noted(self, request: Request) -> Iterator[None]:
        refused: Refusal | None = None
        self._has_begun = True
        try:
            yield
        except KafkaException as failure:
            refused = "fatal" if failure.args[0].fatal() else "abortable"
            raise
        finally:
            self._notes.journal.append(replace(request, refused=refused, logs=self._notes.logs()))
