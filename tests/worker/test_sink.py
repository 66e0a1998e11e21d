"""The producer's door: what a failed call is judged to be, what a full queue means, what ends with the worker."""

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from tests.simulator.refusal import kafka_error
from worker.batch import Outgoing, OutgoingRecord
from worker.errors import BrokerError, FencedError, ProducerLostError, TransactionAbortedError
from worker.sink import IdempotentSink, TransactionalSink

TRANSACTION_TIMEOUT_S = 10.0
Fault = Callable[[], None]


def refusing(code: int, *, abortable: bool = False, fatal: bool = False, retriable: bool = False) -> Fault:
    """A call that fails so."""

    def fail() -> None:
        raise KafkaException(kafka_error(code, abortable=abortable, fatal=fatal, retriable=retriable))

    return fail


def full() -> None:
    raise BufferError("Local: Queue full")


class ScriptedProducer:
    """Notes every call; each may be told to fail first, and deliveries to fail at the next call that waits."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.produced: list[tuple[object, ...]] = []
        self.faults: dict[str, deque[Fault]] = {}
        self.undeliverable: list[tuple[KafkaError, str]] = []
        self.waiting = 0

    def fail(self, call: str, *faults: Fault) -> None:
        self.faults.setdefault(call, deque()).extend(faults)

    def _called(self, call: str) -> None:
        if self.faults.get(call):
            self.faults[call].popleft()()
        self.calls.append(call)

    def _tell_deliveries(self) -> None:
        for (error, topic), (*_, note) in zip(self.undeliverable, self._with_callbacks(), strict=False):
            note(error, Message(topic=topic))
        self.undeliverable = []

    def _with_callbacks(self) -> list[tuple[object, ...]]:
        return [row[:5] for row in self.produced]

    def init_transactions(self, timeout: float) -> None:
        self._called("init")

    def begin_transaction(self) -> None:
        self._called("begin")

    def produce(self, *arguments: object) -> None:
        self._called("produce")
        self.produced.append(arguments)

    def poll(self, timeout: float) -> int:
        self._called("poll")
        return 0

    def flush(self, timeout: float) -> int:
        self._called("flush")
        self._tell_deliveries()
        return self.waiting

    def send_offsets_to_transaction(self, offsets: Sequence[TopicPartition], metadata: object, timeout: float) -> None:
        self._called(f"offsets {[place.offset for place in offsets]} of {metadata}")

    def commit_transaction(self, timeout: float) -> None:
        self._tell_deliveries()
        self._called("commit")

    def abort_transaction(self, timeout: float) -> None:
        self._called("abort")


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Member:
    """A committer that says each time anew what the group knows of it."""

    def __init__(self, *faults: Fault) -> None:
        self.asked = 0
        self.committed: list[list[TopicPartition]] = []
        self._faults = deque(faults)

    def group_metadata(self) -> object:
        self.asked += 1
        return f"generation {self.asked}"

    def commit(self, offsets: list[TopicPartition]) -> None:
        if self._faults:
            self._faults.popleft()()
        self.committed.append(offsets)


class Bench:
    """A transactional sink, its producers and its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.producers: list[ScriptedProducer] = []
        self.next_start: Fault | None = None
        self.next_making: BrokerError | None = None
        self.sink = TransactionalSink(
            self._make,
            output_topic="scores",
            group_id="job",
            transactional_id="job-7",
            transaction_timeout_s=TRANSACTION_TIMEOUT_S,
            clock=self.clock,
        )
        self.sink.renew(1.0)

    def _make(self) -> ScriptedProducer:
        if self.next_making is not None:
            failure, self.next_making = self.next_making, None
            raise failure
        self.producers.append(ScriptedProducer())
        if self.next_start is not None:
            self.producer.fail("init", self.next_start)
            self.next_start = None
        return self.producer

    @property
    def producer(self) -> ScriptedProducer:
        return self.producers[-1]

    def commit(self) -> None:
        self.sink.start_commit([TopicPartition("in", 0, 7)], Member(), timeout_s=1.0)()


@pytest.fixture
def bench() -> Bench:
    return Bench()


LETTER = OutgoingRecord("dead", b"k9", b"v9", -1, 9, (("reason", b"empty"),))


def batch(count: int = 3, *, letters: Sequence[OutgoingRecord] = (), headers: bool = False) -> Outgoing:
    return Outgoing(
        key=[b"k%d" % row for row in range(count)],
        value=[f"v{row}" for row in range(count)],
        partition=list(range(count)),
        timestamp=[1_000 + row for row in range(count)],
        headers=[(("h", b"%d" % row),) for row in range(count)] if headers else None,
        anomaly=np.zeros(count, np.bool_),
        dead_letters=list(letters),
    )


