"""The consumer's door: partitions assigned and records polled go in, columns of records and committed offsets come out.

Where a partition starts is decided by `worker.assignment`; what a record means is not known here. One thread calls it
(R9); rebalance callbacks run in that thread, inside `poll`.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Protocol, cast

import numpy as np
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from schemas.checkpoint import Checkpoint, skipping
from worker.assignment import Planner
from worker.batch import Bool, Headers, Int64, Records, TopicPartition
from worker.errors import BrokerError, DeliveryError, TransactionAbortedError
from worker.failpoints import reach
from worker.replay import Plan

log = logging.getLogger(__name__)

_MILLISECONDS = itemgetter(1)
"""Of a message's timestamp, which is its kind and its time."""

_FATAL_REMEDIES = {
    "instance": "; give each worker its own kafka.group_instance_id",
    "assignor": "; leave group.remote.assignor out, or name one that the brokers have",
}

_SEEK_PATIENCE_S = 5.0
_SEEK_PAUSE_S = 0.02


class PartitionListener(Protocol):
    """What the pipeline does when partitions come and go; called inside `Source.poll`, in the same thread."""

    def partitions_revoked(self, places: Sequence[int]) -> None:
        """Finish and commit what is in flight: after this call the partitions are somebody else's."""

    def partitions_lost(self, places: Sequence[int]) -> None:
        """Drop what is in flight: the partitions are already somebody else's."""

    def partition_assigned(self, place: int, plan: Plan, *, warm: bool) -> None:
        """A partition starts; `warm` = its windows are still held and fit, else they start empty."""

    def partition_cold(self, place: int) -> None:
        """The windows of a partition that was given away are no longer worth holding."""


@dataclass(slots=True)
class _Owned:
    """One assigned partition."""

    place: int
    committed: int
    next_offset: int
    refilling: bool
    missing_before: int | None
    first_commit_due: bool
    topic_id: str
    np: int
    """How many partitions the topic had when the group began: never raised, or one added since would seem as old."""
    end_seen: int = -1
    """Where the client last saw the end of the log: everything visible below it was handed out."""
    attempts: int = 0
    """How many workers began about here and came to no good end, this one included once it began."""
    begun: bool = False
    """Whether this worker's attempt is recorded, or past."""
    watched: bool = False
    """Whether attempts count on beyond the first commit."""
    moved: bool = False
    """Whether this worker has committed beyond its start."""
    skip: frozenset[int] = frozenset()
    """Records that killed a worker."""


@dataclass(frozen=True, slots=True)
class _Warm:
    """A revoked partition whose windows are still held: they end right before `next_offset` (R8)."""

    next_offset: int
    missing_before: int | None
    topic_id: str
    until_s: float


@dataclass(frozen=True, slots=True)
class Polled:
    """Records of one poll: first those that only refill windows, then those to score."""

    refill: Records | None
    live: Records | None


