"""The state machine that drives a world: Hypothesis draws what happens, and shrinks what fails to a minimal trace.

Each rule is one thing that may befall the workers or their brokers; the trace of a failure is a piece of Python that
calls them one after the other.
"""

import sys
from collections import Counter
from collections.abc import Mapping
from typing import ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.simulator.process import Fate
from tests.simulator.world import MOST_PARTITIONS, MOST_WORKERS, Life, Terms, World

_TIME_OUTS = (Fate.LOST, Fate.ANSWER_LOST, Fate.LATE)
_ENDS = (Fate.KILLED_BEFORE, Fate.KILLED_AFTER, Fate.STOPPED_BEFORE, Fate.STOPPED_AFTER)


def _one_of(*fates: Fate) -> st.SearchStrategy[str]:
    return st.sampled_from([fate.value for fate in fates])


_commit_call = st.sampled_from(["commit_transaction", "send_offsets_to_transaction"])
_which = st.integers(0, MOST_WORKERS - 1)
_partition = st.integers(0, MOST_PARTITIONS - 1)
_share = st.sampled_from([0.5, 0.9, 1.0])

terms = st.builds(
    Terms,
    delivery=st.sampled_from(["exactly-once", "exactly-once", "exactly-once", "at-least-once"]),
    start=st.sampled_from(["earliest", "earliest", "latest"]),
    on_gap=st.sampled_from(["fail", "continue"]),
    partitions=st.integers(1, 3),
    lookback_offsets=st.sampled_from([30, 30, 1_000]),
    eager=st.booleans(),
    late_commits=st.booleans(),
    late_markers=st.booleans(),
    lingers=st.booleans(),
)


