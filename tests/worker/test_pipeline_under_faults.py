"""Workers on a bus in memory, and whatever may befall them: nothing is lost, doubled, wrong or out of order.

Hypothesis draws what happens, the oracle judges what came out (I1-I4, I7, I9), the bus watches the offsets (I8), and in
the end everything must be committed (I11).
"""

from collections.abc import Callable
from itertools import islice

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.checkpoint import Checkpoint
from schemas.settings import Settings
from tests.artifacts import make_artifact
from tests.bus_worker import BusWorker, detector_of, in_memory
from tests.end_to_end.stream import MAX_BYTES, Event, events
from tests.least_settings import least_settings
from tests.log_record import LogRecord
from tests.memory_bus import MemoryBus, kafka_error
from tests.oracle import Case, Rebuilt, verify
from worker.model_store import Artifact, load_artifact

GROUP = "machines"
PARTITIONS = 2
EVENTS: list[Event] = list(islice(events(seed=3, bad_share=0.1), 400))


def failing(code: int, **kind: bool) -> Callable[[], None]:
    def fail() -> None:
        raise KafkaException(kafka_error(code, **kind))

    return fail


timed_out = failing(KafkaError._TIMED_OUT, retriable=True)
stale_member = failing(KafkaError.ILLEGAL_GENERATION, abortable=True)

FAULTS = {
    "the commit did not arrive": ("commit_transaction", timed_out),
    "the commit's answer was lost": ("after commit_transaction", timed_out),
    "the commit was refused": ("commit_transaction", stale_member),
    "the offsets did not arrive": ("send_offsets_to_transaction", timed_out),
    "the offsets were refused": ("send_offsets_to_transaction", stale_member),
    "the abort did not arrive": ("abort_transaction", timed_out),
    "a record was refused": ("produce", stale_member),
    "the producer broke": ("produce", timed_out),
    "the producer cannot begin": ("init_transactions", timed_out),
    "the coordinator is away": ("committed", timed_out),
    "the leader is away": ("get_watermark_offsets", timed_out),
    "the plain commit was refused": ("commit", failing(KafkaError.ILLEGAL_GENERATION)),
}


class World:
    """A bus, its workers, and what it takes to judge them."""

    def __init__(self, artifact: Artifact, model: bytes, told: Settings, *, late_commits: bool) -> None:
        self.bus = MemoryBus()
        for topic in ("events", "scores", "dead-letters"):
            self.bus.create(topic, partitions=PARTITIONS)
        self._artifact, self._model, self._told = artifact, model, told
        self._detector = detector_of(told, artifact)
        self._late_commits = late_commits
        self._made = self._written = 0
        self._furthest: dict[int, int] = {}
        self._rebuilt: dict[tuple[str, int], Rebuilt] = {}
        self.workers: list[BusWorker] = []
        self.join()

    # ---- what may happen

    def write(self, count: int) -> None:
        self.bus.write(self._next(count))

    def transact(self, count: int, *, commit: bool) -> None:
        """An input transaction: aborted records and markers take offsets too."""
        self.bus.write_in_transaction(self._next(count), commit=commit)

    def _next(self, count: int) -> list[LogRecord]:
        self._written += count
        return [event.to("events") for event in EVENTS[self._written - count : self._written]]

    def turn(self, which: int, count: int) -> None:
        worker = self.workers[which % len(self.workers)]
        for _ in range(count):
            worker.turn()
            self.bus.now_s += 0.03
            self._watch()

    def join(self) -> None:
        if len(self.workers) < 3:
            self._made += 1
            worker = BusWorker(
                in_memory(self.bus, GROUP, late_commits=self._late_commits),
                self._told,
                self._artifact,
                self._detector,
                output_partitions=PARTITIONS,
                transactional_id=f"worker-{self._made}",
            )
            worker.begin()
            self.workers.append(worker)

    def kill(self, which: int) -> None:
        self.workers.pop(which % len(self.workers)).consumer.drop_member()
        if not self.workers:
            self.join()

    def leave(self, which: int) -> None:
        """SIGTERM."""
        self.workers.pop(which % len(self.workers)).end()
        self._watch()
        if not self.workers:
            self.join()

    def expel(self, which: int) -> None:
        """The group does not hear from a worker that goes on working."""
        self.workers[which % len(self.workers)].consumer.drop_member()

    def fail(self, name: str) -> None:
        self.bus.fail_next(*FAULTS[name])

    def work_under(self, fault: str, count: int) -> None:
        """There is something to do when the fault comes."""
        self.write(12)
        self.fail(fault)
        for _ in range(count):
            for which in range(len(self.workers)):
                self.turn(which, 1)

    def wait(self, seconds: float) -> None:
        self.bus.now_s += seconds
        self.bus.expire_transactions()

    def delete(self, partition: int, share: float) -> None:
        """Retention deletes scored records, once a partition, while no worker is there to remember them."""
        place = ("events", partition)
        if self._told.delivery == "at-least-once":
            self.settle()  # what is out already and comes again would tell of other windows
        self.bus.heal()
        while self.workers:
            self.workers.pop().consumer.drop_member()
        self.wait(11)
        committed = self.bus.committed(GROUP, "events").get(partition)
        if committed is not None and place not in self._rebuilt:
            start = round(committed.offset * share)
            self.bus.delete_before("events", partition, start)
            checkpoint = Checkpoint.decode(committed.metadata)
            assert checkpoint is not None
            if start > checkpoint.lo:
                self._rebuilt[place] = Rebuilt(at=committed.offset, available_from=start)
        self.join()

    # ---- what must hold

    def _watch(self) -> None:
        for partition, place in self.bus.committed(GROUP, "events").items():
            assert place.offset >= self._furthest.get(partition, 0), "a committed offset went back"
            self._furthest[partition] = place.offset

    def settle(self) -> None:
        """After the last fault everything is scored and committed, and every worker is ready."""
        self.bus.heal()
        self.wait(11)
        for _ in range(200):
            for which in range(len(self.workers)):
                self.turn(which, 1)
            ends = {number: log.end for number, log in enumerate(self.bus.topics["events"])}
            if self._furthest == ends and all(worker.ready for worker in self.workers):
                break
        else:
            raise AssertionError(f"committed {self._furthest} of {ends}")
        self.wait(11)  # a killed worker's open transaction would hide what came after it

    def judge(self) -> None:
        logs = self.bus.topics["events"]
        verify(
            Case(
                settings=self._told,
                model=self._model,
                committed={("events", partition): offset for partition, offset in self._furthest.items()},
                partitions={"events": PARTITIONS, "scores": PARTITIONS},
                rebuilt=self._rebuilt,
            ),
            inputs=[entry.record for log in logs for entry in log.entries if entry.is_visible and entry.record],
            scores=self.bus.read("scores"),
            dead_letters=self.bus.read("dead-letters"),
        )