class Source:
    """One consumer of the group. Offsets are committed through the sink's transactions, or by `commit`.

    `make_consumer` is given the callback for the client's statistics. `incremental` says whether the group's protocol
    hands partitions over one by one (cooperative, KIP-848) or all at once.
    """

    def __init__(  # noqa: PLR0913 - clock and pause are those of tests alone
        self,
        make_consumer: Callable[[Callable[[str], None]], Consumer],
        *,
        topics: Sequence[str],
        group_id: str,
        planner: Planner,
        incremental: bool,
        warm_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._make_consumer = make_consumer
        self._consumer = make_consumer(self._note_statistics)
        self._topics = list(topics)
        self._group_id = group_id
        self._planner = planner
        self._incremental = incremental
        self._warm_s = warm_s
        self._clock = clock
        self._pause = pause
        self._partitions: list[TopicPartition] = []
        self._places: dict[TopicPartition, int] = {}
        self._columns: dict[str, Int64] = {topic: np.full(1, -1, np.int64) for topic in topics}
        self._owned: dict[int, _Owned] = {}
        self._warm: dict[int, _Warm] = {}
        self._begun_at: dict[int, int] = {}
        self._taken_up: set[int] = set()
        self._failure: Exception | None = None
        self._listener: PartitionListener | None = None
        self.joined = False
        self.rebalances = 0

    # ---- joining and leaving -----------------------------------------------------------------------------------------

    def subscribe(self, listener: PartitionListener) -> None:
        """Join the group."""
        self._listener = listener
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def close(self) -> None:
        """Leave the group; partitions are revoked on the way. What a callback raises is lost: nothing is in flight."""
        self._consumer.close()

    def group_metadata(self) -> object:
        """This member as the group knows it now; to be taken anew for each transaction (R9)."""
        return self._consumer.consumer_group_metadata()

    def _note_statistics(self, statistics: str) -> None:
        """Under KIP-848 a member without partitions is never told that it joined; the statistics know."""
        self.joined = self.joined or json.loads(statistics).get("cgrp", {}).get("join_state") == "steady"

    # ---- reading -----------------------------------------------------------------------------------------------------

    def poll(self, max_records: int, timeout_s: float) -> Polled:
        """Up to `max_records` records, waiting `timeout_s` at most. Raises what a rebalance callback raised."""
        self._taken_up.clear()
        rebalances = self.rebalances
        messages = self._consumer.consume(max_records, timeout_s)
        try:
            self._raise_failure()
            sound = self._sound(messages, rebalanced=self.rebalances > rebalances)
        except DeliveryError:
            self._put_back(messages)
            raise
        self._forget_cold()
        if not sound:
            self._finish_refills()
            return Polled(refill=None, live=None)
        return self._split(self._records(sound))

    def keep_alive(self) -> None:
        """Stay a member without reading; whatever this reads is read again after `take_up_again`."""
        messages = self._consumer.consume(1000, 0.1)
        _raise_if_one_is_fatal(messages)
        self._rejoin_if_stopped(messages)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _sound(self, messages: list[Message], *, rebalanced: bool) -> list[Message]:
        """The records that are ours to read, without the client's own events."""
        events: list[Message] = []
        records = messages  # mostly all of them
        if any(map(Message.error, messages)):
            events = [message for message in messages if message.error() is not None]
            records = [message for message in messages if message.error() is None]
            if self._rejoin_if_stopped(events):
                return []
        if rebalanced:
            events = self._of_this_life(events)
            records = self._of_this_life(records)
        for event in events:
            self._handle_event(event)
        return self._of_this_life(records) if self._taken_up else records

    def _of_this_life(self, messages: list[Message]) -> list[Message]:
        """Without partitions that went, and without those that came during this very poll.

        What was read of the latter may stem from before, so they are read again from their start.
        """
        places = list(map(self._place_of, messages))
        again = self._taken_up.intersection(places) & self._owned.keys()
        self._read_from({place: self._owned[place].next_offset for place in again})
        current = self._owned.keys() - self._taken_up
        return [message for message, place in zip(messages, places, strict=True) if place in current]

    def _rejoin_if_stopped(self, messages: list[Message]) -> bool:
        """Take everything up again from a new assignment, where an offset to read is no longer in the log (R11)."""
        stopped = {self._place_of(message) for message in messages if _is_stop(message.error())}
        if stopped.isdisjoint(self._owned):
            return False
        names = _named([self._partitions[place] for place in sorted(self._owned.keys() & stopped)])
        self._rejoin(f"records of {names} that were to be read are no longer in the log")
        return True

    def _rejoin(self, why: str) -> None:
        """Another membership, and nothing owned before its first assignment.

        The client has given up a partition, and refuses to seek there ever after. To unassign and assign it ourselves
        might answer for a rebalance that we have not heard of yet; so the group is left in order, and joined again.
        """
        log.warning("%s: joining the group anew", why)
        self._consumer.close()
        self._consumer = self._make_consumer(self._note_statistics)
        self.joined = False
        self.subscribe(self._listen)

    def _put_back(self, messages: list[Message]) -> None:
        """What was read by a poll that failed is read again."""
        if self._rejoin_if_stopped(messages):
            return
        touched = self._owned.keys() & set(map(self._place_of, messages))
        self._read_from({place: self._owned[place].next_offset for place in touched})

    def _place_of(self, message: Message) -> int | None:
        partition = TopicPartition(cast("str", message.topic()), cast("int", message.partition()))
        return self._places.get(partition)

    def _handle_event(self, event: Message) -> None:
        error = cast("KafkaError", event.error())
        owned = self._owned.get(cast("int", self._place_of(event)))
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's public name of a local event
            if owned is not None:
                owned.end_seen = cast("int", event.offset())
        elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise BrokerError(f"There is no right to read as group {self._group_id!r}: grant Read on the group.")
        elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise BrokerError(f"There is no right to read topic {event.topic()!r}: grant Read on the topic.")
        else:
            _raise_if_fatal(error)
            log.warning("the consumer reported: %s (it goes on by itself)", error.str())

    def _records(self, messages: list[Message]) -> Records:
        count = len(messages)
        number = np.fromiter(map(Message.partition, messages), np.int64, count)
        if len(self._topics) == 1:
            place = self._columns[self._topics[0]][number]
        else:
            columns = self._columns
            topics = cast("list[str]", list(map(Message.topic, messages)))
            place = np.fromiter((columns[t][p] for t, p in zip(topics, number, strict=True)), np.int64, count)
        return Records(
            partitions=self._partitions,
            partition=place,
            offset=np.fromiter(map(Message.offset, messages), np.int64, count),
            timestamp=np.fromiter(map(_MILLISECONDS, map(Message.timestamp, messages)), np.int64, count),
            key=list(map(Message.key, messages)),
            value=list(map(Message.value, messages)),
            headers=lambda row: cast("Headers", messages[row].headers() or ()),
        )

    def _split(self, records: Records) -> Polled:
        refilling = [owned for owned in self._owned.values() if owned.refilling]
        below = np.zeros(len(records), np.bool_)
        for owned in refilling:
            below |= (records.partition == owned.place) & (records.offset < owned.committed)
        for place, end in ends_of(records).items():
            self._owned[place].next_offset = end
        if refilling:
            self._finish_refills()
        if not below.any():
            return Polled(refill=None, live=records)
        return Polled(refill=_where(records, below), live=None if below.all() else _where(records, ~below))

    def _finish_refills(self) -> None:
        """A refill ends when the position reaches the committed offset: markers hold offsets without a record (R2)."""
        refilling = [owned for owned in self._owned.values() if owned.refilling]
        for owned, position in zip(refilling, self._positions(refilling), strict=True):
            if position >= owned.committed:
                owned.refilling = False

    @staticmethod
    def _positions(owned: Sequence[_Owned]) -> list[int]:
        """Where reading stands: past markers, where the client told that it had come to the end behind them.

        The client's own `position` may lag behind a seek, and a position too high would lose records.
        """
        return [max(one.next_offset, one.end_seen) for one in owned]

    # ---- attempts (see `worker.suspects`) ----------------------------------------------------------------------------

    def not_begun(self, records: Records) -> list[int]:
        """The partitions among these records from which this worker has scored nothing since it took them up."""
        fresh = [owned.place for owned in self._owned.values() if not owned.begun]
        return [place for place in fresh if (records.partition == place).any()] if fresh else []

    @property
    def first_starts(self) -> list[int]:
        """The partitions that the group never committed, or whose gap it passed over, and that may be begun."""
        return [owned.place for owned in self._owned.values() if owned.first_commit_due and not owned.refilling]

    def begin_attempt(self, places: Sequence[int]) -> dict[int, int]:
        """Count this worker's attempt, once; it is recorded by a commit of the offsets that this gives."""
        for place in places:
            owned = self._owned[place]
            owned.attempts += self._begun_at.get(place) != owned.committed
            self._begun_at[place] = owned.committed
        return {place: self._owned[place].committed for place in places}

    def watch(self, place: int) -> int:
        """Let attempts count on while this partition is watched: the number of those before this one."""
        owned = self._owned[place]
        owned.watched = owned.attempts > 1
        return owned.attempts - 1

    def end_watch(self, places: Iterable[int]) -> dict[int, int]:
        """This worker's attempt came to a good end; that is recorded by a commit of the offsets that this gives."""
        mine = [self._owned[place] for place in places if place in self._owned]
        for owned in mine:
            owned.watched = False
            owned.attempts = 0 if owned.moved else owned.attempts - 1
            self._begun_at.pop(owned.place, None)
        return {owned.place: owned.committed for owned in mine}

    def at_end(self, place: int) -> bool:
        """Whether all that this partition held when it was last looked at is read."""
        owned = self._owned.get(place)
        return owned is None or owned.end_seen >= owned.next_offset

    def skip(self, place: int, offset: int) -> None:
        """This record kills workers: the next commit tells it to those who come after."""
        self._owned[place].skip |= {offset}

    @property
    def skipped(self) -> dict[int, frozenset[int]]:
        """The offsets that are passed over, for each partition that has some."""
        return {owned.place: owned.skip for owned in self._owned.values() if owned.skip}

    def stay(self) -> None:
        """Stay a member without reading on. Raises TransactionAbortedError where partitions came or went meanwhile."""
        rebalances = self.rebalances
        messages = self._consumer.consume(1, 0.05)
        _raise_if_one_is_fatal(messages)
        self._put_back(messages)
        self._raise_failure()
        if self.rebalances > rebalances:
            raise TransactionAbortedError("partitions came or went")

    # ---- offsets -----------------------------------------------------------------------------------------------------

    def idle_offsets(self, busy: Iterable[int]) -> dict[int, int]:
        """Positions that moved past the committed offset without a record, where nothing is in flight (R10)."""
        resting = [one for one in self._owned.values() if not one.refilling and one.place not in set(busy)]
        positions = zip(resting, self._positions(resting), strict=True)
        return {one.place: at for one, at in positions if at > one.committed or one.first_commit_due}

    def to_commit(
        self, offsets: Mapping[int, int], oldest_needed: Callable[[int, int], int]
    ) -> list[KafkaTopicPartition]:
        """Kafka's form of `offsets`, each with its checkpoint (R1); partitions that are no longer ours are left out.

        `oldest_needed(place, offset)` is the oldest offset that a window at or after `offset` needs.
        """
        return [
            KafkaTopicPartition(
                *self._partitions[place],
                offset,
                metadata=self._checkpoint(self._owned[place], offset, oldest_needed(place, offset)).encode(),
            )
            for place, offset in offsets.items()
            if place in self._owned
        ]

    def _checkpoint(self, owned: _Owned, offset: int, lo: int) -> Checkpoint:
        reach = max(0, offset - self._planner.lookback_offsets)
        before = owned.missing_before
        return Checkpoint(
            lo=max(reach, min(lo, offset)),
            spec=self._planner.spec,
            np=owned.np,
            tr=before if before is not None and before > reach else None,
            att=str(owned.attempts) if owned.attempts and (owned.watched or offset == owned.committed) else None,
            skip=skipping(skipped for skipped in owned.skip if skipped >= reach),
        )

    def note_committed(self, offsets: Mapping[int, int]) -> None:
        """Remember that `offsets` are committed now."""
        for place, offset in offsets.items():
            owned = self._owned.get(place)
            if owned is not None:
                owned.moved = owned.moved or offset > owned.committed
                owned.begun = owned.begun or owned.moved or self._begun_at.get(place) == offset
                owned.committed = offset
                if owned.watched:
                    self._begun_at[place] = offset
                elif owned.moved:
                    owned.attempts = 0
                owned.first_commit_due = False

    def commit(self, offsets: list[KafkaTopicPartition]) -> None:
        """Commit outside a transaction: idle positions, first starts, and everything in at-least-once delivery.

        Raises KafkaException.
        """
        if not offsets:
            return
        for result in self._consumer.commit(offsets=offsets, asynchronous=False):
            if result.error is not None:
                raise KafkaException(result.error)

    def rewind(self) -> None:
        """Read again from the committed offsets, after staged batches were dropped."""
        beyond = [one for one in self._owned.values() if not one.refilling and one.next_offset != one.committed]
        self._read_from({owned.place: owned.committed for owned in beyond})

    def take_up_again(self) -> None:
        """Start every assigned partition as after an assignment, with empty windows (R6)."""
        for owned in list(self._owned.values()):
            owned.refilling = True  # its windows are gone: never warm, should it be revoked meanwhile
        plans = self._planner.plans(self._consumer, [self._partitions[place] for place in self._owned])
        for partition, plan in plans.items():
            self._adopt(self._places[partition], plan, warm=False)
        self._read_from({self._places[partition]: plan.position for partition, plan in plans.items()})

    def _read_from(self, offsets: Mapping[int, int]) -> None:
        """Set reading to these offsets, by place; where the client refuses one, all is taken up from a new assignment.

        It refuses when it has noticed, and not told yet, that the offset to read is no longer in the log.
        """
        for place, offset in offsets.items():
            self._owned[place].next_offset, self._owned[place].end_seen = offset, -1
        for place, offset in offsets.items():
            refusal = self._seek(self._partitions[place], offset)
            if refusal is not None:
                name = _named([self._partitions[place]])
                self._rejoin(f"reading of {name} could not be set to offset {offset} ({refusal})")
                return

    def _seek(self, partition: TopicPartition, offset: int) -> str | None:
        """Why the client would not, if so."""
        deadline = self._clock() + _SEEK_PATIENCE_S
        while True:
            try:
                self._consumer.seek(KafkaTopicPartition(*partition, offset))
            except KafkaException as error:
                # A partition that was assigned a moment ago cannot be sought yet.
                refusal: KafkaError = error.args[0]
                if self._clock() > deadline:
                    return refusal.str()
                self._pause(_SEEK_PAUSE_S)
            else:
                return None

    # ---- what is told of it ------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """A member of the group, and every assigned partition's windows are filled."""
        return self.joined and not any(owned.refilling for owned in self._owned.values())

    def copartitioned(self, output_partitions: int) -> frozenset[str]:
        """The input topics that have as many partitions as the output topic."""
        counts = ((topic, self._planner.partition_count(topic)) for topic in self._topics)
        return frozenset(topic for topic, count in counts if count == output_partitions)

    def lag(self) -> dict[TopicPartition, int]:
        """Records between the committed offset and the end, for each assigned partition, as the client last heard."""
        lags = {}
        for owned in self._owned.values():
            partition = self._partitions[owned.place]
            _, high = self._consumer.get_watermark_offsets(KafkaTopicPartition(*partition), cached=True)
            lags[partition] = max(0, high - owned.committed)
        return lags

    def refill_remaining(self) -> dict[TopicPartition, int]:
        """Offsets still to be read again before each assigned partition is ready."""
        return {
            self._partitions[owned.place]: max(0, owned.committed - owned.next_offset) if owned.refilling else 0
            for owned in self._owned.values()
        }

    # ---- rebalances --------------------------------------------------------------------------------------------------

    def _on_assign(self, _: Consumer, partitions: list[KafkaTopicPartition]) -> None:
        self._guarded(lambda: self._assign(partitions))

    def _on_revoke(self, _: Consumer, partitions: list[KafkaTopicPartition]) -> None:
        self._guarded(lambda: self._give_away(partitions, self._listen.partitions_revoked))

    def _on_lost(self, _: Consumer, partitions: list[KafkaTopicPartition]) -> None:
        self._guarded(lambda: self._give_away(partitions, self._listen.partitions_lost))

    def _guarded(self, step: Callable[[], None]) -> None:
        """An exception must not pass through the client's C code: `poll` raises it again."""
        self.rebalances += 1
        try:
            step()
        except Exception as failure:  # noqa: BLE001 - raised again by poll
            self._failure = self._failure or failure

    def _assign(self, partitions: list[KafkaTopicPartition]) -> None:
        self.joined = True  # whether or not the brokers tell where to start
        asked = [TopicPartition(p.topic, p.partition) for p in partitions]
        reach("in_assign")
        try:
            plans = self._planner.plans(self._consumer, asked)
        except DeliveryError:
            # They are ours all the same: they wait at the end of the log until `take_up_again` knows where to start.
            self._accept([self._hold(partition) for partition in asked])
            raise
        self._accept([self._take_up(partition, plan) for partition, plan in plans.items()])

    def _accept(self, starts: list[KafkaTopicPartition]) -> None:
        if self._incremental:
            self._consumer.incremental_assign(starts)
        else:
            self._consumer.assign(starts)

    def _hold(self, partition: TopicPartition) -> KafkaTopicPartition:
        place = self._register(partition)
        self._warm.pop(place, None)
        self._owned[place] = _Owned(
            place=place,
            committed=0,
            next_offset=0,
            refilling=True,
            missing_before=None,
            first_commit_due=False,
            topic_id="",
            np=0,
        )
        self._taken_up.add(place)
        return KafkaTopicPartition(*partition, OFFSET_END)

    def _take_up(self, partition: TopicPartition, plan: Plan) -> KafkaTopicPartition:
        place = self._register(partition)
        warm = self._warm.pop(place, None)
        if warm is not None and self._fits(place, warm, plan):
            # What was deleted meanwhile is still in its windows.
            self._adopt(place, replace(plan, missing_before=warm.missing_before), warm=True)
        else:
            self._adopt(place, plan, warm=False)
        self._taken_up.add(place)
        return KafkaTopicPartition(*partition, self._owned[place].next_offset)

    def _adopt(self, place: int, plan: Plan, *, warm: bool) -> None:
        position = plan.committed if warm else plan.position
        topic = self._partitions[place].topic
        self._owned[place] = _Owned(
            place=place,
            committed=plan.committed,
            next_offset=position,
            refilling=position < plan.committed,
            missing_before=plan.missing_before,
            first_commit_due=plan.first_start or plan.gap > 0,
            topic_id=self._planner.topic_id(topic),
            np=plan.np or self._planner.partition_count(topic),
            attempts=plan.attempts,
            skip=frozenset(plan.skip),
        )
        self._listen.partition_assigned(place, plan, warm=warm)
        log.info(
            "%s taken up: from offset %d on, %s",
            _named([self._partitions[place]]),
            plan.committed,
            "windows still warm" if warm else f"{plan.committed - position} offsets to refill",
        )

    def _fits(self, place: int, warm: _Warm, plan: Plan) -> bool:
        topic_id = self._planner.topic_id(self._partitions[place].topic)
        same_log = warm.topic_id == topic_id != ""
        return same_log and warm.next_offset == plan.committed and not (plan.gap or plan.first_start)

    def _give_away(self, partitions: list[KafkaTopicPartition], tell: Callable[[Sequence[int]], None]) -> None:
        known = (self._places.get(TopicPartition(p.topic, p.partition)) for p in partitions)
        places = [place for place in known if place in self._owned]
        if places:
            log.info("%s given away", _named([self._partitions[place] for place in places]))
        try:
            tell(places)
        finally:
            for place in places:
                self._release(self._owned.pop(place))
            if self._incremental:
                self._consumer.incremental_unassign(partitions)
            else:
                self._consumer.unassign()

    def _release(self, owned: _Owned) -> None:
        if owned.refilling:
            self._listen.partition_cold(owned.place)
        else:
            self._warm[owned.place] = _Warm(
                owned.committed, owned.missing_before, owned.topic_id, self._clock() + self._warm_s
            )

    def _forget_cold(self) -> None:
        if self._warm:
            now_s = self._clock()
            for place in [place for place, warm in self._warm.items() if warm.until_s < now_s]:
                del self._warm[place]
                self._listen.partition_cold(place)

    def forget_warm(self) -> None:
        """The windows of revoked partitions are gone too (R6)."""
        while self._warm:
            self._listen.partition_cold(self._warm.popitem()[0])

    def _register(self, partition: TopicPartition) -> int:
        place = self._places.setdefault(partition, len(self._partitions))
        if place == len(self._partitions):
            self._partitions.append(partition)
            column = self._columns[partition.topic]
            if partition.partition >= len(column):
                grown = np.full(2 * partition.partition + 1, -1, np.int64)
                grown[: len(column)] = column
                self._columns[partition.topic] = column = grown
            column[partition.partition] = place
        return place

    @property
    def _listen(self) -> PartitionListener:
        if self._listener is None:
            raise RuntimeError("no rebalance can come before subscribe")
        return self._listener


def _named(partitions: Sequence[TopicPartition]) -> str:
    return ", ".join(f"{partition.topic}-{partition.partition}" for partition in partitions)


def _raise_if_fatal(error: KafkaError) -> None:
    """Among records a fatal error comes with a code that says so, not with the mark that exceptions carry."""
    if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001 - the client's public name of a local error
        remedy = next((remedy for word, remedy in _FATAL_REMEDIES.items() if word in error.str().lower()), "")
        raise BrokerError(f"The Kafka consumer failed for good: {error.str()}{remedy}.")


def _raise_if_one_is_fatal(messages: list[Message]) -> None:
    for message in messages:
        error = message.error()
        if error is not None:
            _raise_if_fatal(error)


def _is_stop(error: KafkaError | None) -> bool:
    """Whether the client reads a partition no further, because the offset to read is not in the log."""
    return error is not None and error.code() in {
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - the client's public name of a local event
        KafkaError.OFFSET_OUT_OF_RANGE,
    }


def ends_of(records: Records) -> dict[int, int]:
    """The offset after the last record of each partition in the batch; the records are in the order of the log."""
    places, from_behind = np.unique(records.partition[::-1], return_index=True)
    ends = records.offset[len(records) - 1 - from_behind] + 1
    return dict(zip(places.tolist(), ends.tolist(), strict=True))


def _where(records: Records, chosen: Bool) -> Records:
    rows = np.flatnonzero(chosen)
    listed = rows.tolist()
    return Records(
        partitions=records.partitions,
        partition=records.partition[rows],
        offset=records.offset[rows],
        timestamp=records.timestamp[rows],
        key=[records.key[row] for row in listed],
        value=[records.value[row] for row in listed],
        headers=lambda row: records.headers(listed[row]),
    )
