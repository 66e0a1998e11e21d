"""The consumer's door: what a poll hands out, what happens to partitions that come and go, what is committed."""

from collections import deque
from collections.abc import Callable, Sequence

import pytest
from confluent_kafka import OFFSET_END, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from schemas.checkpoint import Checkpoint
from tests.simulator.refusal import kafka_error
from worker.assignment import Planner
from worker.batch import TopicPartition
from worker.errors import BrokerError, GapError, ProducerLostError, TransactionAbortedError
from worker.replay import Plan
from worker.source import Polled, Source

SPEC = "0123456789abcdef"
WARM_S = 300.0
Event = Callable[[], None]


class ScriptedConsumer:
    """Each `consume` takes the next step of the script: callbacks that come first, then messages."""

    def __init__(self) -> None:
        self.steps: deque[tuple[Sequence[Event], list[Message]]] = deque()
        self.assigned: dict[tuple[str, int], int] = {}
        self.sought: list[tuple[str, int, int]] = []
        self.seek_faults: deque[KafkaError] = deque()
        self.high = 100
        self.closed = False

    def script(self, *first: Event, messages: Sequence[Message] = ()) -> None:
        self.steps.append((first, list(messages)))

    def subscribe(self, topics: Sequence[str], **callbacks: Callable[..., None]) -> None:
        self.callbacks = callbacks

    def assign_later(self, *partitions: int, topic: str = "events") -> Event:
        return lambda: self.callbacks["on_assign"](self, [KafkaTopicPartition(topic, each) for each in partitions])

    def revoke_later(self, *partitions: int) -> Event:
        return lambda: self.callbacks["on_revoke"](self, [KafkaTopicPartition("events", each) for each in partitions])

    def lose_later(self, *partitions: int) -> Event:
        return lambda: self.callbacks["on_lost"](self, [KafkaTopicPartition("events", each) for each in partitions])

    def consume(self, num_messages: int, timeout: float) -> list[Message]:
        first, messages = self.steps.popleft() if self.steps else ((), [])
        for event in first:
            event()
        return messages

    def incremental_assign(self, partitions: Sequence[KafkaTopicPartition]) -> None:
        self.assigned |= {(each.topic, each.partition): each.offset for each in partitions}

    assign = incremental_assign

    def incremental_unassign(self, partitions: Sequence[KafkaTopicPartition]) -> None:
        for each in partitions:
            self.assigned.pop((each.topic, each.partition))

    def unassign(self) -> None:
        self.assigned.clear()

    def seek(self, partition: KafkaTopicPartition) -> None:
        if self.seek_faults:
            raise KafkaException(self.seek_faults.popleft())
        self.sought.append((partition.topic, partition.partition, partition.offset))

    def get_watermark_offsets(self, partition: KafkaTopicPartition, *, cached: bool) -> tuple[int, int]:
        return 0, self.high

    def close(self) -> None:
        if self.assigned:
            self.callbacks["on_revoke"](self, [KafkaTopicPartition(*place) for place in self.assigned])
        self.closed = True


class ScriptedPlanner(Planner):
    """Hands out the plans that it was given."""

    def __init__(self) -> None:
        self.given: dict[TopicPartition, Plan] = {}
        self.failure: Exception | None = None
        self.counts = {"events": 4, "more": 4}
        self.ids = {"events": "id-1", "more": "id-2"}

    spec = SPEC
    lookback_offsets = 50

    def partition_count(self, topic: str) -> int:
        return self.counts[topic]

    def topic_id(self, topic: str) -> str:
        return self.ids.get(topic, "")

    def plans(self, consumer: object, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Plan]:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return {partition: self.given.get(partition, Plan(position=0, committed=0)) for partition in partitions}