def values(producer: ScriptedProducer) -> list[object]:
    return [row[1] for row in producer.produced]


# ---- a transaction


def test_scores_dead_letters_and_offsets_are_one_transaction(bench: Bench) -> None:
    bench.sink.publish(batch(1))
    bench.sink.publish(batch(1, letters=[LETTER]))
    bench.commit()
    assert bench.producer.calls == [
        *["init", "begin", "produce", "poll", "produce", "produce", "poll"],
        *["offsets [7] of generation 1", "commit"],
    ]


def test_each_row_goes_out_with_its_own_columns(bench: Bench) -> None:
    bench.sink.publish(batch(2, headers=True, letters=[LETTER]))
    rows = [(*row[:4], *row[6:]) for row in bench.producer.produced]
    assert rows == [
        ("scores", "v0", b"k0", 0, 1_000, (("h", b"0"),)),
        ("scores", "v1", b"k1", 1, 1_001, (("h", b"1"),)),
        ("dead", b"v9", b"k9", -1, 9, (("reason", b"empty"),)),
    ]


def test_a_transaction_begins_with_its_first_batch_and_after_each_commit_anew(bench: Bench) -> None:
    assert "begin" not in bench.producer.calls
    for _ in range(2):
        bench.sink.publish(batch(1))
        bench.commit()
    assert bench.producer.calls.count("begin") == 2


def test_offsets_alone_are_a_transaction_too(bench: Bench) -> None:
    bench.commit()
    assert bench.producer.calls == ["init", "begin", "offsets [7] of generation 1", "commit"]


def test_the_groups_word_on_this_member_is_taken_anew_for_each_transaction(bench: Bench) -> None:
    member = Member()
    for _ in range(2):
        bench.sink.start_commit([TopicPartition("in", 0, 7)], member, timeout_s=1.0)()
    assert "offsets [7] of generation 2" in bench.producer.calls


def test_where_there_are_no_offsets_none_are_sent(bench: Bench) -> None:
    bench.sink.publish(batch(1))
    bench.sink.start_commit([], Member(), timeout_s=1.0)()
    assert bench.producer.calls[-2:] == ["poll", "commit"]


# ---- what a failed call means


@pytest.mark.parametrize("call", ["offsets [7] of generation 1", "commit"])
def test_an_abortable_failure_is_aborted_and_the_producer_lives_on(bench: Bench, call: str) -> None:
    bench.sink.publish(batch(1))
    bench.producer.fail(call, refusing(KafkaError.UNKNOWN_MEMBER_ID, abortable=True))
    with pytest.raises(TransactionAbortedError):
        bench.commit()
    assert bench.producer.calls[-1] == "abort"
    bench.sink.publish(batch(1))
    bench.commit()
    assert bench.producer.calls[-1] == "commit"


def test_an_abort_that_fails_loses_the_producer(bench: Bench) -> None:
    bench.sink.publish(batch(1))
    bench.producer.fail("commit", refusing(KafkaError._FAIL, abortable=True))
    bench.producer.fail("abort", refusing(KafkaError._TIMED_OUT, retriable=True))
    with pytest.raises(ProducerLostError, match="could not be aborted"):
        bench.commit()


@pytest.mark.parametrize("call", ["begin", "produce", "offsets [7] of generation 1", "commit"])
@pytest.mark.parametrize("error", [{"retriable": True}, {"fatal": True}, {}])
def test_whatever_else_fails_leaves_the_outcome_open_and_loses_the_producer(
    bench: Bench, call: str, error: dict[str, bool]
) -> None:
    bench.producer.fail(call, refusing(KafkaError._TIMED_OUT, **error))
    with pytest.raises(ProducerLostError):
        publish_and_commit(bench)
    assert "abort" not in bench.producer.calls


def publish_and_commit(bench: Bench) -> None:
    bench.sink.publish(batch(1))
    bench.commit()


def test_after_a_loss_a_new_producer_begins_anew(bench: Bench) -> None:
    bench.producer.fail("commit", refusing(KafkaError._TIMED_OUT, retriable=True))
    with pytest.raises(ProducerLostError):
        publish_and_commit(bench)
    bench.sink.renew(1.0)
    publish_and_commit(bench)
    assert bench.producers[1].calls[:2] == ["init", "begin"]


