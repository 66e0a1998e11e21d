"""A bus, workers of one group on it, everything that may befall them, and the judge at the end.

It draws nothing: whoever drives it says what happens. What fails is an AssertionError, or what a worker raised.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Literal

from confluent_kafka import TopicPartition

from schemas.checkpoint import Checkpoint
from schemas.settings import Settings
from tests.artifacts import make_artifact
from tests.bus_worker import BusWorker, detector_of, in_memory
from tests.end_to_end.stream import MAX_BYTES, Event, events
from tests.least_settings import least_settings
from tests.log_record import LogRecord
from tests.memory_bus import Coordinator, MemoryBus
from tests.oracle import Case, Verdicts, oldest_needed, verify
from tests.simulator.process import Fate, Killed, Process, let_arrive
from worker.detector import Detector
from worker.errors import FencedError, WorkerError
from worker.metrics import Metrics
from worker.model_store import Artifact, load_artifact

GROUP = "machines"
INPUT, SCORES, DEAD_LETTERS = "events", "scores", "dead-letters"
MOST_WORKERS = 3
MOST_PARTITIONS = 4
LATER_S = 11.0
"""After so long silent members are given up and open transactions are aborted."""

TURN_S = 0.03
SETTLING_TURN_S = 0.6
MOST_TURNS_TO_SETTLE = 150
EVENTS: Sequence[Event] = tuple(islice(events(seed=3, bad_share=0.1, entity=lambda chance: chance.randrange(4)), 2_000))

AT_ASSIGNMENT = frozenset({"committed", "get_watermark_offsets", "log_end", "count_partitions"})
"""Calls that a worker makes when it is given partitions."""


class Broken(AssertionError):  # noqa: N818 - as the judge's own
    """A promise that the judge of the outputs cannot see."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")
        self.kinds = frozenset({kind})


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Under which terms a world runs, from its first moment to its last."""

    delivery: Literal["exactly-once", "at-least-once"] = "exactly-once"
    start: Literal["earliest", "latest"] = "earliest"
    on_gap: Literal["fail", "continue"] = "fail"
    partitions: int = 2
    lookback_offsets: int = 30  # short: it decides where windows end; long: the oldest row of any entity does
    eager: bool = False  # the group deals all partitions out anew in each rebalance
    late_commits: bool = False  # a commit is begun when it is waited for, not before
    late_markers: bool = False  # a commit is answered before its markers are written
    lingers: bool = False  # records leave the client at the commit alone


@dataclass(frozen=True)
class Model:
    """What all workers of all worlds share: none of it has a state."""

    file: bytes
    artifact: Artifact
    detector: Detector
    metrics: Metrics
    verdicts: Verdicts


@cache
def the_model() -> Model:
    """A detector with windows of 4 rows, loaded once."""
    with tempfile.TemporaryDirectory() as folder:
        path = make_artifact(Path(folder) / "m.onnx", window=4, min_length=2, max_gap_s=40.0)
        artifact = load_artifact(str(path), sha256=None)
        told = _settings(Terms())
        return Model(
            path.read_bytes(),
            artifact,
            detector_of(told, artifact),
            Metrics(),
            Verdicts(told.events, artifact.manifest.feature_names),
        )


@cache
def _settings(terms: Terms) -> Settings:
    return least_settings(
        delivery=terms.delivery,
        start=terms.start,
        on_gap=terms.on_gap,
        batch={"max_events": 5},
        events={"max_bytes": MAX_BYTES},
        lookback_offsets=terms.lookback_offsets,
    )


@dataclass(eq=False)
class Life:
    """One worker's process."""

    name: str
    process: Process
    worker: BusWorker
    has_double: bool = False  # another process has, or had, its transactional.id


@dataclass
class _Era:
    """The time from one reset of the group's offsets to the next: each record is answered once in it."""

    first: dict[int, int]
    marks: dict[tuple[str, int], int] = field(default_factory=dict)
    furthest: dict[int, int] = field(default_factory=dict)


