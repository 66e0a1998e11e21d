"""The corridor on a bus in memory: what is published when, what a fault leaves behind, what is read again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from schemas.checkpoint import Checkpoint
from schemas.settings import Settings
from tests.artifacts import make_artifact
from tests.bus_worker import BusWorker, detector_of, in_memory
from tests.least_settings import least_settings
from tests.log_record import LogRecord
from tests.memory_bus import MemoryBus
from tests.oracle import Case, Rebuilt, Report, verify
from tests.simulator.refusal import kafka_error
from worker.detector import Detector
from worker.errors import BrokerError, FencedError, GapError
from worker.model_store import Artifact, load_artifact

GROUP = "machines"


@dataclass(frozen=True)
class Model:
    file: bytes
    artifact: Artifact
    detector: Detector


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = make_artifact(tmp_path_factory.mktemp("model") / "m.onnx", window=4, min_length=2)
    artifact = load_artifact(str(path), sha256=None)
    return Model(path.read_bytes(), artifact, detector_of(least_settings(), artifact))


@dataclass
class Site:
    """A bus with the three topics, and workers on it."""

    model: Model
    partitions: int = 1
    late_commits: bool = False
    settings: Settings = field(default_factory=lambda: least_settings(batch={"max_events": 4}))
    bus: MemoryBus = field(default_factory=MemoryBus)
    workers: list[BusWorker] = field(default_factory=list)

    def __post_init__(self) -> None:
        for topic in ("events", "scores", "dead-letters"):
            self.bus.create(topic, partitions=self.partitions)

    def worker(self, name: str = "worker", **options: bool) -> BusWorker:
        """A worker that has joined."""
        made = BusWorker(
            in_memory(self.bus, GROUP, late_commits=self.late_commits),
            self.settings,
            self.model.artifact,
            self.model.detector,
            output_partitions=self.partitions,
            transactional_id=name,
            **options,
        )
        self.workers.append(made)
        made.begin()
        return made

    def close(self) -> None:
        """No process is left that a worker started."""
        for worker in self.workers:
            worker.forget_trial()

    def write(self, count: int, *, partition: int = 0, bad: Sequence[int] = ()) -> None:
        """So many events, of three machines in turn; those at `bad` are no JSON."""
        start = self.bus.topics["events"][partition].end
        self.bus.write(
            LogRecord(
                "events",
                partition,
                -1,
                1_000 + number,
                b"m%d" % (number % 3),
                b"{" if number - start in bad else b'{"x":%d.5,"y":0}' % (number % 7),
            )
            for number in range(start, start + count)
        )

    def kill(self, worker: BusWorker) -> None:
        """The process is gone; by and by the brokers notice."""
        worker.forget_trial()
        worker.consumer.drop_member()
        self.bus.now_s += 10.5
        self.bus.expire()

    def transact(self, *, commit: bool, records: int = 1) -> None:
        """An input transaction: a marker follows its records, and without a commit they are invisible."""
        self.bus.write_in_transaction(
            [LogRecord("events", 0, -1, 5_000 + number, b"m0", b'{"x":1,"y":0}') for number in range(records)],
            commit=commit,
        )

    def out(self) -> int:
        """How many records are visible in the outputs."""
        return len(self.bus.read("scores", "dead-letters"))

    def committed(self, partition: int = 0) -> int:
        place = self.bus.committed(GROUP, "events").get(partition)
        return -1 if place is None else place.offset

    def checkpoint(self, partition: int = 0) -> Checkpoint:
        found = Checkpoint.decode(self.bus.committed(GROUP, "events")[partition].metadata)
        assert found is not None
        return found

    def work(self, *workers: BusWorker) -> None:
        """Turns until everything is committed."""
        for _ in range(300):
            ends = enumerate(self.bus.topics["events"])
            if all(self.committed(number) == log.end for number, log in ends) and not any(map(_is_busy, workers)):
                return
            self.turns(1, *workers)
        raise AssertionError(f"stuck at {self.bus.committed(GROUP, 'events')}")

    def turns(self, count: int, *workers: BusWorker) -> None:
        for _ in range(count):
            for worker in workers:
                worker.turn()
                self.bus.now_s += 0.03

    def right(self, **case: object) -> Report:
        """Hold all that came out against the log: nothing lost, doubled, or not yet due."""
        committed = {("events", number): self.committed(number) for number in range(self.partitions)}
        counts = {"events": self.partitions, "scores": self.partitions}
        known = {"committed": committed, "partitions": counts} | case
        return verify(
            Case(settings=self.settings, model=self.model.file, **known),
            inputs=self._inputs(),
            scores=self.bus.read("scores"),
            dead_letters=self.bus.read("dead-letters"),
        )

    def _inputs(self) -> list[LogRecord]:
        """Everything that was ever visible, deleted records too."""
        logs = self.bus.topics["events"]
        return [entry.record for log in logs for entry in log.entries if entry.is_visible and entry.record]


def told(**sections: object) -> Settings:
    return least_settings(batch={"max_events": 4}, **sections)


@pytest.fixture
def site(model: Model) -> Site:
    return Site(model)


def _is_busy(worker: BusWorker) -> bool:
    return worker.pipeline._committing is not None


def failing(code: int = KafkaError._TIMED_OUT, **kind: bool) -> Callable[[], None]:
    def fail() -> None:
        raise KafkaException(kafka_error(code, **kind))

    return fail


timed_out = failing(retriable=True)
abortable = failing(KafkaError.UNKNOWN_MEMBER_ID, abortable=True)

# ---- the order of things


def test_every_record_comes_out_once_with_its_window(site: Site) -> None:
    site.write(20, bad=[3, 7])
    site.work(site.worker())
    assert site.right() == Report(scored=18, dead=2, skipped=0, repeated=0)


def test_nothing_is_visible_before_its_offset_is_committed(site: Site) -> None:
    worker = site.worker()
    site.write(40)
    for _ in range(30):
        site.turns(1, worker)
        assert site.out() == max(site.committed(), 0)
    assert site.out() == 40


def test_windows_are_kept_only_once_their_batch_is_committed(site: Site) -> None:
    worker = site.worker()
    site.write(8)
    order: list[str] = []
    keep = worker.windows.keep
    worker.windows.keep = lambda batches=1: (order.append(f"keep {site.committed()}"), keep(batches))
    site.bus.fail_next("commit_transaction", lambda: order.append("first offset"))
    site.bus.fail_next("commit_transaction", lambda: order.append(f"commit after {site.committed()}"))
    site.work(worker)
    assert order == ["first offset", "keep 0", "commit after 0", "keep 8"]


def test_batches_are_read_while_a_commit_is_under_way_and_published_only_after_it(model: Model) -> None:
    site = Site(model, late_commits=True)
    worker = site.worker()
    site.write(12)
    done: list[str] = []
    site.bus.fail_next("commit_transaction", *[lambda: done.append("commit")] * 20)
    site.bus.fail_next("produce", *[lambda: done.append("produce")] * 40)
    while not (worker.pipeline._committing and worker.pipeline._committing.batches):
        site.turns(1, worker)
    before = list(done)
    for staged in (1, 2):
        site.write(4)
        site.turns(1, worker)
        assert (len(worker.pipeline._staged), done) == (staged, before)
    site.write(4)
    site.turns(1, worker)
    assert done[len(before) :][:2] == ["commit", "produce"]
    site.work(worker)
    assert site.right().scored == 24


def test_a_commit_under_way_is_waited_for_where_there_is_nothing_to_read(model: Model) -> None:
    site = Site(model, late_commits=True)
    worker = site.worker()
    site.write(12)
    while not (worker.pipeline._committing and worker.pipeline._committing.batches):
        site.turns(1, worker)
    site.turns(1, worker)
    assert site.committed() == 12


@pytest.mark.parametrize("late_commits", [True, False])
@pytest.mark.parametrize("after", range(1, 8))
def test_partitions_may_go_at_any_moment_of_a_commit(model: Model, after: int, *, late_commits: bool) -> None:
    site = Site(model, partitions=2, late_commits=late_commits)
    first = site.worker("first")
    site.write(12)
    site.write(12, partition=1)
    site.turns(after, first)
    second = site.worker("second")
    site.work(first, second)
    first.consumer.drop_member()
    site.write(9)
    site.turns(after, second)
    site.work(first, second)
    assert site.right().scored == 33


def test_several_batches_share_a_transaction(site: Site) -> None:
    worker = site.worker()
    site.write(16)
    site.work(worker)
    markers = sum(entry.record is None for entry in site.bus.topics["scores"][0].entries)
    assert markers < 4


def test_ending_commits_what_is_in_flight_and_leaves_the_group(site: Site) -> None:
    worker = site.worker()
    site.turns(2, worker)
    site.write(8)
    site.turns(2, worker)
    assert site.committed() < 8
    worker.end()
    assert site.committed() == site.out() == 8
    assert site.bus.groups[GROUP].members == []
    assert not worker.ready


def test_inference_beside_the_loop_changes_nothing(site: Site) -> None:
    site.write(40, bad=[5])
    site.work(site.worker(late=False))
    assert site.right().scored == 39


# ---- faults


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
def test_an_aborted_batch_leaves_no_trace(site: Site, call: str) -> None:
    worker = site.worker()
    site.turns(2, worker)
    site.write(12)
    site.bus.fail_next(call, abortable)
    site.work(worker)
    assert site.right().scored == 12
    assert b'anomaly_worker_transactions_total{outcome="aborted"} 1.0' in worker.metrics.render()


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction", "after commit_transaction"])
def test_a_commit_that_timed_out_is_never_asked_about_again(site: Site, call: str) -> None:
    worker = site.worker()
    site.write(12)
    site.work(worker)
    site.write(12)
    site.bus.fail_next(call, timed_out)
    first = worker.sink._publisher.producer
    site.work(worker)
    assert worker.sink._publisher.producer is not first
    assert site.right().scored == 24


def test_with_the_producer_all_windows_are_lost_those_of_revoked_partitions_too(model: Model) -> None:
    site = Site(model, partitions=2)
    first = site.worker("first")
    for number in range(2):
        site.write(9, partition=number)
    site.work(first)
    second = site.worker("second")
    site.turns(10, first, second)
    assert first.windows.entities == 6
    mine = next(iter(first.source.lag())).partition
    site.write(9, partition=mine)
    site.bus.fail_next("commit_transaction", timed_out)
    site.work(first)
    assert first.windows.entities == 3
    site.work(first, second)
    assert site.right().scored == 27


def test_while_the_producer_cannot_be_renewed_it_stays_a_member_and_tries_again(site: Site) -> None:
    worker = site.worker()
    site.write(12)
    site.bus.fail_next("commit_transaction", timed_out)
    site.bus.fail_next("init_transactions", timed_out, timed_out, timed_out)
    site.work(worker)
    assert site.right().scored == 12


def test_pauses_grow_with_each_failure_and_start_small_after_a_commit(site: Site) -> None:
    worker = site.worker()
    pauses: list[float] = []
    worker.pipeline._pause = pauses.append
    site.write(4)
    site.bus.fail_next("commit_transaction", *[abortable] * 8)
    site.work(worker)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    site.write(4)
    site.bus.fail_next("commit_transaction", abortable)
    site.work(worker)
    assert pauses[8:] == [0.1]


def test_told_to_end_after_a_lost_producer_it_commits_nothing_that_it_dropped(site: Site) -> None:
    worker = site.worker()
    site.turns(2, worker)
    site.write(40)

    def sigterm() -> None:
        worker.stopping = True
        timed_out()

    site.bus.fail_next("commit_transaction", sigterm)
    for _ in range(20):
        if not worker.stopping:
            site.turns(1, worker)
    worker.end()
    site.right()
    site.work(site.worker("another"))
    assert site.right().scored == 40


def test_a_transaction_that_outlived_its_timeout_is_scored_again(site: Site) -> None:
    worker = site.worker()
    site.turns(2, worker)
    site.write(12)
    site.turns(2, worker)
    site.bus.now_s += 11
    site.bus.expire()
    site.work(worker)
    assert site.right().scored == 12


def test_a_second_worker_of_the_same_name_ends_the_first(site: Site) -> None:
    first = site.worker()
    site.write(12)
    site.worker()
    with pytest.raises(FencedError):
        site.turns(20, first)


def test_a_lost_member_drops_what_is_in_flight_and_scores_it_again(site: Site) -> None:
    worker = site.worker()
    site.turns(2, worker)
    site.write(12)
    site.turns(2, worker)
    worker.consumer.drop_member()
    site.work(worker)
    assert site.right().scored == 12


def test_a_killed_workers_successor_goes_on_with_the_same_windows(site: Site) -> None:
    first = site.worker()
    site.write(30)
    site.turns(9, first)
    assert 0 < site.committed() < 30
    site.kill(first)
    site.work(site.worker("successor"))
    assert site.right().scored == 30


def test_partitions_are_handed_over_with_nothing_in_flight(model: Model) -> None:
    site = Site(model, partitions=4)
    first = site.worker("first")
    for number in range(4):
        site.write(20, partition=number)
    site.turns(4, first)
    second = site.worker("second")
    site.work(first, second)
    second.end()
    for number in range(4):
        site.write(20, partition=number)
    site.work(first)
    assert site.right().scored == 160


# ---- refilling


def test_nothing_is_emitted_while_refilling_and_the_worker_is_not_ready(site: Site) -> None:
    first = site.worker()
    site.write(30)
    site.work(first)
    site.kill(first)
    lo = site.checkpoint().lo
    successor = site.worker("successor")
    seen = []
    while not successor.ready:
        site.turns(1, successor)
        assert site.out() == 30
        seen.append(successor.source.refill_remaining())
    assert lo < 30
    assert any(remaining for each in seen for remaining in each.values())
    site.write(10)
    site.work(successor)
    assert site.right().scored == 40


def test_a_refill_ends_behind_markers_and_aborted_records(site: Site) -> None:
    first = site.worker()
    site.write(3)
    site.transact(commit=True)
    site.transact(commit=False, records=3)
    site.work(first)
    site.kill(first)
    successor = site.worker("successor")
    site.turns(8, successor)
    assert successor.ready
    site.write(5)
    site.work(successor)
    assert site.right().scored == 9


def test_another_specs_checkpoint_is_replayed_from_the_lookback(site: Site) -> None:
    site.write(20)
    site.bus.offsets[GROUP, ("events", 0)] = TopicPartition("events", 0, 15, metadata="v1;lo=15;spec=other;np=1")
    site.work(site.worker())
    assert site.right(first={("events", 0): 15}).scored == 5


def test_rows_that_were_deleted_are_told_in_the_windows_that_would_hold_them(site: Site) -> None:
    first = site.worker()
    site.write(20)
    site.work(first)
    site.kill(first)
    site.bus.delete_before("events", 0, 18)
    site.write(20)
    second = site.worker("second")
    site.turns(9, second)
    assert site.checkpoint().tr == 18
    site.kill(second)
    site.work(site.worker("third"))
    rebuilt = Rebuilt(at=20, available_from=18)
    assert site.right(rebuilt={("events", 0): rebuilt}).scored == 40


# ---- idle


def test_an_idle_worker_steps_over_markers(site: Site) -> None:
    worker = site.worker()
    site.write(3)
    site.work(worker)
    site.transact(commit=False, records=2)
    site.turns(60, worker)
    assert site.committed() == 6
    assert site.right().scored == 3


def test_an_idle_worker_commits_nothing_new(site: Site) -> None:
    worker = site.worker()
    site.write(3)
    site.work(worker)
    before = site.bus.committed(GROUP, "events")[0]
    site.turns(100, worker)
    assert site.bus.committed(GROUP, "events")[0] is before


def test_the_first_start_is_committed_before_any_record_comes(model: Model) -> None:
    site = Site(model, settings=told(start="latest"))
    site.write(10)
    first = site.worker()
    site.turns(40, first)
    assert site.committed() == 10
    site.kill(first)
    site.write(5)
    site.work(site.worker("successor"))
    assert site.right(first={("events", 0): 10}).scored == 5


def test_a_late_start_has_its_windows_full(model: Model) -> None:
    site = Site(model, settings=told(start="latest"))
    site.write(20)
    worker = site.worker()
    site.turns(10, worker)
    site.write(6)
    site.work(worker)
    assert site.right(first={("events", 0): 20}).scored == 6


# ---- gaps


def gap(site: Site) -> BusWorker:
    """Ten records, five of them scored, seven deleted, and a worker that comes upon this."""
    first = site.worker()
    site.write(5)
    site.work(first)
    site.kill(first)
    site.write(5)
    site.bus.delete_before("events", 0, 7)
    return site.worker("successor")


def test_a_gap_ends_the_worker_with_partition_and_count(site: Site) -> None:
    with pytest.raises(GapError, match=r"2 records of events-0 .* `on_gap: continue`"):
        site.turns(3, gap(site))


def test_a_gap_is_stepped_over_where_the_settings_say_so(model: Model) -> None:
    site = Site(model, settings=told(on_gap="continue"))
    successor = gap(site)
    site.work(successor)
    assert site.committed() == 10
    assert [record.offset for record in site.bus.read("scores")].count(0) == 1
    assert site.out() == 5 + 3
    assert site.checkpoint().tr == 7


def test_records_deleted_before_they_were_read_are_a_gap_at_work_too(model: Model) -> None:
    site = Site(model, settings=told(on_gap="continue"))
    worker = site.worker()
    site.write(5)
    site.work(worker)
    site.write(10)
    site.bus.delete_before("events", 0, 9)
    site.work(worker)
    assert site.out() == 5 + 6


# ---- at least once


@pytest.mark.parametrize("call", ["commit", "produce"])
def test_at_least_once_repeats_with_the_same_content_and_loses_nothing(model: Model, call: str) -> None:
    site = Site(model, settings=told(delivery="at-least-once"))
    worker = site.worker()
    site.turns(2, worker)
    site.write(12, bad=[4])
    site.bus.fail_next(call, failing(KafkaError.ILLEGAL_GENERATION))
    site.work(worker)
    report = site.right()
    assert (report.scored, report.dead) == (11, 1)


def test_a_worker_that_fails_leaves_the_group_and_nothing_open(site: Site) -> None:
    worker = BusWorker(
        in_memory(site.bus, GROUP), site.settings, site.model.artifact, site.model.detector, output_partitions=1
    )
    site.write(9)

    def fail() -> None:
        assert worker.pipeline._published
        raise BrokerError("The Kafka consumer failed for good.")

    site.bus.fail_next("consume", *[lambda: None] * 5, fail)
    with pytest.raises(BrokerError, match="for good"):
        worker.pipeline.run()
    assert (site.bus.groups[GROUP].members, site.out()) == ([], 0)
    site.work(site.worker("another"))  # at once: no time passes on this bus
    assert site.right().scored == 9


def test_a_worker_runs_until_it_is_told_to_stop(site: Site, tmp_path: Path) -> None:
    worker = BusWorker(
        in_memory(site.bus, GROUP), site.settings, site.model.artifact, site.model.detector, output_partitions=1
    )
    site.write(9)
    site.bus.fail_next("consume", *[lambda: None] * 9, lambda: setattr(worker, "stopping", True))
    worker.pipeline.run()
    assert site.right().scored == site.committed() == 9