class Listener:
    """Notes what it is told; may fail once."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.failure: Exception | None = None

    def _note(self, *what: object) -> None:
        self.told.append(what)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def partitions_revoked(self, places: Sequence[int]) -> None:
        self._note("revoked", *places)

    def partitions_lost(self, places: Sequence[int]) -> None:
        self._note("lost", *places)

    def partition_assigned(self, place: int, plan: Plan, *, warm: bool) -> None:
        self._note("assigned", place, "warm" if warm else "empty")

    def partition_cold(self, place: int) -> None:
        self._note("cold", place)


class Bench:
    """A source between a scripted consumer, a scripted planner and a listener."""

    def __init__(self, *, topics: Sequence[str] = ("events",), incremental: bool = True) -> None:
        self.consumer = ScriptedConsumer()
        self.planner = ScriptedPlanner()
        self.listener = Listener()
        self.now_s = 0.0
        self.joined = 0
        self.source = Source(
            self._make,
            topics=topics,
            group_id="machines",
            planner=self.planner,
            incremental=incremental,
            warm_s=WARM_S,
            clock=lambda: self.now_s,
            pause=self.wait,
        )
        self.source.subscribe(self.listener)

    def _make(self, note_statistics: Callable[[str], None]) -> ScriptedConsumer:
        self.note_statistics = note_statistics
        self.joined += 1
        return self.consumer

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    def plan(self, partition: int, position: int, committed: int | None = None, **rest: int | bool) -> None:
        taken_up = Plan(position=position, committed=position if committed is None else committed, **rest)
        self.planner.given[TopicPartition("events", partition)] = taken_up

    def poll(self, *first: Event, messages: Sequence[Message] = ()) -> Polled:
        self.consumer.script(*first, messages=messages)
        return self.source.poll(100, 0.0)

    def assign(self, *partitions: int) -> None:
        self.poll(self.consumer.assign_later(*partitions))

    def next_offsets(self) -> dict[int, int]:
        return {place: owned.next_offset for place, owned in self.source._owned.items()}

    def committable(self, offsets: dict[int, int], *, lo: int = 0) -> list[KafkaTopicPartition]:
        return self.source.to_commit(offsets, lambda place, offset: lo)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def message(offset: int, *, partition: int = 0, topic: str = "events", value: bytes = b"v") -> Message:
    return Message(
        topic=topic,
        partition=partition,
        offset=offset,
        key=b"k",
        value=value,
        headers=[("h", b"%d" % offset)],
        timestamp=(1, 1_000 + offset),
    )


def messages(*offsets: int, partition: int = 0) -> list[Message]:
    return [message(offset, partition=partition) for offset in offsets]


def event(code: int, *, offset: int = -1, partition: int = 0, text: str = "") -> Message:
    """As the client hands it out: also a fatal error's mark is not set, only its code tells."""
    error = KafkaError(code, text) if text else kafka_error(code)
    return Message(topic="events", partition=partition, offset=offset, error=error)


def end(offset: int, *, partition: int = 0) -> Message:
    return event(KafkaError._PARTITION_EOF, offset=offset, partition=partition)


def live(polled: Polled) -> list[int]:
    return [] if polled.live is None else polled.live.offset.tolist()


def refill(polled: Polled) -> list[int]:
    return [] if polled.refill is None else polled.refill.offset.tolist()


# ---- reading


def test_records_come_out_as_columns(bench: Bench) -> None:
    bench.assign(0, 2)
    polled = bench.poll(messages=[message(7), message(3, partition=2, value=b"w")])
    assert polled.refill is None
    records = polled.live
    assert records is not None
    assert [records.partitions[place] for place in records.partition] == [("events", 0), ("events", 2)]
    assert (records.offset.tolist(), records.timestamp.tolist()) == ([7, 3], [1_007, 1_003])
    assert (records.key, records.value) == ([b"k", b"k"], [b"v", b"w"])
    assert list(records.headers(1)) == [("h", b"3")]


def test_several_topics_have_a_table_of_places_in_common() -> None:
    bench = Bench(topics=("events", "more"))
    bench.poll(bench.consumer.assign_later(1), bench.consumer.assign_later(1, topic="more"))
    polled = bench.poll(messages=[message(5, partition=1), message(6, partition=1, topic="more")])
    records = polled.live
    assert records is not None
    assert [records.partitions[place] for place in records.partition] == [("events", 1), ("more", 1)]