def test_a_producer_that_cannot_sign_in_now_is_tried_again(bench: Bench) -> None:
    bench.next_making = BrokerError("AWS gave no token.")
    with pytest.raises(ProducerLostError, match="AWS gave no token"):
        bench.sink.renew(1.0)
    bench.sink.renew(1.0)
    publish_and_commit(bench)
    assert bench.producers[1].calls[:2] == ["init", "begin"]


def test_nothing_goes_through_a_producer_that_is_lost(bench: Bench) -> None:
    bench.producer.fail("commit", refusing(KafkaError._TIMED_OUT, retriable=True))
    with pytest.raises(ProducerLostError):
        publish_and_commit(bench)
    before = list(bench.producer.calls)
    with pytest.raises(ProducerLostError):
        bench.commit()
    with pytest.raises(ProducerLostError):
        bench.sink.publish(batch(1))
    bench.sink.discard()
    bench.sink.close(1.0)
    assert bench.producer.calls == before


def test_nothing_is_committed_after_the_sink_is_closed(bench: Bench) -> None:
    publish_and_commit(bench)
    bench.sink.close(1.0)
    with pytest.raises(ProducerLostError):
        bench.commit()


FENCING = [KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH]


@pytest.mark.parametrize("code", FENCING)
def test_fenced_while_young_means_somebody_else_has_the_same_id(bench: Bench, code: int) -> None:
    bench.sink.publish(batch(1))
    bench.clock.now_s += TRANSACTION_TIMEOUT_S - 0.1
    bench.producer.fail("commit", refusing(code, fatal=True))
    with pytest.raises(FencedError, match=r"Another process uses the transactional.id 'job-7'"):
        bench.commit()


@pytest.mark.parametrize("code", FENCING)
def test_fenced_when_older_than_the_timeout_was_the_brokers_doing(bench: Bench, code: int) -> None:
    bench.sink.publish(batch(1))
    bench.clock.now_s += TRANSACTION_TIMEOUT_S
    bench.producer.fail("commit", refusing(code, fatal=True))
    with pytest.raises(ProducerLostError, match="outlived its timeout"):
        bench.commit()


def test_fenced_after_a_start_that_failed_may_have_been_that_start_until_a_later_commit_shows_otherwise(
    bench: Bench,
) -> None:
    bench.next_start = refusing(KafkaError._TIMED_OUT, retriable=True)
    with pytest.raises(ProducerLostError):
        bench.sink.renew(1.0)

    def fenced() -> None:
        bench.sink.publish(batch(1))
        bench.producer.fail("commit", refusing(KafkaError._FENCED, fatal=True))
        bench.commit()

    bench.sink.renew(1.0)
    publish_and_commit(bench)
    bench.clock.now_s += 61.0  # it may have come and was not noticed yet
    with pytest.raises(ProducerLostError, match="came late"):
        fenced()
    bench.sink.renew(1.0)
    publish_and_commit(bench)
    with pytest.raises(FencedError):
        fenced()


def test_a_producer_that_began_after_every_late_start_was_fenced_by_somebody_else(bench: Bench) -> None:
    """Nothing was committed in between: two workers of one id that fence each other must not go on for ever."""
    bench.next_start = refusing(KafkaError._TIMED_OUT, retriable=True)
    with pytest.raises(ProducerLostError):
        bench.sink.renew(1.0)
    for waited_s, ends in ((59.0, ProducerLostError), (1.0, FencedError)):
        bench.clock.now_s += waited_s
        bench.sink.renew(1.0)
        bench.sink.publish(batch(1))
        bench.producer.fail("commit", refusing(KafkaError._FENCED, fatal=True))
        with pytest.raises(ends):
            bench.commit()


def test_fencing_is_seen_in_a_failed_delivery_too(bench: Bench) -> None:
    bench.sink.publish(batch(1))
    bench.producer.undeliverable = [(kafka_error(KafkaError.INVALID_PRODUCER_EPOCH), "scores")]
    bench.producer.fail("commit", refusing(KafkaError._FAIL, abortable=True))
    with pytest.raises(FencedError):
        bench.commit()


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "no right to write topic 'scores': grant Write"),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "as transactional.id 'job-7': grant Write"),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, "grant IdempotentWrite"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "grant Read on the group"),
    ],
)
def test_a_missing_right_is_a_sentence_that_ends_the_worker(bench: Bench, code: int, sentence: str) -> None:
    bench.producer.fail("commit", refusing(code, fatal=True))
    with pytest.raises(BrokerError, match=sentence) as ended:
        publish_and_commit(bench)
    assert str(ended.value).endswith(".")


