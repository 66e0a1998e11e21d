"""The whole worker, source to sink, on both buses: what comes out is what the oracle expects."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import pytest
from confluent_kafka import Producer

from schemas.settings import Settings
from tests.artifacts import make_artifact
from tests.bus_worker import BusWorker, Place, detector_of, in_memory
from tests.contract.conftest import Bus, InMemory
from tests.end_to_end.stream import MAX_BYTES, Event, events, one_of_each_bad_kind
from tests.least_settings import least_settings
from tests.oracle import Case, Rebuilt, Report, verify
from worker.detector import Detector
from worker.errors import FencedError
from worker.model_store import Artifact, load_artifact

PARTITIONS = 2
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Model:
    file: bytes
    artifact: Artifact
    detector: Detector


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = make_artifact(tmp_path_factory.mktemp("model") / "m.onnx", window=6, min_length=3)
    artifact = load_artifact(str(path), sha256=None)
    return Model(path.read_bytes(), artifact, detector_of(least_settings(), artifact))


class Site:
    """Topics on the bus, and workers of one group on them."""

    def __init__(self, bus: Bus, model: Model, **sections: object) -> None:
        self.bus, self.model = bus, model
        self.inputs = bus.create("events", partitions=PARTITIONS)
        self.scores = bus.create("scores", partitions=PARTITIONS)
        self.dead = bus.create("dead-letters")
        self.settings = self._told(sections)
        self._log: dict[tuple[str, int, int], object] = {}
        self.workers: list[BusWorker] = []

    def _told(self, sections: dict[str, object]) -> Settings:
        kafka = {
            "bootstrap_servers": "unused:1",
            "group_id": self.bus.group,
            "input_topics": [self.inputs],
            "output_topic": self.scores,
            "dead_letter_topic": self.dead,
        }
        given = {"events": {"max_bytes": MAX_BYTES}, "batch": {"max_events": 50}} | sections
        return least_settings(kafka=kafka, **given)

    def place(self) -> Place:
        """On either bus; the real one lives by the real clock."""
        if isinstance(self.bus, InMemory):
            return in_memory(self.bus.bus, self.bus.group)
        return Place(
            make_consumer=self.bus.consumer,
            make_producer=self._producer,
            clock=time.monotonic,
            pause=time.sleep,
            outlook=self.bus.topics,
        )

    def _producer(self, transactional_id: str | None) -> Producer:
        return self.bus.producer(**({"transactional.id": transactional_id} if transactional_id else {}))

    def worker(self, name: str = "") -> BusWorker:
        """A worker that has joined; its transactional.id is nobody else's unless named."""
        made = BusWorker(
            self.place(),
            self.settings,
            self.model.artifact,
            self.model.detector,
            output_partitions=PARTITIONS,
            transactional_id=name or uuid.uuid4().hex,
            late=False,
        )
        made.begin()
        self.workers.append(made)
        return made

    def write(self, made: list[Event]) -> None:
        written = self.bus.write(event.to(self.inputs, number % PARTITIONS) for number, event in enumerate(made))
        self._log |= {record.place: record for record in written}

    def out(self) -> int:
        return len(self.bus.read(self.scores, self.dead))

    def turn_until(self, condition: Callable[[], bool], *, turns: int = 1) -> None:
        """Everyone who is still at work takes turns."""
        deadline = self.bus.now_s() + PATIENCE_S
        while not condition():
            assert self.bus.now_s() < deadline, f"{self.out()} of {len(self._log)} came out"
            for _ in range(turns):
                for worker in self.workers:
                    worker.turn()

    def work(self) -> None:
        self.turn_until(lambda: self.out() >= len(self._log), turns=10)

    def end(self, worker: BusWorker) -> None:
        self.workers.remove(worker)
        worker.end()

    def right(self, **case: object) -> Report:
        known = {"partitions": {self.inputs: PARTITIONS, self.scores: PARTITIONS}} | case
        return verify(
            Case(settings=self.settings, model=self.model.file, **known),
            inputs=list(self._log.values()),
            scores=self.bus.read(self.scores),
            dead_letters=self.bus.read(self.dead),
        )


