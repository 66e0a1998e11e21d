"""Plans for assigned partitions, asked of a bus in memory: first starts, new partitions, patience, rights, gaps."""

from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from schemas.checkpoint import Checkpoint
from tests.log_record import LogRecord
from tests.memory_bus import MemoryBus, MemoryConsumer
from tests.simulator.refusal import kafka_error
from worker.assignment import Planner, ReadRules
from worker.batch import TopicPartition
from worker.errors import BrokerError, GapError, ProducerLostError
from worker.replay import Plan

GROUP = "machines"
SPEC = "0123456789abcdef"
FIRST = TopicPartition("events", 0)


class Cluster:
    """A bus with one input topic, and the group's only reader."""

    def __init__(self, *, partitions: int = 1, records: int = 10) -> None:
        self.bus = MemoryBus()
        self.bus.create("events", partitions=partitions)
        self.consumer: MemoryConsumer = self.bus.consumer({"group.id": GROUP})
        self.stopping = False
        self.pauses = 0
        for number in range(partitions):
            self.write(records, partition=number)

    def write(self, count: int, *, partition: int = 0) -> None:
        self.bus.write(LogRecord("events", partition, -1, 1_000 + row, b"k", b"{}") for row in range(count))

    def commit(self, offset: int, *, partition: int = 0, lo: int | None = None, np: int | None = None) -> None:
        metadata = "" if np is None else Checkpoint(lo=offset if lo is None else lo, spec=SPEC, np=np).encode()
        self.bus.offsets[GROUP, ("events", partition)] = KafkaTopicPartition(
            "events", partition, offset, metadata=metadata
        )

    def planner(self, *, start: str | int = "earliest", continue_on_gap: bool = False) -> Planner:
        rules = ReadRules(start=start, continue_on_gap=continue_on_gap, spec=SPEC, lookback_offsets=4)
        return Planner(
            rules,
            group_id=GROUP,
            topics=["events"],
            outlook=self.bus,
            stopping=lambda: self.stopping,
            clock=self.bus.clock,
            pause=self._pause,
        )

    def _pause(self, seconds: float) -> None:
        self.pauses += 1
        self.bus.now_s += seconds

    def plan(self, partition: int = 0, **rules: str | int | bool) -> Plan:
        asked = TopicPartition("events", partition)
        return self.planner(**rules).plans(self.consumer, [asked])[asked]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def failing(code: int) -> Callable[[], None]:
    def fail() -> None:
        raise KafkaException(kafka_error(code))

    return fail


# ---- the very first start


@pytest.mark.parametrize(
    ("start", "offset"), [("earliest", 0), ("latest", 10), (1_006, 6), (0, 0), (9_999, 10), (1_000, 0)]
)
def test_the_first_start_is_where_the_settings_say(cluster: Cluster, start: str | int, offset: int) -> None:
    assert cluster.plan(start=start) == Plan(position=max(0, offset - 4), committed=offset, first_start=True)


def test_a_first_start_at_the_earliest_is_at_the_logs_start(cluster: Cluster) -> None:
    cluster.bus.delete_before("events", 0, 3)
    taken_up = cluster.plan()
    assert (taken_up.position, taken_up.committed) == (3, 3)
    assert taken_up.gap == 0


def test_an_empty_partition_is_started_too() -> None:
    for start in ("earliest", "latest", 5):
        assert Cluster(records=0).plan(start=start) == Plan(position=0, committed=0, first_start=True)


# ---- partitions that came later


def test_a_partition_beyond_the_recorded_count_starts_at_its_logs_start() -> None:
    cluster = Cluster(partitions=3)
    for number in (0, 1):
        cluster.commit(10, partition=number, np=2)
    assert cluster.plan(2, start="latest") == Plan(position=0, committed=0, first_start=True)


def test_a_partition_within_the_recorded_count_starts_where_the_settings_say() -> None:
    cluster = Cluster(partitions=3)
    for number in (0, 1):
        cluster.commit(10, partition=number, np=3)
    assert cluster.plan(2, start="latest").committed == 10


def test_a_new_partition_stays_new_when_another_new_one_was_started_before_it() -> None:
    cluster = Cluster(partitions=4)
    for number, count in ((0, 2), (1, 2), (2, 4)):
        cluster.commit(10, partition=number, np=count)
    assert cluster.plan(3, start="latest").committed == 0


def test_without_a_recorded_count_no_partition_is_new() -> None:
    cluster = Cluster(partitions=2)
    cluster.commit(10, partition=0)
    assert cluster.plan(1, start="latest").committed == 10


# ---- going on