def test_a_missing_right_at_the_start_is_a_sentence_too(bench: Bench) -> None:
    bench.sink.renew(1.0)
    made = bench._make

    def refused() -> ScriptedProducer:
        producer = made()
        producer.fail("init", refusing(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal=True))
        return producer

    bench.sink._publisher._make_producer = refused
    with pytest.raises(BrokerError, match=r"transactional.id 'job-7'"):
        bench.sink.renew(1.0)


def test_a_right_missing_on_the_dead_letter_topic_names_that_topic(bench: Bench) -> None:
    bench.sink.publish(batch(1))
    bench.producer.undeliverable = [(kafka_error(KafkaError.TOPIC_AUTHORIZATION_FAILED), "dead")]
    bench.producer.fail("commit", refusing(KafkaError._FAIL, abortable=True))
    with pytest.raises(BrokerError, match="write topic 'dead'"):
        bench.commit()
    assert bench.producer.calls[-1] == "abort"


def test_a_missing_right_of_an_unknown_topic_names_all_that_were_written_to(bench: Bench) -> None:
    """A topic may be refused when it is added to the transaction: then no record reports it."""
    bench.sink.publish(batch(1, letters=[LETTER]))
    bench.producer.fail("commit", refusing(KafkaError.TOPIC_AUTHORIZATION_FAILED, abortable=True))
    with pytest.raises(BrokerError, match="write topic 'dead' or 'scores': grant Write"):
        bench.commit()


def test_a_record_refused_as_too_large_says_what_to_raise(bench: Bench) -> None:
    bench.sink.publish(batch(1))
    bench.producer.undeliverable = [(kafka_error(KafkaError.MSG_SIZE_TOO_LARGE), "dead")]
    bench.producer.fail("commit", refusing(KafkaError._FAIL, abortable=True))
    with pytest.raises(BrokerError, match=r"'dead' refuses a record as too large: raise its max.message.bytes"):
        bench.commit()


def test_a_failed_delivery_is_the_cause_that_is_told(bench: Bench) -> None:
    bench.sink.publish(batch(1))
    bench.producer.undeliverable = [(kafka_error(KafkaError._MSG_TIMED_OUT), "scores")]
    bench.producer.fail("commit", refusing(KafkaError._FAIL, abortable=True))
    with pytest.raises(TransactionAbortedError, match=r"Message timed out"):
        bench.commit()


def test_what_an_abort_purges_is_no_failed_delivery(bench: Bench) -> None:
    bench.sink.publish(batch(1))
    bench.producer.undeliverable = [(kafka_error(KafkaError._PURGE_QUEUE), "scores")]
    bench.producer.fail("commit", refusing(KafkaError.UNKNOWN_MEMBER_ID, abortable=True))
    with pytest.raises(TransactionAbortedError, match=r"[Uu]nknown member"):
        bench.commit()


# ---- a full queue


@pytest.mark.parametrize("headers", [False, True])
@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_full_queue_loses_repeats_and_reorders_nothing(bench: Bench, row: int, *, headers: bool) -> None:
    bench.producer.fail("produce", *[lambda: None] * row, full, full)
    bench.sink.publish(batch(3, letters=[LETTER], headers=headers))
    assert values(bench.producer) == ["v0", "v1", "v2", b"v9"]
    expected = [(("h", b"%d" % number),) if headers else () for number in range(3)]
    assert [tuple(row[7]) if len(row) > 7 else () for row in bench.producer.produced[:3]] == expected


def test_a_queue_that_is_full_at_every_row_loses_nothing_either(bench: Bench) -> None:
    bench.producer.fail("produce", *[full, lambda: None] * 4)
    bench.sink.publish(batch(4, letters=[LETTER]))
    assert values(bench.producer) == ["v0", "v1", "v2", "v3", b"v9"]


# ---- giving up and letting go


def test_discarding_aborts_what_is_open_and_nothing_else(bench: Bench) -> None:
    bench.sink.discard()
    assert "abort" not in bench.producer.calls
    bench.sink.publish(batch(1))
    bench.sink.discard()
    bench.sink.discard()
    assert bench.producer.calls.count("abort") == 1


def test_a_worker_that_ends_leaves_no_transaction_open(bench: Bench) -> None:
    bench.sink.publish(batch(1))
    bench.sink.close(1.0)
    bench.sink.close(1.0)
    assert bench.producer.calls.count("abort") == 1