class World:
    """One schedule's world."""

    def __init__(self, terms: Terms, bus: MemoryBus | None = None) -> None:
        self._terms = terms
        self._model = the_model()
        self._settings = _settings(terms)
        self.bus = bus or MemoryBus()
        self.bus.transactions.slow_markers = terms.late_markers
        for topic in (INPUT, SCORES, DEAD_LETTERS):
            self.bus.create(topic, partitions=terms.partitions)
        self.lives: list[Life] = []
        self._free_names: list[str] = []
        self._late_starts: set[str] = set()
        self._names = map("worker-{}".format, count(1))
        self._written = 0
        self._log_starts: dict[tuple[str, int], list[int]] = {}
        self._gone: set[tuple[str, int, int]] = set()
        self._era = _Era(first={})
        self._begin()

    def _begin(self) -> None:
        """The group's very first start; with `start: latest` it passes some records over."""
        if self._terms.start == "latest":
            for partition in range(self._terms.partitions):
                self.produce(partition, 6)
            self._era.first = self._ends()
        self._join_first()

    def _join_first(self) -> None:
        """A worker that is not disturbed before it has noted, with `start: latest`, which partitions there are.

        Until then nobody can tell a partition that is added from one that was never read (R3).
        """
        self.join()
        for _ in range(MOST_TURNS_TO_SETTLE):
            if self._terms.start == "earliest" or self._are_noted():
                return
            self.turn(self.lives[0], 1)
        raise Broken("no progress", "a worker that nothing disturbs does not commit its start")

    def _are_noted(self) -> bool:
        known = self.bus.committed(GROUP, INPUT)
        return len(known) == self.partitions and all(place.metadata for place in known.values())

    # ---- who is there

    @property
    def working(self) -> list[Life]:
        """Those who may take a turn."""
        return [life for life in self.lives if not life.process.is_stopped]

    @property
    def owning(self) -> list[Life]:
        """Those of them who have partitions."""
        return [life for life in self.working if life.worker.source.lag()]

    @property
    def stopped(self) -> list[Life]:
        """Those who stand still."""
        return [life for life in self.lives if life.process.is_stopped]

    @property
    def partitions(self) -> int:
        """How many the input has now."""
        return len(self.bus.topics[INPUT])

    @property
    def delivers_once(self) -> bool:
        """Whether a record may come out more than once."""
        return self._terms.delivery == "exactly-once"

    @property
    def something_is_late(self) -> bool:
        """Whether a request or a marker is on its way."""
        return bool(self.bus.on_the_way) or self.bus.transactions.owes_markers

    # ---- the log

    def produce(self, partition: int, events: int, *, how: str = "plainly") -> None:
        """Events into one partition: `plainly`, or in a transaction that is `committed` or `aborted`."""
        self._written += events
        chosen = [EVENTS[at % len(EVENTS)] for at in range(self._written - events, self._written)]
        records = [event.to(INPUT, partition % self.partitions) for event in chosen]
        if how == "plainly":
            self.bus.write(records)
        else:
            self.bus.write_in_transaction(records, commit=how == "committed")

    def delete(self, partition: int, share: float, *, unread: bool) -> None:
        """Retention takes a share of what is committed, or (where `on_gap` lets it) of what is not yet read."""
        number = partition % self.partitions
        log = self.bus.topics[INPUT][number]
        committed = max(self._committed(number), log.start)
        low, high = (committed, log.end) if unread and self._terms.on_gap == "continue" else (log.start, committed)
        start = low + round(share * (high - low))
        if start > log.start:
            self._gone |= {(INPUT, number, offset) for offset in range(committed, start)}
            self._log_starts.setdefault((INPUT, number), []).append(start)
            self.bus.delete_before(INPUT, number, start)

    def add_partition(self) -> None:
        """One more for the input; it is read from its beginning, whatever `start` says."""
        self.bus.add_partitions(INPUT, 1)

    def reset(self, partition: int, share: float) -> None:
        """An operator stops all workers and sets the group's offset to somewhere in the log.

        Partitions without an offset get one too, as Kafka's own tool gives it to all partitions of a topic.
        """
        number = partition % self.partitions
        self._stop_all()
        self._watch()
        self._judge()
        log = self.bus.topics[INPUT][number]
        offset = log.start + round(share * (log.end - log.start))
        first = {each: self._committed(each) for each in range(self.partitions)} | {number: offset}
        known = self.bus.committed(GROUP, INPUT)
        chosen = [each for each in first if each == number or each not in known]
        self.bus.commit(GROUP, [TopicPartition(INPUT, each, first[each]) for each in chosen])
        self._era = _Era(first=first, marks=self._output_ends())
        for each in range(self.partitions):
            self.produce(each, 1)
        self._join_first()

    def _stop_all(self) -> None:
        for life in list(self.working):
            self.leave(life)
        for life in list(self.lives):
            self.kill(life)
        self._calm()
        self.wait(LATER_S)

    def _committed(self, partition: int) -> int:
        known = self.bus.offsets.get((GROUP, (INPUT, partition)))
        return self._era.first.get(partition, 0) if known is None else known.offset

    def _output_ends(self) -> dict[tuple[str, int], int]:
        return {
            (topic, number): log.end
            for topic in (SCORES, DEAD_LETTERS)
            for number, log in enumerate(self.bus.topics[topic])
        }

    # ---- workers

    def join(self, *, name: str | None = None) -> None:
        """One more worker, under a transactional.id of its own or one that is known."""
        process = Process(self.bus)
        place = in_memory(
            self.bus,
            GROUP,
            process=process,
            late_commits=self._terms.late_commits,
            eager=self._terms.eager,
            linger_ms=60_000 if self._terms.lingers else 5,
            metrics=copy(self._model.metrics),  # new instruments for each process would cost more than its work
        )
        name = name or next(self._names)
        worker = BusWorker(
            place,
            self._settings,
            self._model.artifact,
            self._model.detector,
            output_partitions=self._terms.partitions,
            transactional_id=name,
        )
        # The start of a process that died may arrive late and fence the next of its name, which cannot know of it.
        life = Life(name, process, worker, has_double=name in self._late_starts)
        self.lives.append(life)
        self._live(life, worker.begin)

    def replace(self, life: Life) -> None:
        """Another process takes this one's transactional.id, though it is not dead: one of them may end for it."""
        self.join(name=life.name)
        for one in self.lives:
            one.has_double = one.has_double or one.name == life.name

    def respawn(self) -> None:
        """The worker that died last is started again under its name."""
        self.join(name=self._free_names.pop() if self._free_names else None)

    def turn(self, life: Life, turns: int) -> None:
        """Some turns of its loop."""
        for _ in range(turns):
            if life not in self.working:
                return
            self._live(life, life.worker.turn)
            self.bus.now_s += TURN_S

    def work(self, events: int, turns: int) -> None:
        """So many more events for each partition, and turns for everyone."""
        for partition in range(self.partitions if events else 0):
            self.produce(partition, events)
        for _ in range(turns):
            for life in self.working:
                self.turn(life, 1)

    def strike(self, life: Life, blows: Mapping[str, Fate], *, turns: int = 8) -> list[str]:
        """Let a worker that has something to do work until its calls come to that; the calls that did."""
        if AT_ASSIGNMENT.intersection(blows):
            self.rebalance()
        else:
            self.work(3, 0)
        for call, fate in blows.items():
            life.process.await_fate(call, fate)
        for _ in range(turns):
            if life not in self.working or not any(map(life.process.awaits_fate, blows)):
                break
            self.turn(life, 1)
        met = [call for call in blows if not life.process.awaits_fate(call)]
        if "init_transactions" in met and blows["init_transactions"] is Fate.LATE:
            self._late_starts.add(life.name)
        life.process.forget_fates()
        return met

    def kill(self, life: Life) -> None:
        """SIGKILL."""
        life.process.kill()
        self._bury(life)

    def go_on(self, life: Life) -> None:
        """SIGCONT."""
        self._live_on(life, life.process.go_on)

    def leave(self, life: Life) -> None:
        """SIGTERM."""
        self._live(life, life.worker.end)
        if life in self.working:
            self._bury(life)

    def expel(self, life: Life) -> None:
        """The group does not hear from a worker that goes on working."""
        life.worker.consumer.drop_member()

    def rebalance(self) -> None:
        """The group deals its partitions out anew."""
        if self.bus.groups[GROUP].members:
            self.bus.groups[GROUP].shuffle()

    def move(self, coordinator: Coordinator, away_s: float) -> None:
        """A coordinator moves to another broker, which is not ready at once."""
        self.bus.move(coordinator, away_s)

    def wait(self, seconds: float) -> None:
        """Time passes and nobody who works misses a poll."""
        self.bus.now_s += seconds
        self.bus.expire()
        self._watch()

    def let_arrive(self) -> None:
        """Late requests arrive, and late markers are written."""
        let_arrive(self.bus)
        self.bus.transactions.write_markers()
        self._watch()

    def _bury(self, life: Life) -> None:
        life.worker.forget_trial()
        self.lives.remove(life)
        if not life.has_double:
            self._free_names.append(life.name)

    def _live(self, life: Life, stretch: Callable[[], None]) -> None:
        self._live_on(life, lambda: life.process.run(stretch))

    def _live_on(self, life: Life, step: Callable[[], None]) -> None:
        """One step of a life; what it leads to is this world's, unless it must never happen."""
        try:
            step()
        except Killed:
            self._bury(life)
        except WorkerError as failure:
            if not (isinstance(failure, FencedError) and life.has_double):
                raise
            life.worker.fail()
            self._bury(life)
        self._watch()

    # ---- what must hold

    def _watch(self) -> None:
        """Committed offsets never go back (I8), and say what a successor needs (I5)."""
        for partition, place in self.bus.committed(GROUP, INPUT).items():
            if place.offset < self._era.furthest.get(partition, self._era.first.get(partition, 0)):
                raise Broken("an offset went back", f"{INPUT}-{partition} to {place.offset}")
            by_operator = not place.metadata and place.offset == self._era.first.get(partition)
            if self._era.furthest.get(partition) != place.offset and not by_operator:
                checkpoint = Checkpoint.decode(place.metadata)
                where = f"{INPUT}-{partition} at {place.offset}: {place.metadata!r}"
                if checkpoint is None or checkpoint.lo > place.offset:
                    raise Broken("a bad checkpoint", where)
                if checkpoint.lo > (needed := self._oldest_needed(partition, place.offset)):
                    raise Broken("a checkpoint above rows that windows need", f"{where}, where {needed} is needed")
            self._era.furthest[partition] = place.offset

    def _oldest_needed(self, partition: int, offset: int) -> int:
        start = self.bus.topics[INPUT][partition].start
        return oldest_needed(
            (record for record in self._visible(partition) if record.offset >= start),
            offset,
            manifest=self._model.artifact.manifest,
            lookback=self._settings.lookback_offsets,
            verdicts=self._model.verdicts,
        )

    def _visible(self, partition: int) -> Iterator[LogRecord]:
        entries = self.bus.topics[INPUT][partition].entries
        return (entry.record for entry in entries if entry.is_visible and entry.record)

    def settle(self) -> None:
        """After the last fault everything is scored and committed, and every worker is ready (I11)."""
        self._calm()
        for life in self.stopped:
            self.go_on(life)
        self.wait(LATER_S)
        for _ in range(MOST_TURNS_TO_SETTLE):
            if not self.lives:
                self.join()
            for life in self.working:
                self.turn(life, 1)
            self.bus.now_s += SETTLING_TURN_S
            if self._is_settled():
                break
        else:
            raise Broken("no progress", f"after all faults {self._era.furthest} is committed of {self._ends()}")
        self.wait(LATER_S)  # a killed worker's open transaction would hide what came after it

    def _calm(self) -> None:
        self.bus.heal()
        self.let_arrive()

    def _ends(self) -> dict[int, int]:
        return {number: log.end for number, log in enumerate(self.bus.topics[INPUT])}

    def _is_settled(self) -> bool:
        return self._era.furthest == self._ends() and all(life.worker.ready for life in self.lives)

    def judge(self) -> None:
        """Everything of this era came out once, rightly and in order (I1-I4, I7, I9), and nothing is open."""
        for topic, logs in self.bus.topics.items():
            for number, log in enumerate(logs):
                if log.stable_end != log.end:
                    raise Broken("an open transaction", f"{topic}-{number}")
        self._judge()

    def _judge(self) -> None:
        era = self._era
        verify(
            Case(
                settings=self._settings,
                model=self._model.file,
                committed={(INPUT, number): self._committed(number) for number in range(self.partitions)},
                partitions={INPUT: self.partitions, SCORES: self._terms.partitions},
                first={(INPUT, partition): offset for partition, offset in era.first.items()},
                log_starts=self._log_starts,
                gone=frozenset(self._gone),
                verdicts=self._model.verdicts,
            ),
            inputs=[record for partition in range(self.partitions) for record in self._visible(partition)],
            scores=self._out_since(SCORES),
            dead_letters=self._out_since(DEAD_LETTERS),
        )

    def _out_since(self, topic: str) -> list[LogRecord]:
        marks = self._era.marks
        return [each for each in self.bus.read(topic) if each.offset >= marks.get((topic, each.partition), 0)]

    def end(self) -> None:
        """Nothing of this world goes on."""
        for life in self.lives:
            life.process.kill()
            life.worker.forget_trial()
