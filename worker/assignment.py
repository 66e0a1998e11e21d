"""Assigned partitions in, a plan for each out: asks the brokers what was committed and where the log begins (R2-R4)."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from schemas.checkpoint import Checkpoint
from worker.batch import TopicPartition
from worker.errors import BrokerError, GapError, ProducerLostError
from worker.replay import Committed, Plan, first_start, resume

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_CALL_TIMEOUT_S = 5.0
_PAUSE_S = 0.2
_PATIENCE_S = 40.0
"""Another worker's open transaction hides committed offsets for up to 10 s, an election for some more; below the 60 s
after which the group gives up a member that does not poll."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRules:
    """What the settings say of where reading starts."""

    start: str | int
    """`earliest`, `latest` or epoch milliseconds: the group's very first start (R3)."""
    continue_on_gap: bool
    spec: str
    lookback_offsets: int


class Outlook(Protocol):
    """The topics as a client beside the group's consumer sees them.

    Plans are made in the consumer's rebalance callback. Its own `list_topics` would let it abort the process at its
    next callback (confluent-kafka 2.16 forgets there that a poll is under way), and its own idea of a log's end is
    where the oldest open transaction begins.
    """

    def ids(self) -> Mapping[str, str]:
        """What tells a topic from a later one of the same name; empty where it cannot be read."""

    def count_partitions(self, topic: str) -> int:
        """How many there are now. Raises KafkaException."""

    def log_end(self, partition: TopicPartition) -> int:
        """The offset after the last record, those of open transactions included. Raises KafkaException."""


class Planner:
    """Plans for assigned partitions; remembers how many partitions the topics had and which topics they were."""

    def __init__(
        self,
        rules: ReadRules,
        *,
        topics: Sequence[str],
        group_id: str,
        outlook: Outlook,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rules = rules
        self._topics = list(topics)
        self._group_id = group_id
        self._outlook = outlook
        self._topic_ids: Mapping[str, str] = {}
        self._counts: dict[str, int] = {}
        self._stopping = stopping
        self._clock = clock
        self._pause = pause

    @property
    def spec(self) -> str:
        """What windows and validity depend on (R4)."""
        return self._rules.spec

    @property
    def lookback_offsets(self) -> int:
        """L."""
        return self._rules.lookback_offsets

    def partition_count(self, topic: str) -> int:
        """How many partitions the topic had at the last assignment."""
        return self._counts[topic]

    def topic_id(self, topic: str) -> str:
        """The topic's id at the last assignment; empty where unknown."""
        return self._topic_ids.get(topic, "")

    def plans(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Plan]:
        """A plan for each partition.

        Raises GapError where records are gone and the settings say to fail, BrokerError where a right is missing,
        ProducerLostError where the brokers did not answer in time (everything is then tried anew).
        """
        if not partitions:
            return {}
        self._topic_ids = self._outlook.ids()
        for topic in self._topics:
            self._counts[topic] = self._patiently(partial(self._outlook.count_partitions, topic))
        committed = self._committed(consumer, partitions)
        return {partition: self._plan(consumer, partition, committed.get(partition)) for partition in partitions}

    def _plan(self, consumer: Consumer, partition: TopicPartition, committed: Committed | None) -> Plan:
        log_start, log_end = self._patiently(lambda: _bounds(consumer, partition))
        rules = self._rules
        if committed is None:
            start = self._first_offset(consumer, partition, log_start=log_start, log_end=log_end)
            return first_start(start, log_start=log_start, lookback_offsets=rules.lookback_offsets)
        plan = resume(committed, log_start=log_start, spec=rules.spec, lookback_offsets=rules.lookback_offsets)
        if committed.offset > log_end and committed.offset > (end := self._log_end(partition)):
            raise GapError(
                f"The group committed offset {committed.offset} of {_name(partition)}, which ends at {end}: the "
                "log was cut or the topic made anew; reset the group's offsets to where scoring is to go on."
            )
        if plan.gap:
            self._judge_gap(partition, plan)
        return plan

    def _log_end(self, partition: TopicPartition) -> int:
        return self._patiently(lambda: self._outlook.log_end(partition))

    def _judge_gap(self, partition: TopicPartition, plan: Plan) -> None:
        told = f"{plan.gap} records of {_name(partition)} were deleted before they were scored"
        if not self._rules.continue_on_gap:
            raise GapError(f"{told}: set `on_gap: continue` to go on without them, and lengthen the topic's retention.")
        log.warning("%s; going on from offset %d, as `on_gap: continue` says", told, plan.committed)

    def _first_offset(self, consumer: Consumer, partition: TopicPartition, *, log_start: int, log_end: int) -> int:
        """Where the group's first start in this partition begins (R3)."""
        if self._is_new(consumer, partition):
            return log_start
        if self._rules.start == "earliest":
            return log_start
        if self._rules.start == "latest":
            return log_end
        asked = KafkaTopicPartition(*partition, int(self._rules.start))
        found = self._patiently(lambda: consumer.offsets_for_times([asked], timeout=_CALL_TIMEOUT_S))[0]
        return log_end if found.offset < 0 else int(found.offset)

    def _is_new(self, consumer: Consumer, partition: TopicPartition) -> bool:
        """Whether the partition was added after the group had begun: siblings recorded how many there were.

        The fewest count: a sibling that was added too has recorded the new number.
        """
        siblings = [TopicPartition(partition.topic, number) for number in range(self._counts[partition.topic])]
        recorded = self._committed(consumer, siblings).values()
        counts = [one.checkpoint.np for one in recorded if one.checkpoint is not None]
        return bool(counts) and partition.partition >= min(counts)

    def _committed(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Committed]:
        asked = [KafkaTopicPartition(*partition) for partition in partitions]
        answers = self._patiently(lambda: consumer.committed(asked, timeout=_CALL_TIMEOUT_S))
        return {
            TopicPartition(at.topic, at.partition): Committed(
                offset=at.offset, checkpoint=Checkpoint.decode(at.metadata)
            )
            for at in answers
            if at.offset >= 0
        }

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        """The answer, asked for again while the brokers are busy, electing, or finishing somebody's transaction."""
        deadline = self._clock() + _PATIENCE_S
        while True:
            try:
                return call()
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                    raise BrokerError(
                        f"There is no right to read as group {self._group_id!r}: grant Read on the group."
                    ) from failure
                if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    raise BrokerError(
                        f"There is no right to read one of the topics {', '.join(self._topics)}: grant Read on each."
                    ) from failure
                if self._stopping() or self._clock() > deadline:
                    raise ProducerLostError(f"the brokers did not tell where to start: {error.str()}") from failure
            self._pause(_PAUSE_S)


def _bounds(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    first, end = consumer.get_watermark_offsets(KafkaTopicPartition(*partition), timeout=_CALL_TIMEOUT_S, cached=False)
    return first, end


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}-{partition.partition}"
