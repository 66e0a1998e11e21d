"""The producer's door: rendered batches go in, published and committed together or not at all.

It knows no event and no window. Two kinds of one shape: `TransactionalSink` (exactly once) and `IdempotentSink` (at
least once). Every failed call becomes one of three: the transaction was aborted and the producer lives on, the
producer is lost (R6), or a sentence that ends the worker.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import repeat
from operator import length_hint
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from worker.batch import Headers, Outgoing
from worker.bounded import beside
from worker.errors import BrokerError, FencedError, ProducerLostError, TransactionAbortedError
from worker.failpoints import reach

if TYPE_CHECKING:
    from concurrent.futures import Future

_QUEUE_PATIENCE_S = 10.0
_LATE_S = 60.0
"""A request that was given up may reach the brokers so much later: the client's socket.timeout.ms."""

_GRACE_S = 1.0
"""What a call is given beyond its own time limit."""

_FENCED = frozenset(
    {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}  # noqa: SLF001 - public names
)
_REFUSED_TO_STRANGERS = frozenset(
    {
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
    }
)
"""Commits that the group's coordinator refuses for certain: nothing of them was done."""

_RIGHTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "There is no right to write topic {topic}: grant Write on it",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: (
        "There is no right to write as transactional.id {transactional_id!r}: grant Write on that transactional id"
    ),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "There is no right to write idempotently: grant IdempotentWrite",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "There is no right to read as group {group_id!r}: grant Read on the group",
    KafkaError.MSG_SIZE_TOO_LARGE: (
        "Topic {topic} refuses a record as too large: raise its max.message.bytes above events.max_bytes + 48,000"
    ),
    KafkaError.INVALID_TIMESTAMP: (
        "Topic {topic} refuses a record's timestamp, which is the event's: set its message.timestamp.before.max.ms and "
        "message.timestamp.after.max.ms as they are on the input topic"
    ),
}


Settle: TypeAlias = Callable[[], None]
"""Waits for the end of a commit: when it returns, all of it is delivered and committed. Raises what went wrong."""


class Committer(Protocol):
    """Who knows the group: the source."""

    def group_metadata(self) -> object:
        """This member as the group knows it now."""

    def commit(self, offsets: list[TopicPartition]) -> None:
        """Commit outside a transaction."""


class Sink(Protocol):
    """Publishes batches, and commits the offsets that they answer."""

    def renew(self, timeout_s: float) -> None:
        """A new producer, in whose name nothing is under way any more."""

    def publish(self, outgoing: Outgoing) -> None:
        """Hand a batch to the client."""

    def start_commit(self, offsets: list[TopicPartition], committer: Committer, *, timeout_s: float) -> Settle:
        """Begin to commit all that was published, with `offsets`. Nothing may be published before it is settled."""

    @property
    def is_committing(self) -> bool:
        """Whether settling the commit that was begun last would have to wait."""

    def listen(self) -> None:
        """Hear what the client tells, however little there is to publish: unheard, it would gather in memory."""

    def discard(self) -> None:
        """Give up what was published since the last commit."""

    def close(self, timeout_s: float) -> None:
        """Let go of the brokers."""