def test_a_worker_that_committed_everything_has_nothing_to_abort(bench: Bench) -> None:
    publish_and_commit(bench)
    bench.sink.close(1.0)
    assert "abort" not in bench.producer.calls


def test_nothing_can_be_published_before_a_producer_is_there() -> None:
    sink = IdempotentSink(ScriptedProducer, output_topic="scores")
    with pytest.raises(ProducerLostError):
        sink.publish(batch(1))


# ---- at least once


class IdempotentBench:
    def __init__(self) -> None:
        self.producer = ScriptedProducer()
        self.sink = IdempotentSink(lambda: self.producer, output_topic="scores")
        self.sink.renew(1.0)
        self.sink.publish(batch(2))


@pytest.fixture
def at_least_once() -> IdempotentBench:
    return IdempotentBench()


def test_offsets_are_committed_after_everything_was_delivered(at_least_once: IdempotentBench) -> None:
    member = Member()
    at_least_once.sink.start_commit([TopicPartition("in", 0, 7)], member, timeout_s=1.0)()
    assert at_least_once.producer.calls[-1] == "flush"
    assert [[place.offset for place in offsets] for offsets in member.committed] == [[7]]


def test_what_is_not_delivered_is_not_committed(at_least_once: IdempotentBench) -> None:
    member = Member()
    at_least_once.producer.waiting = 2
    with pytest.raises(ProducerLostError, match="2 records were not delivered"):
        at_least_once.sink.start_commit([TopicPartition("in", 0, 7)], member, timeout_s=1.0)()
    assert member.committed == []


def test_a_failed_delivery_is_not_committed(at_least_once: IdempotentBench) -> None:
    member = Member()
    at_least_once.producer.undeliverable = [(kafka_error(KafkaError._MSG_TIMED_OUT), "scores")]
    with pytest.raises(ProducerLostError, match="timed out"):
        at_least_once.sink.start_commit([TopicPartition("in", 0, 7)], member, timeout_s=1.0)()
    assert member.committed == []


def test_a_missing_right_ends_an_at_least_once_worker_too(at_least_once: IdempotentBench) -> None:
    at_least_once.producer.undeliverable = [(kafka_error(KafkaError.TOPIC_AUTHORIZATION_FAILED), "scores")]
    with pytest.raises(BrokerError, match="write topic 'scores'"):
        at_least_once.sink.start_commit([], Member(), timeout_s=1.0)()


def test_a_refused_commit_is_read_again(at_least_once: IdempotentBench) -> None:
    with pytest.raises(TransactionAbortedError):
        at_least_once.sink.start_commit([], Member(refusing(KafkaError.ILLEGAL_GENERATION)), timeout_s=1.0)()


def test_a_commit_that_may_be_done_leaves_the_outcome_open(at_least_once: IdempotentBench) -> None:
    commit = at_least_once.sink.start_commit([], Member(refusing(KafkaError._TIMED_OUT)), timeout_s=1.0)
    with pytest.raises(ProducerLostError):
        commit()


def test_ending_delivers_what_is_waiting(at_least_once: IdempotentBench) -> None:
    at_least_once.sink.discard()
    at_least_once.sink.close(1.0)
    assert at_least_once.producer.calls[-1] == "flush"


def test_an_idempotent_sink_that_never_began_closes() -> None:
    IdempotentSink(lambda: pytest.fail("no producer is needed"), output_topic="scores").close(1.0)


# ---- what the client tells


def test_the_client_is_heard_where_nothing_is_published(bench: Bench) -> None:
    bench.sink.listen()
    assert bench.producer.calls[-1] == "poll"


def test_a_fatal_error_that_is_heard_by_the_way_is_judged_as_everywhere(bench: Bench) -> None:
    bench.producer.fail("poll", refusing(KafkaError._FENCED, fatal=True))
    with pytest.raises(FencedError, match="Another process uses the transactional"):
        bench.sink.listen()


def test_an_idempotent_sink_is_lost_with_a_fatal_error_that_is_heard_by_the_way() -> None:
    producer = ScriptedProducer()
    sink = IdempotentSink(lambda: producer, output_topic="scores")
    sink.renew(1.0)
    producer.fail("poll", refusing(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=True))
    with pytest.raises(ProducerLostError):
        sink.listen()


def test_before_there_is_a_producer_nothing_is_heard() -> None:
    IdempotentSink(ScriptedProducer, output_topic="scores").listen()
