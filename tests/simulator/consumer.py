"""The consumer as the worker sees it: read_committed, with rebalances that run within `consume`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from confluent_kafka import (
    OFFSET_END,
    OFFSET_INVALID,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_NOT_AVAILABLE,
    KafkaError,
    Message,
    TopicPartition,
)

from tests.log_record import LogRecord
from tests.simulator.coordinators import MAX_POLL_S, GroupCoordinator, Member, Membership
from tests.simulator.log import Place
from tests.simulator.process import Process
from tests.simulator.refusal import kafka_error, refuse, time_out

if TYPE_CHECKING:
    from tests.memory_bus import MemoryBus

Answer = TypeVar("Answer")
Rebalanced = Callable[["MemoryConsumer", list[TopicPartition]], None]


def _ignore(*_: object) -> None:
    pass


class MemoryConsumer:
    """The methods of confluent_kafka.Consumer.

    Partitions are handed over one by one, or all at once where `partition.assignment.strategy` is not cooperative.
    """

    def __init__(self, bus: "MemoryBus", properties: Mapping[str, object], process: Process) -> None:
        self._bus = bus
        self._process = process
        self._group_id = str(properties["group.id"])
        self._is_cooperative = "cooperative" in str(properties.get("partition.assignment.strategy", "cooperative"))
        self._reports_ends = bool(properties.get("enable.partition.eof", False))
        self._read_committed = properties.get("isolation.level", "read_committed") == "read_committed"
        self._positions: dict[Place, int] = {}
        self._paused: set[Place] = set()
        self._ends_told: dict[Place, int] = {}
        self._stopped: set[Place] = set()  # where the offset to read was gone: the client goes on by no seek
        self._on_assign: Rebalanced = _ignore
        self._on_revoke: Rebalanced = _ignore
        self._on_lost: Rebalanced = _ignore
        self._member: Member | None = None
        self._was_assigned = False
        self._dealt_in = -1  # the generation of the last assignment, where all is dealt out at once
        self._turn = 0
        self._topics: list[str] = []

    @property
    def _group(self) -> GroupCoordinator:
        return self._bus.groups[self._group_id]

    def _ask(self, call: str, request: Callable[[], Answer], timeout_s: float) -> Answer:
        """Ask the group's coordinator."""
        self._bus.expire()
        return self._process.call(call, lambda: self._reach(request, timeout_s), timeout_s)

    def _reach(self, request: Callable[[], Answer], timeout_s: float) -> Answer:
        self._bus.reach("group", timeout_s)
        return request()

    # ---- membership

    def subscribe(
        self,
        topics: Sequence[str],
        on_assign: Rebalanced = _ignore,
        on_revoke: Rebalanced = _ignore,
        on_lost: Rebalanced = _ignore,
    ) -> None:
        """Join the group; partitions come and go within `consume`."""
        self._topics = list(topics)
        self._on_assign, self._on_revoke, self._on_lost = on_assign, on_revoke, on_lost
        self._join()

    def _join(self) -> None:
        self._member = Member(self._process, self._topics, self._bus.now_s)
        self._group.join(self._member)

    def close(self) -> None:
        """Let everything go, and leave; whoever was expelled and has not heard of it takes leave all the same."""
        if self._positions:
            self._on_revoke(self, self._as_partitions(self._positions))
        self._positions.clear()
        self.drop_member()
        self._member = None

    def drop_member(self) -> None:
        """The group no longer hears of this member: its partitions are for others, and it does not know yet."""
        if self._member is not None:
            self._group.leave(self._member)

    def _rebalance(self, member: Member) -> None:
        if member not in self._group.members:
            self._lose_all()
        elif self._is_cooperative:
            self._hand_over(member)
        elif self._dealt_in != self._group.generation:
            self._deal(member)

    def _lose_all(self) -> None:
        lost = self._as_partitions(self._positions)
        if lost:
            self._on_lost(self, lost)
        self._positions.clear()
        self._dealt_in = -1
        self._join()

    def _hand_over(self, member: Member) -> None:
        """One step of a cooperative rebalance: what is another's now goes first, then comes what is free."""
        group = self._group
        target = group.target(member)
        leaving = [place for place in self._positions if place not in target]
        if leaving:
            self._give_away(leaving)
            return
        coming = [place for place in sorted(target) if place not in group.owners]
        if coming or not self._was_assigned:
            self._take(member, coming)

    def _deal(self, member: Member) -> None:
        """One step of an eager rebalance: all goes, then all comes, once the others have let it go."""
        group = self._group
        if self._positions:
            self._give_away(list(self._positions))
            return
        target = sorted(group.target(member))
        if not any(place in group.owners for place in target):
            self._dealt_in = group.generation
            self._take(member, target)

    def _give_away(self, places: list[Place]) -> None:
        self._on_revoke(self, self._as_partitions(places))
        for place in places:
            self._positions.pop(place, None)
            self._group.owners.pop(place, None)

    def _take(self, member: Member, places: list[Place]) -> None:
        self._was_assigned = True  # a member without partitions is told so once, with an empty list
        self._group.owners |= dict.fromkeys(places, member)
        self._positions |= {place: self._start_of(place) for place in places}
        self._on_assign(self, self._as_partitions(places))

    def _as_partitions(self, places: Iterable[Place]) -> list[TopicPartition]:
        return [TopicPartition(*place) for place in sorted(places)]

    # ---- reading

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        """Take a turn in the group, then what is there; nothing there = the whole timeout passes."""
        return self._process.call("consume", lambda: self._consume(num_messages, timeout))

    def _consume(self, num_messages: int, timeout: float) -> list[Message]:
        self._bus.expire()
        messages = self._take_turn(self._member) if self._member is not None else []
        places = sorted(self._positions)
        self._turn += 1
        for place in places[self._turn % max(1, len(places)) :] + places[: self._turn % max(1, len(places))]:
            if place not in self._paused | self._stopped and len(messages) < num_messages:
                messages += self._fetch(place, num_messages - len(messages))
        if not messages:
            self._bus.now_s += max(timeout, 0.0)
        return messages

    def _take_turn(self, member: Member) -> list[Message]:
        is_late = self._bus.now_s - member.polled_s > MAX_POLL_S
        member.polled_s = self._bus.now_s
        if not self._bus.is_away("group"):
            self._rebalance(member)
        return [Message(error=kafka_error(KafkaError._MAX_POLL_EXCEEDED))] if is_late else []

    def poll(self, timeout: float = -1) -> Message | None:
        """One message."""
        messages = self.consume(1, timeout)
        return messages[0] if messages else None

    def _start_of(self, place: Place) -> int:
        committed = self._bus.offsets.get((self._group_id, place))
        return 0 if committed is None else committed.offset

    def _fetch(self, place: Place, at_most: int) -> list[Message]:
        partition = self._bus.topics[place[0]][place[1]]
        position = self._positions[place]
        end = partition.stable_end if self._read_committed else partition.end
        if self._is_gone(place):
            self._stopped.add(place)
            return [_event(place, position, KafkaError._AUTO_OFFSET_RESET)]
        messages: list[Message] = []
        while position < end and len(messages) < at_most:
            entry = partition.entries[position]
            if entry.record is not None and (entry.is_visible or not self._read_committed):
                messages.append(_message(entry.record))
            position += 1
        if position != self._positions[place]:
            self._ends_told.pop(place, None)
        self._positions[place] = position
        if position == end and self._reports_ends and self._ends_told.get(place) != end:
            self._ends_told[place] = end
            messages.append(_event(place, end, KafkaError._PARTITION_EOF))
        return messages

    def _is_gone(self, place: Place) -> bool:
        """Whether the offset to read is not in the log."""
        partition = self._bus.topics[place[0]][place[1]]
        return not partition.start <= self._positions[place] <= partition.end

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Read these, and no others."""
        self._positions.clear()
        self.incremental_assign(partitions)

    def incremental_assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Read these too, from where they say."""
        for partition in partitions:
            place = (partition.topic, partition.partition)
            self._positions[place] = self._position_of(place, partition.offset)
            self._ends_told.pop(place, None)
            self._stopped.discard(place)

    def _position_of(self, place: Place, offset: int) -> int:
        if offset == OFFSET_END:
            return self._bus.topics[place[0]][place[1]].end
        return offset if offset >= 0 else self._start_of(place)

    def incremental_unassign(self, partitions: Sequence[TopicPartition]) -> None:
        """Read these no more."""
        for partition in partitions:
            self._positions.pop((partition.topic, partition.partition), None)

    def unassign(self) -> None:
        """Read nothing."""
        self._positions.clear()

    def assignment(self) -> list[TopicPartition]:
        """What is read now."""
        return self._as_partitions(self._positions)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Read these later."""
        self._paused |= {(partition.topic, partition.partition) for partition in partitions}

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Read these again."""
        self._paused -= {(partition.topic, partition.partition) for partition in partitions}

    def seek(self, partition: TopicPartition) -> None:
        """Go on from there."""
        place = (partition.topic, partition.partition)
        # A thread of the client's reads ahead: it may have found the offset gone, and told nobody yet.
        if place not in self._positions or place in self._stopped or self._is_gone(place):
            refuse(KafkaError._STATE)
        self._positions[place] = partition.offset
        self._ends_told.pop(place, None)

    def position(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Where reading stands."""
        return [
            TopicPartition(
                each.topic, each.partition, self._positions.get((each.topic, each.partition), OFFSET_INVALID)
            )
            for each in partitions
        ]

    # ---- offsets

    def committed(self, partitions: Sequence[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        """What the group has committed; waits while a transaction on it is open."""
        return self._ask("committed", lambda: self._stable(partitions, timeout), timeout)

    def _stable(self, partitions: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        places = [(each.topic, each.partition) for each in partitions]
        if self._bus.transactions.hides(self._group_id, places):
            self._bus.now_s += max(timeout, 0.0)
            time_out()
        unknown = [TopicPartition(*place, OFFSET_INVALID) for place in places]
        return [
            self._bus.offsets.get((self._group_id, place), none) for place, none in zip(places, unknown, strict=True)
        ]

    def commit(
        self, message: object = None, offsets: Sequence[TopicPartition] = (), **_: object
    ) -> list[TopicPartition]:
        """Commit outside a transaction."""
        membership = self.consumer_group_metadata()
        return self._ask("commit", lambda: self._commit(membership, offsets), 60.0)

    def _commit(self, membership: Membership, offsets: Sequence[TopicPartition]) -> list[TopicPartition]:
        if membership.member is not None:
            self._group.check(membership, transactional=False)
        for each in offsets:
            self._bus.offsets[self._group_id, (each.topic, each.partition)] = each
        return list(offsets)

    def consumer_group_metadata(self) -> Membership:
        """This member as the group knows it now."""
        return Membership(self._group_id, self._member, self._group.generation)

    # ---- what is told of the log

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = -1, *, cached: bool = False
    ) -> tuple[int, int]:
        """Log start and end; what is cached needs no broker."""
        if cached:
            return self._bounds(partition)
        return self._process.call("get_watermark_offsets", lambda: self._bounds(partition), timeout)

    def _bounds(self, partition: TopicPartition) -> tuple[int, int]:
        log = self._bus.topics[partition.topic][partition.partition]
        return log.start, log.stable_end if self._read_committed else log.end

    def offsets_for_times(self, asked: Sequence[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        """For each partition the first offset that is not older than its `offset`, read as a time in milliseconds."""
        self._bus.strike("offsets_for_times")
        return [TopicPartition(each.topic, each.partition, self._offset_of_time(each)) for each in asked]

    def _offset_of_time(self, asked: TopicPartition) -> int:
        log = self._bus.topics[asked.topic][asked.partition]
        records = (entry.record for entry in log.entries[log.start :] if entry.record is not None)
        return next((record.offset for record in records if record.timestamp >= asked.offset), OFFSET_END)


def _message(record: LogRecord) -> Message:
    kind = TIMESTAMP_NOT_AVAILABLE if record.timestamp < 0 else TIMESTAMP_CREATE_TIME
    return Message(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=list(record.headers) or None,
        timestamp=(kind, record.timestamp),
    )


def _event(place: Place, offset: int, code: int) -> Message:
    return Message(topic=place[0], partition=place[1], offset=offset, error=kafka_error(code))