def test_each_partition_is_taken_up_where_it_stood() -> None:
    cluster = Cluster(partitions=2)
    cluster.commit(7, lo=5, np=2)
    cluster.commit(9, partition=1, lo=9, np=2)
    plans = cluster.planner().plans(cluster.consumer, [FIRST, TopicPartition("events", 1)])
    assert [(plan.position, plan.committed) for plan in plans.values()] == [(5, 7), (9, 9)]


def test_the_planner_remembers_the_topic_as_it_was(cluster: Cluster) -> None:
    planner = cluster.planner()
    assert planner.topic_id("events") == ""
    planner.plans(cluster.consumer, [FIRST])
    assert planner.partition_count("events") == 1
    assert planner.topic_id("events") == cluster.bus.topic_ids["events"]


def test_no_partitions_are_no_question(cluster: Cluster) -> None:
    cluster.bus.fail_next("committed", failing(KafkaError._TRANSPORT))
    assert cluster.planner().plans(cluster.consumer, []) == {}


def test_a_gap_is_refused_or_stepped_over(cluster: Cluster) -> None:
    cluster.commit(3, np=1)
    cluster.bus.delete_before("events", 0, 8)
    with pytest.raises(GapError, match=r"5 records of events-0 were deleted .* `on_gap: continue`"):
        cluster.plan()
    taken_up = cluster.plan(continue_on_gap=True)
    assert (taken_up.gap, taken_up.position, taken_up.committed) == (5, 8, 8)


def test_a_committed_offset_beyond_the_end_is_refused(cluster: Cluster) -> None:
    cluster.commit(99, np=1)
    with pytest.raises(GapError, match="99 of events-0, which ends at 10"):
        cluster.plan(continue_on_gap=True)


def test_a_committed_offset_behind_an_open_transaction_is_where_reading_goes_on(cluster: Cluster) -> None:
    producer = cluster.bus.producer({"transactional.id": "somebody", "transaction.timeout.ms": 10_000})
    producer.init_transactions()
    producer.begin_transaction()
    for _ in range(5):
        producer.produce("events", b"{}", b"k", 0)
    producer.flush()
    cluster.commit(15, np=1)
    assert cluster.consumer.get_watermark_offsets(KafkaTopicPartition("events", 0))[1] == 10
    assert cluster.plan().committed == 15


# ---- patience


def test_what_the_brokers_cannot_say_now_is_asked_again(cluster: Cluster) -> None:
    for call in ("count_partitions", "committed", "get_watermark_offsets", "offsets_for_times"):
        cluster.bus.fail_next(call, failing(KafkaError._TIMED_OUT), failing(KafkaError.NOT_COORDINATOR))
    assert cluster.plan(start=1_006).committed == 6
    assert cluster.pauses == 8


def test_somebodys_open_transaction_is_waited_for(cluster: Cluster) -> None:
    producer = cluster.bus.producer({"transactional.id": "dead", "transaction.timeout.ms": 10_000})
    producer.init_transactions()
    producer.begin_transaction()
    pending = KafkaTopicPartition("events", 0, 9, metadata=Checkpoint(lo=9, spec=SPEC, np=1).encode())
    producer.send_offsets_to_transaction([pending], cluster.consumer.consumer_group_metadata())
    cluster.commit(5, np=1)
    assert cluster.plan().committed == 5
    assert cluster.bus.now_s > 10


def test_brokers_that_stay_silent_are_given_up_and_everything_is_tried_anew(cluster: Cluster) -> None:
    cluster.bus.fail_next("committed", *[failing(KafkaError._TIMED_OUT)] * 1_000)
    with pytest.raises(ProducerLostError, match="did not tell where to start"):
        cluster.plan()
    assert 30 < cluster.bus.now_s < 60


def test_a_worker_that_is_told_to_stop_waits_no_longer(cluster: Cluster) -> None:
    cluster.stopping = True
    cluster.bus.fail_next("committed", failing(KafkaError._TIMED_OUT))
    with pytest.raises(ProducerLostError):
        cluster.plan()
    assert cluster.pauses == 0


@pytest.mark.parametrize(
    ("call", "code", "sentence"),
    [
        ("committed", KafkaError.GROUP_AUTHORIZATION_FAILED, "to read as group .machines.: grant Read on the group"),
        ("get_watermark_offsets", KafkaError.TOPIC_AUTHORIZATION_FAILED, "one of the topics events: grant Read"),
    ],
)
def test_a_missing_right_is_told_at_once(cluster: Cluster, call: str, code: int, sentence: str) -> None:
    cluster.bus.fail_next(call, failing(code))
    with pytest.raises(BrokerError, match=sentence):
        cluster.plan()
    assert cluster.pauses == 0