class _Publisher:
    """One producer and the way batches go into it."""

    def __init__(self, make_producer: Callable[[], Producer], *, output_topic: str) -> None:
        self._make_producer = make_producer
        self._output_topic = output_topic
        self._producer: Producer | None = None
        self._undelivered: tuple[KafkaError, str] | None = None
        self._written = {output_topic}

    @property
    def producer(self) -> Producer:
        if self._producer is None:
            raise ProducerLostError("nothing goes through a producer that was given up")
        return self._producer

    @property
    def has_producer(self) -> bool:
        """Whether anything can be published."""
        return self._producer is not None

    def give_up(self) -> None:
        """Nothing goes through this producer any more, whatever is asked of it, until `renew` (R6)."""
        self._producer = None

    def lost(self, why: str) -> ProducerLostError:
        """Give the producer up; to be raised."""
        self.give_up()
        return ProducerLostError(why)

    def renew(self) -> None:
        """Another producer; what the former held is thrown away. Raises ProducerLostError where none can sign in."""
        self._undelivered = None
        try:
            self._producer = self._make_producer()
        except BrokerError as failure:
            raise self.lost(str(failure)) from failure

    def note_delivery(self, error: KafkaError | None, message: Message) -> None:
        """Called by the client for each record that could not be delivered."""
        if error is not None and error.code() != KafkaError._PURGE_QUEUE:  # noqa: SLF001 - a local error's public name
            self._undelivered = self._undelivered or (error, message.topic() or self._output_topic)

    def listen(self) -> None:
        """Let the client call back."""
        if self._producer is not None:
            self._producer.poll(0)

    def take_undelivered(self) -> tuple[KafkaError, str] | None:
        """The first failed delivery since this was last asked."""
        first, self._undelivered = self._undelivered, None
        return first

    def topics_refused(self, undelivered: tuple[KafkaError, str] | None) -> str:
        """Quoted, where a topic was refused: all that were written to where no report tells which."""
        return " or ".join(map(repr, sorted(self._written) if undelivered is None else [undelivered[1]]))

    def publish(self, outgoing: Outgoing) -> None:
        """Hand every record of the batch to the client, in order. Raises BufferError, KafkaException."""
        note = self.note_delivery
        columns: list[Iterator[object]] = [
            iter(outgoing.value),
            iter(outgoing.key),
            iter(outgoing.partition),
            repeat(note),
            repeat(None),  # the client takes a delivery callback in two places
            iter(outgoing.timestamp),
        ]
        if outgoing.headers is not None:
            columns.append(iter(outgoing.headers))
        self._produce_all(columns, outgoing)
        reach("mid_produce", self.producer.flush)
        self._written.update(letter.topic for letter in outgoing.dead_letters)
        for letter in outgoing.dead_letters:
            self._produce_one(
                letter.topic, letter.value, letter.key, letter.partition, note, None, letter.timestamp, letter.headers
            )
        self.producer.poll(0)

    def _produce_all(self, columns: list[Iterator[object]], outgoing: Outgoing) -> None:
        """`deque(map(...))` is the quickest way through the client; where its queue is full, go on after that row."""
        produce = self.producer.produce
        count = len(outgoing.value)
        while True:
            try:
                deque(map(produce, repeat(self._output_topic), *columns), 0)
            except BufferError:
                row = count - length_hint(columns[-1]) - 1  # the last column is a list's
                headers: Headers = outgoing.headers[row] if outgoing.headers is not None else ()
                self._produce_one(
                    self._output_topic,
                    outgoing.value[row],
                    outgoing.key[row],
                    outgoing.partition[row],
                    self.note_delivery,
                    None,
                    outgoing.timestamp[row],
                    headers,
                )
            else:
                return

    def _produce_one(self, *arguments: object) -> None:
        """Produce one record, waiting while the client's queue is full."""
        deadline = time.monotonic() + _QUEUE_PATIENCE_S
        while True:
            try:
                self.producer.produce(*arguments)  # type: ignore[arg-type]  # in the client's own order
            except BufferError:
                if time.monotonic() > deadline:
                    raise self.lost("the brokers took no record for 10 s") from None
                self.producer.poll(0.05)
            else:
                return