def test_a_poll_without_records_hands_out_nothing(bench: Bench) -> None:
    bench.assign(0)
    assert bench.poll(messages=[end(0)]) == Polled(refill=None, live=None)


def test_records_below_the_committed_offset_only_refill(bench: Bench) -> None:
    bench.plan(0, 5, 8)
    bench.assign(0)
    assert not bench.source.ready
    assert bench.source.refill_remaining() == {("events", 0): 3}
    first = bench.poll(messages=messages(5, 6))
    assert (refill(first), live(first)) == ([5, 6], [])
    assert not bench.source.ready
    second = bench.poll(messages=messages(7, 8, 9))
    assert (refill(second), live(second)) == ([7], [8, 9])
    assert bench.source.ready


def test_one_partitions_refill_holds_back_no_other(bench: Bench) -> None:
    bench.plan(0, 5, 8)
    bench.assign(0, 1)
    polled = bench.poll(messages=[message(0, partition=1), message(5), message(1, partition=1)])
    assert (refill(polled), live(polled)) == ([5], [0, 1])
    assert polled.live is not None
    assert list(polled.live.headers(1)) == [("h", b"1")]


def test_a_refill_ends_at_the_end_of_the_log_behind_markers(bench: Bench) -> None:
    bench.plan(0, 5, 8)
    bench.assign(0)
    bench.poll(messages=messages(5, 6))
    bench.poll(messages=[end(7)])
    assert not bench.source.ready
    bench.poll(messages=[end(8)])
    assert bench.source.ready


def test_a_refill_ends_with_the_first_record_beyond_it(bench: Bench) -> None:
    bench.plan(0, 5, 8)
    bench.assign(0)
    polled = bench.poll(messages=messages(5, 9))
    assert (refill(polled), live(polled)) == ([5], [9])
    assert bench.source.ready


def test_a_member_without_partitions_is_ready_once_it_is_told_so(bench: Bench) -> None:
    assert not bench.source.ready
    bench.assign()
    assert bench.source.ready


def test_the_statistics_tell_that_a_member_joined(bench: Bench) -> None:
    bench.note_statistics('{"cgrp": {"join_state": "wait-assign"}}')
    assert not bench.source.ready
    bench.note_statistics('{"cgrp": {"join_state": "steady"}}')
    assert bench.source.ready


# ---- errors that are told among the records


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "read as group 'machines': grant Read"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "read topic 'events': grant Read"),
    ],
)
def test_a_missing_right_ends_the_worker(bench: Bench, code: int, sentence: str) -> None:
    bench.assign(0)
    with pytest.raises(BrokerError, match=sentence):
        bench.poll(messages=[event(code)])


def test_a_fatal_error_ends_the_worker(bench: Bench) -> None:
    with pytest.raises(BrokerError, match="failed for good"):
        bench.poll(messages=[event(KafkaError._FATAL)])
    bench.consumer.script(messages=[event(KafkaError._FATAL)])
    with pytest.raises(BrokerError, match="failed for good"):
        bench.source.keep_alive()


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("Fatal error: Broker: Static consumer fenced by other consumer with same group.instance.id", "its own kafka."),
        ("Fatal error: Broker: Unsupported remote assignor", "leave group.remote.assignor out"),
    ],
)
def test_a_fatal_error_comes_with_its_remedy(bench: Bench, text: str, remedy: str) -> None:
    with pytest.raises(BrokerError, match=remedy):
        bench.poll(messages=[event(KafkaError._FATAL, text=text)])


def test_an_error_that_passes_is_no_reason_to_stop(bench: Bench) -> None:
    bench.assign(0)
    assert live(bench.poll(messages=[event(KafkaError._ALL_BROKERS_DOWN), message(0)])) == [0]


STOPS = [KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE]


@pytest.mark.parametrize("code", STOPS)
def test_where_an_offset_is_gone_the_group_is_joined_anew(bench: Bench, code: int) -> None:
    bench.assign(0, 1)
    bench.poll(messages=messages(0, 1))
    polled = bench.poll(messages=[*messages(2, 3), event(code), *messages(7, partition=1)])
    assert live(polled) == []
    assert bench.listener.told[-1] == ("revoked", 0, 1)
    assert bench.joined == 2
    assert bench.consumer.sought == []
    assert not bench.source.ready
    bench.plan(0, 30, 40)
    bench.assign(0, 1)
    assert bench.consumer.assigned == {("events", 0): 30, ("events", 1): 0}
    assert bench.listener.told[-2] == ("assigned", 0, "empty")