class Simulation(RuleBasedStateMachine):
    """One schedule. Counted over all of them: those that were judged, and what was done, by kind."""

    executed: ClassVar[Counter[str]] = Counter()
    schedules: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    @property
    def _world(self) -> World:
        assert self.world is not None
        return self.world

    def _count(self, kind: str) -> None:
        type(self).executed[kind] += 1

    @staticmethod
    def _pick(lives: list[Life], which: int) -> Life:
        return lives[which % len(lives)]

    def make_world(self, terms: Terms) -> World:
        """Where the schedule runs."""
        return World(terms)

    @initialize(terms=terms, workers=st.integers(1, MOST_WORKERS))
    def begin(self, terms: Terms, workers: int) -> None:
        self.world = self.make_world(terms)
        for _ in range(workers - 1):
            self.world.join()
        for partition in range(terms.partitions):
            self.world.produce(partition, 5)

    # ---- work

    @rule(partition=_partition, events=st.integers(1, 8), how=st.sampled_from(["plainly", "committed", "aborted"]))
    def produce(self, partition: int, events: int, how: str) -> None:
        self._count("produce")
        self._world.produce(partition, events, how=how)

    @rule(partition=_partition, events=st.integers(20, 40))
    def fall_behind(self, partition: int, events: int) -> None:
        """More events at once than a worker has in flight, so that it reads ahead of what it commits."""
        self._count("fall behind")
        self._world.produce(partition, events)

    def _some_work(self) -> bool:
        return bool(self._world.working)

    @precondition(_some_work)
    @rule(worker=_which, turns=st.integers(1, 5))
    def poll(self, worker: int, turns: int) -> None:
        self._count("poll")
        self._world.turn(self._pick(self._world.working, worker), turns)

    @rule(events=st.integers(0, 4), turns=st.integers(1, 4))
    def all_work(self, events: int, turns: int) -> None:
        self._count("poll")
        self._world.work(events, turns)

    @precondition(_some_work)
    @rule(worker=_which)
    def finish_inference(self, worker: int) -> None:
        self._count("finish inference")
        life = self._pick(self._world.working, worker)
        life.worker.finish_inference()
        self._world.turn(life, 1)

    # ---- calls that come to something

    @precondition(_some_work)
    @rule(worker=_which, call=_commit_call, fate=_one_of(Fate.DOUBLED, Fate.REFUSED), later=st.booleans())
    def commit(self, worker: int, call: str, fate: str, *, later: bool = False) -> None:
        self._commit(worker, call, fate, later=later)

    @precondition(_some_work)
    @rule(worker=_which, call=_commit_call, fate=_one_of(*_TIME_OUTS), later=st.booleans())
    def commit_times_out(self, worker: int, call: str, fate: str, *, later: bool = False) -> None:
        self._commit(worker, call, fate, later=later)

    @precondition(_some_work)
    @rule(worker=_which, call=_commit_call, fate=_one_of(*_ENDS), later=st.booleans())
    def end_in_commit(self, worker: int, call: str, fate: str, *, later: bool = False) -> None:
        self._commit(worker, call, fate, later=later)

    def _commit(self, worker: int, call: str, fate: str, *, later: bool) -> None:
        """A worker's first commit records its attempt, and nothing else; a later one has records in it."""
        if later:
            self._world.work(3, 3)
        self._strike(worker, {call if self._world.delivers_once else "commit": Fate(fate)})

    @precondition(_some_work)
    @rule(worker=_which, fate=_one_of(Fate.REFUSED, *_ENDS))
    def deliver(self, worker: int, fate: str) -> None:
        self._strike(worker, {"deliver": Fate(fate)})

    @precondition(_some_work)
    @rule(worker=_which, fate=_one_of(Fate.QUEUE_FULL, Fate.KILLED_BEFORE, Fate.STOPPED_BEFORE))
    def publish(self, worker: int, fate: str) -> None:
        self._strike(worker, {"produce": Fate(fate)})

    @precondition(_some_work)
    @rule(worker=_which, fate=_one_of(*_ENDS))
    def read(self, worker: int, fate: str) -> None:
        self._strike(worker, {"consume": Fate(fate)})

    @precondition(_some_work)
    @rule(worker=_which, call=st.sampled_from(["committed", "get_watermark_offsets"]), fate=_one_of(Fate.LOST, *_ENDS))
    def ask_where_to_start(self, worker: int, call: str, fate: str) -> None:
        self._strike(worker, {call: Fate(fate)})

    @precondition(lambda self: self._some_work() and self._world.delivers_once)
    @rule(worker=_which, fate=_one_of(*_TIME_OUTS, Fate.DOUBLED, *_ENDS))
    def abort(self, worker: int, fate: str) -> None:
        self._strike(worker, {"send_offsets_to_transaction": Fate.REFUSED, "abort_transaction": Fate(fate)})

    @precondition(lambda self: self._some_work() and self._world.delivers_once)
    @rule(worker=_which, fate=_one_of(*_TIME_OUTS, Fate.DOUBLED, *_ENDS))
    def begin_anew(self, worker: int, fate: str) -> None:
        self._strike(worker, {"commit_transaction": Fate.LOST, "init_transactions": Fate(fate)})

    def _strike(self, worker: int, blows: Mapping[str, Fate]) -> None:
        """Only what came to pass is counted: a worker may have had no occasion to make that call, or none be left."""
        if not (lives := self._world.owning or self._world.working):
            return
        life = self._pick(lives, worker)
        for call in self._world.strike(life, blows):
            self._count(f"{call}: {blows[call]}")

    # ---- workers come and go

    @precondition(_some_work)
    @rule(worker=_which)
    def kill(self, worker: int) -> None:
        self._count("kill")
        self._world.kill(self._pick(self._world.working, worker))

    @precondition(_some_work)
    @rule(worker=_which)
    def stop(self, worker: int) -> None:
        self._count("stop")
        self._pick(self._world.working, worker).process.stop()

    @precondition(lambda self: self._world.stopped)
    @rule(worker=_which)
    def go_on(self, worker: int) -> None:
        self._count("continue")
        self._world.go_on(self._pick(self._world.stopped, worker))

    @precondition(lambda self: self._world.stopped)
    @rule(worker=_which)
    def kill_stopped(self, worker: int) -> None:
        self._count("kill")
        self._world.kill(self._pick(self._world.stopped, worker))

    def _room(self) -> bool:
        return len(self._world.lives) < MOST_WORKERS

    @precondition(_room)
    @rule(again=st.booleans())
    def join(self, again: bool) -> None:  # noqa: FBT001 - drawn by name
        self._count("join")
        if again:
            self._world.respawn()
        else:
            self._world.join()

    @precondition(lambda self: self._room() and self._world.stopped)
    @rule(worker=_which)
    def replace(self, worker: int) -> None:
        self._count("replace")
        self._world.replace(self._pick(self._world.stopped, worker))

    @precondition(_some_work)
    @rule(worker=_which)
    def leave(self, worker: int) -> None:
        self._count("leave")
        self._world.leave(self._pick(self._world.working, worker))

    # ---- the group and the brokers

    @precondition(_some_work)
    @rule(worker=_which)
    def expel(self, worker: int) -> None:
        self._count("expire")
        self._world.expel(self._pick(self._world.working, worker))

    @rule(seconds=st.sampled_from([1.0, 5.0, 11.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self._count("expire")
        self._world.wait(seconds)

    @rule(events=st.integers(0, 4), turns=st.integers(0, 4))
    def rebalance(self, events: int, turns: int) -> None:
        self._count("rebalance")
        self._world.rebalance()
        self._world.work(events, turns)

    @rule(coordinator=st.sampled_from(["group", "transactions"]), away_s=st.sampled_from([1.0, 7.0, 12.0, 50.0]))
    def move_coordinator(self, coordinator: str, away_s: float) -> None:
        self._count("move coordinator")
        self._world.move(coordinator, away_s)

    @precondition(lambda self: self._world.something_is_late)
    @rule()
    def let_arrive(self) -> None:
        self._count("late arrivals")
        self._world.let_arrive()

    # ---- the log

    @precondition(lambda self: self._world.delivers_once)  # else what comes again may lawfully have other windows
    @rule(partition=_partition, share=_share, unread=st.booleans())
    def delete_records(self, partition: int, share: float, unread: bool) -> None:  # noqa: FBT001 - drawn by name
        self._count("delete records")
        self._world.delete(partition, share, unread=unread)

    @precondition(lambda self: self._world.partitions < MOST_PARTITIONS)
    @rule()
    def add_partition(self) -> None:
        self._count("add partition")
        self._world.add_partition()

    @precondition(lambda self: self._world.delivers_once)  # else nobody can tell a repeat from a new answer
    @rule(partition=_partition, share=st.sampled_from([0.0, 0.5, 0.8]))
    def reset_offset(self, partition: int, share: float) -> None:
        self._count("reset offset")
        self._world.reset(partition, share)

    def teardown(self) -> None:
        """Unless something failed already: let everything settle, and judge."""
        if self.world is None:
            return
        try:
            if sys.exc_info()[0] is None:
                self.world.settle()
                self.world.judge()
                type(self).schedules += 1
        finally:
            self.world.end()


def schedules_of(count: int, *, shrink: bool = True, steps: int = 12) -> settings:
    """Settings for so many schedules of so many steps each."""
    return settings(
        max_examples=count,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