class TransactionalSink:
    """Scores, dead letters and offsets in one transaction: all of them become visible, or none.

    A transaction begins with its first batch, after inference, so that it stays short (R5).
    """

    def __init__(
        self,
        make_producer: Callable[[], Producer],
        *,
        output_topic: str,
        group_id: str,
        transactional_id: str,
        transaction_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        run: Callable[[Callable[[], None]], "Future[None]"] = beside,
    ) -> None:
        self._publisher = _Publisher(make_producer, output_topic=output_topic)
        self._run = run
        self._concluded: Future[None] | None = None
        self._names = {"group_id": group_id, "transactional_id": transactional_id}
        self._transaction_timeout_s = transaction_timeout_s
        self._clock = clock
        self._began_s: float | None = None
        self._late_until_s: float | None = None
        """Until when a start of ours that failed may reach the brokers and fence us; then until a commit, or another
        start, shows that it cannot have."""

    def renew(self, timeout_s: float) -> None:
        """A new producer; the brokers end what an earlier one of the same transactional.id left open."""
        self._began_s = None
        self._publisher.renew()
        began_s = self._clock()
        try:
            self._take_id(timeout_s)
        except ProducerLostError:
            self._late_until_s = self._clock() + _LATE_S
            raise
        # What fences a producer that began after them is none of them: two workers of one id would each blame itself.
        self._forget_late_starts(before_s=began_s)

    def _forget_late_starts(self, *, before_s: float) -> None:
        if self._late_until_s is not None and before_s >= self._late_until_s:
            self._late_until_s = None

    def _take_id(self, timeout_s: float) -> None:
        producer = self._publisher.producer
        try:
            self._call(timeout_s, lambda: producer.init_transactions(timeout_s))
        except KafkaException as failure:
            self._judge(failure)

    def publish(self, outgoing: Outgoing) -> None:
        """Hand a batch to the client, in the open transaction or in a new one."""
        try:
            self._begin()
            self._publisher.publish(outgoing)
        except KafkaException as failure:
            self._judge(failure)

    def _begin(self) -> None:
        if self._began_s is None:
            self._publisher.producer.begin_transaction()
            self._began_s = self._clock()

    def start_commit(self, offsets: list[TopicPartition], committer: Committer, *, timeout_s: float) -> Settle:
        """Commit the transaction with the offsets in it. The group's word on us is taken anew each time (R9)."""
        producer = self._publisher.producer
        member = committer.group_metadata() if offsets else None
        deadline_s = self._clock() + timeout_s

        def conclude() -> None:
            reach("flushed", producer.flush)
            if offsets:
                producer.send_offsets_to_transaction(offsets, member, timeout_s)
            reach("offsets_sent")
            reach("in_commit")
            producer.commit_transaction(max(0.0, deadline_s - self._clock()))
            reach("committed")

        try:
            self._begin()
        except KafkaException as failure:
            self._judge(failure)
        self._concluded = concluded = self._run(conclude)

        def settle() -> None:
            try:
                self._wait(concluded, timeout_s)
            except KafkaException as failure:
                self._judge(failure)
            self._began_s = None
            self._forget_late_starts(before_s=self._clock())

        return settle

    @property
    def is_committing(self) -> bool:
        """Whether the brokers have not answered yet."""
        return self._concluded is not None and not self._concluded.done()

    def listen(self) -> None:
        """Let the client call back; it may tell of a fatal error by the way."""
        try:
            self._publisher.listen()
        except KafkaException as failure:
            self._judge(failure)

    def _call(self, timeout_s: float, call: Callable[[], None]) -> None:
        self._wait(self._run(call), timeout_s)

    def _wait(self, call: "Future[None]", timeout_s: float) -> None:
        """For the end of a call to the transaction's or the group's coordinator.

        While a coordinator is away, librdkafka 2.16 may wait for it for ever, whatever limit it was given
        (github.com/confluentinc/librdkafka/issues/5456). The producer is given up then, as after any time-out (R6).
        """
        try:
            call.result(timeout_s + _GRACE_S)
        except TimeoutError as failure:
            raise self._publisher.lost("the transaction's coordinator did not answer in time") from failure

    @property
    def _is_open(self) -> bool:
        return self._began_s is not None and self._publisher.has_producer

    def discard(self) -> None:
        """Abort the open transaction, if there is one."""
        if not self._is_open:
            return
        producer, timeout_s = self._publisher.producer, self._transaction_timeout_s
        try:
            self._call(timeout_s, lambda: producer.abort_transaction(timeout_s))
        except KafkaException as failure:
            raise self._publisher.lost(f"the transaction could not be aborted: {failure.args[0].str()}") from failure
        finally:
            self._began_s = None

    def close(self, timeout_s: float) -> None:
        """Abort what is open, so that no reader waits for it. Nothing is published or committed after this."""
        if self._is_open:
            producer = self._publisher.producer
            # Where that fails, the brokers end the transaction once its timeout has passed.
            with contextlib.suppress(KafkaException, ProducerLostError):
                self._call(timeout_s, lambda: producer.abort_transaction(timeout_s))
        self._publisher.give_up()

    def _judge(self, failure: KafkaException) -> NoReturn:
        """What a failed call means: R6 for what is uncertain, an abort for what is not, a sentence for what stays."""
        error: KafkaError = failure.args[0]
        undelivered = self._publisher.take_undelivered()
        if error.code() in _FENCED or (undelivered is not None and undelivered[0].code() in _FENCED):
            self._judge_fencing(failure)
        cause = error if undelivered is None else undelivered[0]
        topic = self._publisher.topics_refused(undelivered)
        for one in (cause, error):
            if one.code() in _RIGHTS:
                self._give_up(_RIGHTS[one.code()].format(topic=topic, **self._names), failure)
        if error.txn_requires_abort():
            self.discard()
            raise TransactionAbortedError(cause.str()) from failure
        raise self._publisher.lost(cause.str()) from failure

    def _give_up(self, sentence: str, failure: KafkaException) -> NoReturn:
        if failure.args[0].txn_requires_abort():
            with contextlib.suppress(ProducerLostError):  # the sentence matters more
                self.discard()
        raise BrokerError(f"{sentence}.") from failure

    def _judge_fencing(self, failure: KafkaException) -> NoReturn:
        """Who did it: the brokers, once a transaction outlived its timeout; our own late request; or somebody else."""
        now_s = self._clock()
        if self._began_s is not None and now_s - self._began_s >= self._transaction_timeout_s:
            lost = self._publisher.lost("the transaction outlived its timeout and was fenced")
        elif self._late_until_s is not None:
            lost = self._publisher.lost("it was fenced by an earlier producer of this worker, whose start came late")
        else:
            self._publisher.give_up()
            raise FencedError(
                f"Another process uses the transactional.id {self._names['transactional_id']!r}: give each worker its "
                "own (kafka.transactional_id), or leave it out."
            ) from failure
        raise lost from failure