@pytest.mark.parametrize("read", [Source.stay, Source.keep_alive, lambda source: source.poll(100, 0.0)])
def test_so_it_is_wherever_that_is_told(bench: Bench, read: Callable[[Source], object]) -> None:
    bench.assign(0, 1)
    bench.listener.failure = TransactionAbortedError("the broker is busy")
    bench.consumer.script(bench.consumer.lose_later(1), messages=[event(STOPS[0])])
    with pytest.raises(TransactionAbortedError):
        read(bench.source)
    assert bench.joined == 2
    assert bench.consumer.sought == []


def test_what_is_told_of_a_partition_that_went_is_no_reason_to_join_anew(bench: Bench) -> None:
    bench.assign(0, 1)
    polled = bench.poll(bench.consumer.revoke_later(0), messages=[event(STOPS[0]), *messages(7, partition=1)])
    assert live(polled) == [7]
    assert bench.joined == 1


def test_an_offset_that_is_gone_is_a_gap_where_the_planner_says_so(bench: Bench) -> None:
    bench.assign(0)
    bench.poll(messages=[event(STOPS[0])])
    bench.planner.failure = GapError("records are gone.")
    with pytest.raises(GapError):
        bench.assign(0)


# ---- going back


def test_a_rewind_reads_again_from_the_committed_offset(bench: Bench) -> None:
    bench.assign(0, 1)
    bench.poll(messages=[*messages(0, 1, 2), *messages(4, partition=1)])
    bench.source.note_committed({0: 2, 1: 5})
    bench.source.rewind()
    assert bench.consumer.sought == [("events", 0, 2)]
    assert live(bench.poll(messages=messages(2, 3))) == [2, 3]


def test_a_rewind_leaves_a_refill_alone(bench: Bench) -> None:
    bench.plan(0, 5, 8)
    bench.assign(0)
    bench.poll(messages=messages(5))
    bench.source.rewind()
    assert bench.consumer.sought == []


def test_a_rewind_forgets_the_end_that_was_seen(bench: Bench) -> None:
    bench.assign(0)
    bench.poll(messages=[*messages(0, 1), end(3)])
    bench.source.rewind()
    assert bench.source.idle_offsets(()) == {}


def test_a_seek_that_comes_too_early_is_tried_again(bench: Bench) -> None:
    bench.assign(0)
    bench.poll(messages=messages(0))
    bench.consumer.seek_faults.append(kafka_error(KafkaError._STATE))
    bench.source.rewind()
    assert bench.consumer.sought == [("events", 0, 0)]


@pytest.mark.parametrize("read_again", [Source.rewind, Source.take_up_again])
def test_where_the_client_will_not_seek_the_group_is_joined_anew(
    bench: Bench, read_again: Callable[[Source], None]
) -> None:
    """It may have found that the offset is no longer in the log, before it tells."""
    bench.assign(0, 1)
    bench.poll(messages=[*messages(0, 1), *messages(0, partition=1)])
    bench.consumer.seek_faults.extend([kafka_error(KafkaError._STATE)] * 1_000)
    read_again(bench.source)
    assert 5.0 <= bench.now_s < 6.0
    assert bench.joined == 2
    assert bench.next_offsets() == {}
    bench.consumer.seek_faults.clear()
    bench.assign(0, 1)
    assert live(bench.poll(messages=messages(0, 1))) == [0, 1]


def test_everything_is_taken_up_again_with_empty_windows(bench: Bench) -> None:
    bench.assign(0, 1)
    bench.poll(messages=[*messages(0, 1), *messages(0, partition=1)])
    bench.plan(0, 3, 6)
    bench.source.take_up_again()
    assert bench.next_offsets() == {0: 3, 1: 0}
    assert bench.listener.told[-2:] == [("assigned", 0, "empty"), ("assigned", 1, "empty")]
    assert refill(bench.poll(messages=messages(3, 4))) == [3, 4]


