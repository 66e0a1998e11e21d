"""The simulator is honest: what its brokers made of whole schedules, a real broker makes of them too.

Requests arrive in the simulated order, from one producer for each epoch. After each, logs must end where the simulated
ones did (markers hold offsets) and be stable up to the same place; in the end, the same records are visible and the
same offsets committed.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from hypothesis import seed
from hypothesis.stateful import run_state_machine_as_test

from tests.log_record import LogRecord
from tests.simulator.journal import Identity, JournalBus, Logs, Request
from tests.simulator.log import Place
from tests.simulator.machine import Simulation, schedules_of
from tests.simulator.world import DEAD_LETTERS, GROUP, INPUT, MOST_PARTITIONS, SCORES, Terms, World
from tests.topics import Topics, produce

TOPICS = (INPUT, SCORES, DEAD_LETTERS)
PATIENCE_S = 20.0
SOON_S = 6
"""The time-out of a transaction that is to expire: longer than what lies between takes."""

LONGEST = 120  # requests
TRACES = 5
MUST_COVER = {
    *{("append", None), ("append", "fatal"), ("offsets", None), ("offsets", "abortable"), ("init", None)},
    *{("end", None), ("end", "fatal"), ("expire", None), ("write", None), ("delete", None), ("reset", None)},
}


class Recorded(Simulation):
    """Schedules with a journal."""

    buses: ClassVar[list[JournalBus]] = []

    def make_world(self, terms: Terms) -> World:
        bus = JournalBus()
        self.buses.append(bus)
        return World(replace(terms, delivery="exactly-once", late_markers=False), bus)


def covered(bus: JournalBus) -> set[tuple[str, str | None]]:
    return {(request.kind, request.refused) for request in bus.journal}


def expiries(bus: JournalBus) -> set[Identity | None]:
    return {request.identity for request in bus.journal if request.kind == "expire"}


def expiries_show(bus: JournalBus) -> bool:
    """Whether each transaction that expires holds something, so that a real broker shows when it has."""
    holding: set[Identity | None] = set()
    for request in bus.journal:
        if request.kind == "expire" and request.identity not in holding:
            return False
        if request.kind in {"init", "end", "expire"}:
            holding.discard(request.identity)
        elif request.kind in {"append", "offsets"} and request.refused is None:
            holding.add(request.identity)
    return True


@pytest.fixture(scope="module")
def recorded() -> Sequence[JournalBus]:
    """A few schedules that show, together, everything that must be shown."""
    logging.disable(logging.WARNING)
    run_state_machine_as_test(seed(20)(Recorded), settings=schedules_of(400))
    logging.disable(logging.NOTSET)
    fitting = [bus for bus in Recorded.buses if 20 <= len(bus.journal) <= LONGEST and len(expiries(bus)) <= 2]
    fitting = [bus for bus in fitting if expiries_show(bus)]
    chosen: list[JournalBus] = []
    shown: set[tuple[str, str | None]] = set()
    for _ in range(TRACES):
        best = max(fitting, key=lambda bus: (len(covered(bus) - shown), -len(bus.journal)))
        fitting.remove(best)
        chosen.append(best)
        shown |= covered(best)
    assert shown >= MUST_COVER, MUST_COVER - shown
    return chosen


@dataclass
class OnKafka:
    """A journal's requests, made of a real broker."""

    topics: Topics
    names: Mapping[str, str]
    group: str
    expiring: set[Identity | None]

    def __post_init__(self) -> None:
        self._producers: dict[Identity, Producer] = {}
        self._begun: set[Identity] = set()
        self._held: dict[Identity | None, list[TopicPartition]] = {}
        self._run = uuid.uuid4().hex[:8]
        common = {"bootstrap.servers": self.topics.bootstrap, "group.id": self.group, "log_level": 0}
        self._reader = Consumer({**common, "isolation.level": "read_committed"})

    def ask(self, request: Request) -> None:
        getattr(self, f"_{request.kind}")(request)
        if request.logs is not None:
            self._wait_for(request.logs, request)

    def _init(self, request: Request) -> None:
        assert request.identity is not None
        timeout_s = SOON_S if request.identity in self.expiring else 60
        self._producers[request.identity] = Producer(
            {
                "bootstrap.servers": self.topics.bootstrap,
                "transactional.id": f"{request.identity[0]}-{self._run}",
                "transaction.timeout.ms": timeout_s * 1000,
                "linger.ms": 0,
                "log_level": 0,
            }
        )
        self._producers[request.identity].init_transactions(PATIENCE_S)

    def _in_transaction(self, request: Request) -> Producer:
        assert request.identity is not None
        producer = self._producers[request.identity]
        if request.identity not in self._begun:
            producer.begin_transaction()
            self._begun.add(request.identity)
        return producer

    def _append(self, request: Request) -> None:
        producer = self._in_transaction(request)
        for record in request.records:
            produce(producer, record._replace(topic=self.names[record.topic]))
        if request.refused == "fatal":
            self._expect_fencing(partial(producer.flush, PATIENCE_S))
        else:
            producer.flush(PATIENCE_S)

    @staticmethod
    def _expect_fencing(call: Callable[[], object]) -> None:
        with pytest.raises(KafkaException) as refused:
            call()
        assert refused.value.args[0].fatal()

    def _offsets(self, request: Request) -> None:
        producer = self._in_transaction(request)
        places = [self._real(place) for place in request.offsets]
        if request.refused is None:
            producer.send_offsets_to_transaction(places, self._reader.consumer_group_metadata(), PATIENCE_S)
            self._held[request.identity] = places
            return
        with pytest.raises(KafkaException) as refused:
            producer.send_offsets_to_transaction(places, self._former_member(), PATIENCE_S)
        assert refused.value.args[0].fatal() == (request.refused == "fatal")
        assert refused.value.args[0].txn_requires_abort() == (request.refused == "abortable")

    def _former_member(self) -> object:
        """The metadata of one who was a member."""
        servers = {"bootstrap.servers": self.topics.bootstrap, "log_level": 0}
        member = Consumer({**servers, "group.id": self.group, "auto.offset.reset": "earliest"})
        assigned: list[object] = []
        member.subscribe([self.names[INPUT]], on_assign=lambda *told: assigned.append(told))
        deadline = time.monotonic() + PATIENCE_S
        while not assigned and time.monotonic() < deadline:
            member.poll(0.05)
        metadata = member.consumer_group_metadata()
        member.close()
        return metadata

    def _end(self, request: Request) -> None:
        producer = self._in_transaction(request)
        end = partial(producer.commit_transaction if request.commit else producer.abort_transaction, PATIENCE_S)
        if request.refused == "fatal":
            self._expect_fencing(end)
        else:
            end()
        assert request.identity is not None
        self._begun.discard(request.identity)

    def _expire(self, request: Request) -> None:
        """Time does it; a transaction of nothing but offsets shows in the group alone."""
        held = self._held.get(request.identity, [])
        deadline = time.monotonic() + PATIENCE_S
        while held:
            try:
                self._reader.committed(held, timeout=PATIENCE_S)
            except KafkaException:
                assert time.monotonic() < deadline, f"{request.identity} does not expire"
            else:
                return

    def _write(self, request: Request) -> None:
        records = [record._replace(topic=self.names[record.topic]) for record in request.records]
        if request.commit is None:
            self.topics.write(records)
        else:
            self.topics.write_in_transaction(records, commit=request.commit)

    def _delete(self, request: Request) -> None:
        assert request.place is not None
        topic, partition, offset = request.place
        self.topics.delete_before(self.names[topic], partition, offset)

    def _reset(self, request: Request) -> None:
        self.topics.commit(self.group, [self._real(place) for place in request.offsets])

    def _real(self, place: TopicPartition) -> TopicPartition:
        return TopicPartition(self.names[place.topic], place.partition, place.offset, metadata=place.metadata or "")

    def _wait_for(self, logs: Logs, request: Request) -> None:
        """Markers come a moment after the answer."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := self._logs(logs)) != logs:
            assert time.monotonic() < deadline, f"after {request.kind} {request.identity}: {found}, simulated {logs}"
            time.sleep(0.01)

    def _logs(self, asked: Logs) -> Logs:
        ends = {topic: self.topics.ends(self.names[topic]) for topic in TOPICS}
        return Logs(
            {place: ends[place[0]][place[1]][1] for place in asked.ends},
            {place: self._stable_end(place) for place in asked.stable_ends},
        )

    def _stable_end(self, place: Place) -> int:
        real = TopicPartition(self.names[place[0]], place[1])
        end: int = self._reader.get_watermark_offsets(real, timeout=PATIENCE_S)[1]
        return end

    def visible(self, topic: str) -> list[LogRecord]:
        return [record._replace(topic=topic) for record in self.topics.read(self.names[topic])]

    def close(self) -> None:
        self._reader.close()


@pytest.fixture
def real(topics: Topics, recorded: Sequence[JournalBus], which: int) -> Iterator[OnKafka]:
    bus = recorded[which]
    counts = {topic: MOST_PARTITIONS if topic == INPUT else len(bus.topics[topic]) for topic in TOPICS}
    names = {topic: topics.create(topic, partitions=count) for topic, count in counts.items()}
    made = OnKafka(topics, names, f"group-{uuid.uuid4().hex[:10]}", expiries(bus))
    yield made
    made.close()


@pytest.mark.parametrize("which", range(TRACES))
def test_a_real_broker_makes_the_same_of_a_simulated_schedule(
    real: OnKafka, recorded: Sequence[JournalBus], which: int
) -> None:
    bus = recorded[which]
    for request in bus.journal:
        real.ask(request)
    for topic in TOPICS:
        assert real.visible(topic) == bus.read(topic)
    places = real.topics.committed(real.group, real.names[INPUT])
    found = {number: (place.offset, place.metadata or "") for number, place in places.items()}
    simulated = bus.committed(GROUP, INPUT)
    assert found == {number: (place.offset, place.metadata or "") for number, place in simulated.items()}
    starts = {number: start for number, (start, _) in real.topics.ends(real.names[INPUT]).items()}
    assert starts == {n: bus.topics[INPUT][n].start if n < len(bus.topics[INPUT]) else 0 for n in starts}