class IdempotentSink:
    """Scores and dead letters first, their offsets after them: after a fault some come again, none is lost."""

    def __init__(self, make_producer: Callable[[], Producer], *, output_topic: str) -> None:
        self._publisher = _Publisher(make_producer, output_topic=output_topic)

    def renew(self, timeout_s: float) -> None:
        """A new producer; `timeout_s` is not needed, it connects as it goes."""
        del timeout_s
        self._publisher.renew()

    def publish(self, outgoing: Outgoing) -> None:
        """Hand a batch to the client."""
        try:
            self._publisher.publish(outgoing)
        except KafkaException as failure:
            raise self._publisher.lost(failure.args[0].str()) from failure

    def start_commit(self, offsets: list[TopicPartition], committer: Committer, *, timeout_s: float) -> Settle:
        """Wait until everything is delivered, then commit: all of it when settled, for the consumer has one thread."""
        return lambda: self._commit(offsets, committer, timeout_s)

    @property
    def is_committing(self) -> bool:
        """Nothing goes on before it is settled."""
        return False

    def _commit(self, offsets: list[TopicPartition], committer: Committer, timeout_s: float) -> None:
        waiting = self._publisher.producer.flush(timeout_s)
        undelivered = self._publisher.take_undelivered()
        if undelivered is not None:
            error, _ = undelivered
            if error.code() in _RIGHTS:
                topic = self._publisher.topics_refused(undelivered)
                raise BrokerError(f"{_RIGHTS[error.code()].format(topic=topic, group_id='', transactional_id='')}.")
            raise self._publisher.lost(error.str())
        if waiting:
            raise self._publisher.lost(f"{waiting} records were not delivered within {timeout_s:g} s")
        reach("flushed")
        try:
            committer.commit(offsets)
        except KafkaException as failure:
            error = failure.args[0]
            if error.code() in _REFUSED_TO_STRANGERS:
                raise TransactionAbortedError(error.str()) from failure
            # It may be done: only who asks the brokers anew knows from where on to commit, never to go back (I8).
            raise self._publisher.lost(error.str()) from failure
        reach("committed")

    def listen(self) -> None:
        """Let the client call back; it may tell of a fatal error by the way."""
        try:
            self._publisher.listen()
        except KafkaException as failure:
            raise self._publisher.lost(failure.args[0].str()) from failure

    def discard(self) -> None:
        """What was handed over is on its way: it may come again."""

    def close(self, timeout_s: float) -> None:
        """Deliver what is still waiting; nothing, where it was told to end before it began."""
        if self._publisher.has_producer:
            self._publisher.producer.flush(timeout_s)
        self._publisher.give_up()