def test_what_keeping_alive_reads_is_not_counted_as_read(bench: Bench) -> None:
    bench.assign(0)
    bench.consumer.script(messages=messages(0, 1, 2))
    bench.source.keep_alive()
    assert bench.next_offsets() == {0: 0}


# ---- partitions come and go


def test_a_partition_is_read_from_where_its_plan_says(bench: Bench) -> None:
    bench.plan(0, 5, 8)
    bench.assign(0, 1)
    assert bench.consumer.assigned == {("events", 0): 5, ("events", 1): 0}


@pytest.mark.parametrize("incremental", [True, False])
def test_a_revoked_partition_is_finished_before_it_is_let_go(*, incremental: bool) -> None:
    bench = Bench(incremental=incremental)
    bench.assign(0, 1)
    owned_then: list[set[int]] = []
    bench.listener.partitions_revoked = lambda places: owned_then.append(set(bench.source._owned))
    bench.poll(bench.consumer.revoke_later(0, 1) if not incremental else bench.consumer.revoke_later(1))
    assert owned_then == [{0, 1}]
    assert set(bench.consumer.assigned) == ({("events", 0)} if incremental else set())


def test_records_of_a_partition_that_was_revoked_in_the_same_poll_are_nobodys(bench: Bench) -> None:
    bench.assign(0, 1)
    polled = bench.poll(bench.consumer.revoke_later(1), messages=[*messages(0), *messages(0, partition=1)])
    assert live(polled) == [0]


def test_records_of_a_partition_that_came_in_the_same_poll_are_read_again(bench: Bench) -> None:
    bench.assign(0)
    bench.plan(1, 20)
    polled = bench.poll(bench.consumer.assign_later(1), messages=[*messages(0), *messages(4, 5, partition=1)])
    assert live(polled) == [0]
    assert bench.consumer.sought == [("events", 1, 20)]
    assert live(bench.poll(messages=messages(20, partition=1))) == [20]


def test_a_partition_that_went_and_came_in_one_poll_is_read_again(bench: Bench) -> None:
    bench.assign(0)
    bench.poll(messages=messages(0, 1))
    bench.plan(0, 2)
    polled = bench.poll(bench.consumer.revoke_later(0), bench.consumer.assign_later(0), messages=messages(2, 3))
    assert live(polled) == []
    assert bench.consumer.sought == [("events", 0, 2)]


def test_the_end_told_of_a_partition_that_came_in_the_same_poll_is_not_believed(bench: Bench) -> None:
    bench.plan(0, 5)
    bench.poll(bench.consumer.assign_later(0), messages=[end(30)])
    assert bench.source.idle_offsets(()) == {}
    assert bench.consumer.sought == [("events", 0, 5)]


def test_lost_partitions_are_told_as_lost(bench: Bench) -> None:
    bench.assign(0, 1)
    bench.listener.failure = TransactionAbortedError("lost")
    with pytest.raises(TransactionAbortedError):
        bench.poll(bench.consumer.lose_later(0, 1))
    assert bench.listener.told[-1] == ("lost", 0, 1)
    assert bench.consumer.assigned == {}
    assert bench.next_offsets() == {}


def test_what_a_failed_poll_read_is_read_again(bench: Bench) -> None:
    bench.assign(0, 1, 2)
    bench.poll(messages=messages(0, 1))
    bench.listener.failure = TransactionAbortedError("refused")
    with pytest.raises(TransactionAbortedError):
        bench.poll(
            bench.consumer.revoke_later(1), messages=[*messages(2, 3), *messages(9, partition=1), end(4, partition=2)]
        )
    assert sorted(bench.consumer.sought) == [("events", 0, 2), ("events", 2, 0)]
    assert live(bench.poll(messages=messages(2, 3))) == [2, 3]


def test_the_first_failure_of_several_is_raised_once(bench: Bench) -> None:
    bench.planner.failure = GapError("gone.")
    with pytest.raises(GapError):
        bench.poll(bench.consumer.assign_later(0))
    assert bench.poll() == Polled(refill=None, live=None)