def step(name: str, *arguments: st.SearchStrategy[object], **named: st.SearchStrategy[object]) -> st.SearchStrategy:
    return st.tuples(st.just(name), st.tuples(*arguments), st.fixed_dictionaries(named))


which = st.integers(0, 2)
steps = st.lists(
    st.one_of(
        step("write", st.integers(1, 12)),
        step("write", st.integers(10, 30)),
        step("turn", which, st.integers(1, 4)),
        step("turn", which, st.integers(4, 16)),
        step("turn", which, st.integers(4, 16)),
        step("fail", st.sampled_from(sorted(FAULTS))),
        *[step("work_under", st.sampled_from(sorted(FAULTS)), st.integers(4, 16))] * 4,
        step("transact", st.integers(0, 3), commit=st.booleans()),
        step("join"),
        step("kill", which),
        step("leave", which),
        step("expel", which),
        step("wait", st.sampled_from([0.5, 11.0])),
        step("delete", st.integers(0, PARTITIONS - 1), st.sampled_from([0.5, 0.9, 1.0])),
    ),
    min_size=10,
    max_size=60,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, bytes]:
    path = make_artifact(tmp_path_factory.mktemp("model") / "m.onnx", window=4, min_length=2, max_gap_s=40.0)
    return load_artifact(str(path), sha256=None), path.read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    happened=steps,
    delivery=st.sampled_from(["exactly-once", "exactly-once", "at-least-once"]),
    late_commits=st.booleans(),
    lookback=st.sampled_from([30, 2000]),
)
def test_whatever_happens_every_record_is_answered_once_and_rightly(
    model: tuple[Artifact, bytes],
    happened: list[tuple[str, tuple, dict]],
    delivery: str,
    *,
    late_commits: bool,
    lookback: int,
) -> None:
    """A short lookback decides where windows end; with a long one, the oldest row of any entity does."""
    told = least_settings(
        delivery=delivery, batch={"max_events": 5}, events={"max_bytes": MAX_BYTES}, lookback_offsets=lookback
    )
    world = World(*model, told, late_commits=late_commits)
    world.write(20)
    for name, arguments, named in happened:
        getattr(world, name)(*arguments, **named)
    world.settle()
    world.judge()


@pytest.mark.parametrize("turns", range(6, 16))
def test_workers_killed_again_and_again_while_they_read_ahead_leave_no_window_short(
    model: tuple[Artifact, bytes], turns: int
) -> None:
    """What a commit says of the oldest row needed must count rows that batches beyond it have pushed out."""
    told = least_settings(batch={"max_events": 5}, events={"max_bytes": MAX_BYTES}, lookback_offsets=2000)
    world = World(*model, told, late_commits=False)
    world.write(len(EVENTS) - 20)
    for _ in range(20):
        world.turn(0, turns)
        world.kill(0)
    world.settle()
    world.judge()


def test_warm_windows_are_not_trusted_where_another_worker_went_on(model: tuple[Artifact, bytes]) -> None:
    """A partition that comes back within minutes, after somebody else has committed in it."""
    told = least_settings(batch={"max_events": 5}, events={"max_bytes": MAX_BYTES}, lookback_offsets=2000)
    world = World(*model, told, late_commits=False)
    for _ in range(4):
        world.write(60)
        world.turn(0, 20)
        world.join()
        for _ in range(20):
            world.turn(0, 1)
            world.turn(1, 1)
        world.write(30)
        world.turn(1, 20)
        world.kill(1)
        world.turn(0, 20)
    world.settle()
    world.judge()