@pytest.fixture
def site(bus: Bus, model: Model) -> Site:
    return Site(bus, model)


def test_good_and_bad_records_come_out_as_the_contract_says(site: Site) -> None:
    site.worker()
    site.write([*islice(events(), 300), *one_of_each_bad_kind()])
    site.work()
    assert site.right().dead > 20
    site.end(site.workers[0])


def test_a_successor_goes_on_where_the_first_ended(site: Site) -> None:
    site.write(list(islice(events(), 150)))
    first = site.worker()
    site.turn_until(lambda: site.out() > 0)
    site.end(first)
    site.write(list(islice(events(seed=2), 150)))
    site.worker()
    site.work()
    assert site.right().scored > 280
    site.end(site.workers[0])


def test_two_workers_share_the_work_and_one_gives_its_part_back(site: Site) -> None:
    first, second = site.worker(), site.worker()
    site.write(list(islice(events(), 100)))
    site.turn_until(lambda: all(len(worker.source.lag()) == 1 for worker in (first, second)))
    site.write(list(islice(events(seed=2), 100)))
    site.work()
    site.end(second)
    site.write(list(islice(events(seed=3), 100)))
    site.turn_until(lambda: first.ready and len(first.source.lag()) == PARTITIONS)
    site.work()
    assert site.right().scored > 280
    site.end(first)


def test_an_aborted_transaction_leaves_nothing_that_a_reader_sees(site: Site) -> None:
    worker = site.worker()
    site.write(list(islice(events(), 100)))
    site.turn_until(lambda: bool(worker.pipeline._published))
    worker.sink.discard()
    worker.pipeline._drop()
    worker.source.rewind()
    site.work()
    site.right()
    site.end(worker)


def test_a_producer_that_is_thrown_away_takes_its_transaction_with_it(site: Site) -> None:
    worker = site.worker()
    site.write(list(islice(events(), 100)))
    site.turn_until(lambda: bool(worker.pipeline._published))
    worker.pipeline._rebuild()
    site.work()
    site.right()
    site.end(worker)


def test_two_workers_of_one_name_do_not_go_on_for_ever(site: Site) -> None:
    first = site.worker("the-same")
    site.write(list(islice(events(), 20)))
    site.work()
    site.worker("the-same")
    site.write(list(islice(events(seed=2), 20)))
    with pytest.raises(FencedError, match="Another process uses the transactional"):
        site.turn_until(lambda: False)
    for worker in site.workers:
        worker.consumer.close()
    assert first.source is not None


def test_an_idle_worker_is_ready_and_commits_its_start(bus: Bus, model: Model) -> None:
    site = Site(bus, model, start="latest")
    site.write(list(islice(events(), 40)))
    first = site.worker()
    site.turn_until(lambda: first.ready and not any(one.first_commit_due for one in first.source._owned.values()))
    site.end(first)
    before = len(site._log)
    site.write(list(islice(events(seed=2), 40)))
    site.worker()
    site.turn_until(lambda: site.out() >= len(site._log) - before)
    first_offsets = {(site.inputs, number): 20 for number in range(PARTITIONS)}
    site.right(first=first_offsets)
    site.end(site.workers[0])


def test_deleted_rows_are_told_after_a_restart(site: Site) -> None:
    site.write(list(islice(events(bad_share=0.0), 100)))
    first = site.worker()
    site.work()
    site.end(first)
    for number in range(PARTITIONS):
        site.bus.delete_before(site.inputs, number, 48)
    site.write(list(islice(events(seed=2, bad_share=0.0), 100)))
    site.worker()
    site.work()
    rebuilt = {(site.inputs, number): Rebuilt(at=50, available_from=48) for number in range(PARTITIONS)}
    assert site.right(rebuilt=rebuilt).scored == 200
    site.end(site.workers[0])


def test_at_least_once_delivers_everything(bus: Bus, model: Model) -> None:
    site = Site(bus, model, delivery="at-least-once")
    worker = site.worker()
    site.write(list(islice(events(), 200)))
    site.work()
    assert site.right().scored > 180
    site.end(worker)