def test_partitions_whose_start_is_unknown_wait_at_the_end_until_it_is(bench: Bench) -> None:
    bench.planner.failure = ProducerLostError("no answer")
    with pytest.raises(ProducerLostError):
        bench.poll(bench.consumer.assign_later(0), messages=messages(50))
    assert bench.consumer.assigned == {("events", 0): OFFSET_END}
    assert not bench.source.ready
    assert bench.source.idle_offsets(()) == {}
    bench.plan(0, 5, 8)
    bench.source.take_up_again()
    assert bench.next_offsets() == {0: 5}


# ---- warm windows


def handed_back(bench: Bench, *, at: int = 2, **rest: int | bool) -> tuple[object, ...]:
    """A partition is read and committed to offset 2, goes, and comes again with a plan at `at`."""
    bench.assign(0)
    bench.poll(messages=messages(0, 1))
    bench.source.note_committed({0: 2})
    bench.poll(bench.consumer.revoke_later(0))
    bench.plan(0, 0, at, **rest)
    bench.assign(0)
    return bench.listener.told[-1]


def test_a_partition_that_comes_back_unread_finds_its_windows_warm(bench: Bench) -> None:
    assert handed_back(bench) == ("assigned", 0, "warm")
    assert bench.consumer.assigned == {("events", 0): 2}
    assert bench.source.ready


def test_a_partition_that_others_read_meanwhile_starts_with_empty_windows(bench: Bench) -> None:
    assert handed_back(bench, at=9) == ("assigned", 0, "empty")


def test_a_gap_leaves_no_window_warm(bench: Bench) -> None:
    assert handed_back(bench, gap=1) == ("assigned", 0, "empty")


def test_a_first_start_leaves_no_window_warm(bench: Bench) -> None:
    assert handed_back(bench, first_start=True) == ("assigned", 0, "empty")


def test_windows_of_a_topic_whose_id_is_unknown_are_not_trusted(bench: Bench) -> None:
    bench.planner.ids.clear()
    assert handed_back(bench) == ("assigned", 0, "empty")


def test_windows_of_a_topic_made_anew_are_not_trusted(bench: Bench) -> None:
    bench.assign(0)
    bench.poll(bench.consumer.revoke_later(0))
    bench.planner.ids["events"] = "another"
    bench.assign(0)
    assert bench.listener.told[-1] == ("assigned", 0, "empty")


def test_windows_grow_cold_after_some_minutes(bench: Bench) -> None:
    bench.assign(0)
    bench.poll(bench.consumer.revoke_later(0))
    bench.now_s = WARM_S
    bench.poll()
    assert ("cold", 0) not in bench.listener.told
    bench.now_s = WARM_S + 1
    bench.poll()
    assert bench.listener.told[-1] == ("cold", 0)


def test_half_filled_windows_are_not_kept_warm(bench: Bench) -> None:
    bench.plan(0, 5, 8)
    bench.assign(0)
    bench.poll(bench.consumer.revoke_later(0))
    assert bench.listener.told[-1] == ("cold", 0)


def test_warm_windows_are_given_up_with_all_others(bench: Bench) -> None:
    bench.assign(0)
    bench.poll(bench.consumer.revoke_later(0))
    bench.source.forget_warm()
    assert bench.listener.told[-1] == ("cold", 0)
    bench.assign(0)
    assert bench.listener.told[-1] == ("assigned", 0, "empty")


# ---- what is committed


def test_an_offset_is_committed_with_its_checkpoint(bench: Bench) -> None:
    bench.assign(0, 1)
    (place,) = bench.committable({1: 70}, lo=60)
    assert (place.topic, place.partition, place.offset) == ("events", 1, 70)
    assert Checkpoint.decode(place.metadata) == Checkpoint(lo=60, spec=SPEC, np=4)


@pytest.mark.parametrize(("lo", "written"), [(10, 20), (90, 70), (65, 65)])
def test_the_oldest_needed_offset_lies_within_the_lookback(bench: Bench, lo: int, written: int) -> None:
    bench.assign(0)
    found = Checkpoint.decode(bench.committable({0: 70}, lo=lo)[0].metadata)
    assert found is not None
    assert found.lo == written


def test_missing_rows_are_recorded_as_long_as_a_window_may_reach_them(bench: Bench) -> None:
    bench.plan(0, 30, missing_before=30)
    bench.assign(0)
    for offset, told in ((79, 30), (80, None)):
        found = Checkpoint.decode(bench.committable({0: offset})[0].metadata)
        assert found is not None
        assert found.tr == told


def test_the_recorded_partition_count_is_handed_on_when_the_topic_has_grown(bench: Bench) -> None:
    bench.plan(0, 5, np=2)
    bench.assign(0, 3)
    counts = [Checkpoint.decode(place.metadata).np for place in bench.committable({0: 6, 1: 1})]
    assert counts == [2, 4]


def test_the_partition_count_of_the_very_first_start_stays_when_the_topic_grows(bench: Bench) -> None:
    bench.plan(0, 5, first_start=True)
    bench.assign(0)
    bench.planner.counts["events"] = 6
    bench.assign(5)
    assert [Checkpoint.decode(place.metadata).np for place in bench.committable({0: 6})] == [4]


def test_warm_windows_miss_no_more_than_before(bench: Bench) -> None:
    bench.assign(0)
    bench.poll(bench.consumer.revoke_later(0))
    bench.plan(0, 0, missing_before=3)
    bench.assign(0)
    assert bench.listener.told[-1] == ("assigned", 0, "warm")
    assert [Checkpoint.decode(place.metadata).tr for place in bench.committable({0: 6})] == [None]


def test_offsets_of_partitions_that_went_are_left_out(bench: Bench) -> None:
    bench.assign(0, 1)
    bench.poll(bench.consumer.revoke_later(0))
    assert [place.partition for place in bench.committable({0: 5, 1: 6})] == [1]


def test_idle_positions_step_over_markers(bench: Bench) -> None:
    bench.assign(0, 1, 2)
    bench.poll(messages=[*messages(0, 1), end(4), end(3, partition=1)])
    assert bench.source.idle_offsets(()) == {0: 4, 1: 3}
    assert bench.source.idle_offsets([0]) == {1: 3}
    bench.source.note_committed({0: 4, 1: 3})
    assert bench.source.idle_offsets(()) == {}


def test_nothing_is_idle_during_a_refill(bench: Bench) -> None:
    bench.plan(0, 5, 8)
    bench.assign(0)
    bench.poll(messages=[*messages(5), end(7)])
    assert bench.source.idle_offsets(()) == {}


def test_a_first_start_is_due_until_it_is_committed(bench: Bench) -> None:
    bench.plan(0, 9, first_start=True)
    bench.assign(0)
    assert bench.source.idle_offsets(()) == {0: 9}
    bench.source.note_committed({0: 9})
    assert bench.source.idle_offsets(()) == {}


def test_a_plain_commit_tells_of_each_partitions_error(bench: Bench) -> None:
    class Refused:
        error = kafka_error(KafkaError.TOPIC_AUTHORIZATION_FAILED)

    bench.consumer.commit = lambda **_: [Refused()]
    bench.source.commit([])
    with pytest.raises(KafkaException):
        bench.source.commit([KafkaTopicPartition("events", 0, 5)])


# ---- what is told of it


def test_lag_counts_from_the_committed_offset(bench: Bench) -> None:
    bench.plan(0, 30)
    bench.assign(0)
    bench.poll(messages=messages(30, 31))
    assert bench.source.lag() == {("events", 0): 70}
    bench.consumer.high = 10
    assert bench.source.lag() == {("events", 0): 0}


def test_topics_with_as_many_partitions_are_copartitioned() -> None:
    bench = Bench(topics=("events", "more"))
    bench.planner.counts["more"] = 8
    assert bench.source.copartitioned(4) == {"events"}
    assert bench.source.copartitioned(8) == {"more"}


def test_leaving_closes_the_consumer(bench: Bench) -> None:
    bench.source.close()
    assert bench.consumer.closed
