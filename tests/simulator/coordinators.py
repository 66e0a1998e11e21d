"""The two coordinators as brokers run them: who may write in whose name, and who of a group owns which partition.

They know no client: a member is a name with a process, a producer a transactional.id with an epoch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from confluent_kafka import KafkaError, TopicPartition

from tests.simulator.log import Partition, Place, Transaction
from tests.simulator.refusal import refuse

SESSION_TIMEOUT_S = 10.0
MAX_POLL_S = 60.0
MARKERS_AFTER_S = 1.0
"""How long the markers of an ended transaction may be on their way."""


@dataclass(slots=True)
class _Identity:
    """What is known of one transactional.id."""

    timeout_s: float
    epoch: int = 0
    transaction: Transaction | None = None  # begun and not ended, or ended and its markers not written
    ends_with: bool | None = None  # how it was told to end


class TransactionCoordinator:
    """One epoch and at most one transaction a transactional.id.

    With `slow_markers` the answer to a commit comes before its markers are written, as it does from a busy broker.
    """

    def __init__(
        self, topics: Mapping[str, Sequence[Partition]], offsets: dict[tuple[str, Place], TopicPartition]
    ) -> None:
        self._topics = topics
        self._offsets = offsets
        self._identities: dict[str, _Identity] = {}
        self.slow_markers = False

    def init(self, name: str, timeout_s: float) -> int:
        """End what was left open in that name, and fence whoever used it: the new epoch."""
        identity = self._identities.setdefault(name, _Identity(timeout_s))
        if identity.transaction is not None:
            self._write_markers(identity, commit=bool(identity.ends_with))
        identity.timeout_s = timeout_s
        identity.epoch += 1
        return identity.epoch

    def ongoing(self, name: str, epoch: int, now_s: float) -> Transaction:
        """The transaction under way in that name; one begins where there is none."""
        identity = self._current(name, epoch)
        if identity.ends_with is not None:
            self._write_markers(identity, commit=identity.ends_with)
        if identity.transaction is None:
            identity.transaction = Transaction(now_s)
        return identity.transaction

    def is_ongoing(self, name: str, epoch: int) -> bool:
        """Whether there is a transaction to end; whoever is fenced is to be told so."""
        identity = self._identities[name]
        return identity.epoch != epoch or identity.transaction is not None

    def end(self, name: str, epoch: int, *, commit: bool) -> None:
        """Decide how the transaction ends. Asked again, the answer is the same."""
        identity = self._current(name, epoch)
        if identity.ends_with is None and identity.transaction is None:
            refuse(KafkaError.INVALID_TXN_STATE, fatal=True)
        if identity.ends_with is not None and identity.ends_with is not commit:
            refuse(KafkaError.INVALID_TXN_STATE, fatal=True)
        identity.ends_with = commit
        if not self.slow_markers:
            self._write_markers(identity, commit=commit)

    def _current(self, name: str, epoch: int) -> _Identity:
        identity = self._identities[name]
        if identity.epoch != epoch:
            refuse(KafkaError._FENCED, fatal=True)
        return identity

    def expire(self, now_s: float) -> None:
        """Write markers that were long on their way; abort and fence what has been open for too long."""
        for identity in self._identities.values():
            transaction = identity.transaction
            if transaction is None:
                continue
            age_s = now_s - transaction.began_s
            if identity.ends_with is not None and age_s > MARKERS_AFTER_S:
                self._write_markers(identity, commit=identity.ends_with)
            elif identity.ends_with is None and age_s > identity.timeout_s:
                self._write_markers(identity, commit=False)
                identity.epoch += 1

    @property
    def owes_markers(self) -> bool:
        """Whether some transaction has ended and its markers are not written."""
        return any(identity.transaction is not None for identity in self._ended())

    def _ended(self) -> Iterable[_Identity]:
        return (identity for identity in self._identities.values() if identity.ends_with is not None)

    def write_markers(self) -> None:
        """Of all that has ended."""
        for identity in self._ended():
            self._write_markers(identity, commit=bool(identity.ends_with))

    def hides(self, group: str, places: Iterable[Place]) -> bool:
        """Whether an open transaction holds an offset of one of these partitions."""
        pending = [each.transaction.offsets for each in self._identities.values() if each.transaction is not None]
        return any((group, place) in offsets for place in places for offsets in pending)

    def _write_markers(self, identity: _Identity, *, commit: bool) -> None:
        if identity.transaction is not None:
            self.finish(identity.transaction, commit=commit)
        identity.transaction = identity.ends_with = None

    def finish(self, transaction: Transaction, *, commit: bool) -> None:
        """Its records become visible or never will, its offsets count or are forgotten."""
        transaction.is_open, transaction.committed = False, commit
        for topic, number in sorted(transaction.partitions):
            self._topics[topic][number].close(transaction)
        if commit:
            self._offsets |= transaction.offsets


class Process(Protocol):
    """Whose heartbeats a group hears."""

    silent_since_s: float | None


@dataclass(eq=False)
class Member:
    """One membership: whoever is thrown out and joins again is another member."""

    process: Process
    topics: Sequence[str]
    polled_s: float


@dataclass(frozen=True)
class Membership:
    """What a consumer's group metadata says."""

    group: str
    member: Member | None  # None: no member, but a reader of partitions of its own choice
    generation: int


@dataclass
class GroupCoordinator:
    """Members and who owns what: a partition goes to its new owner once the former one has let it go."""

    partition_count: Callable[[str], int]
    members: list[Member] = field(default_factory=list)
    owners: dict[Place, Member] = field(default_factory=dict)
    generation: int = 0

    def join(self, member: Member) -> None:
        """One more."""
        self.members.append(member)
        self.generation += 1

    def leave(self, member: Member) -> None:
        """One less, and what it owned is free."""
        if member in self.members:
            self.members.remove(member)
            self.generation += 1
        self.owners = {place: owner for place, owner in self.owners.items() if owner is not member}

    def shuffle(self) -> None:
        """Deal the partitions out anew, each to the next member."""
        self.members.append(self.members.pop(0))
        self.generation += 1

    def expire(self, now_s: float) -> None:
        """Give up members that are silent, and those that are alive and have not polled for too long."""
        for member in list(self.members):
            silent_s = member.process.silent_since_s
            since_s, patience_s = (member.polled_s, MAX_POLL_S) if silent_s is None else (silent_s, SESSION_TIMEOUT_S)
            if now_s - since_s > patience_s:
                self.leave(member)

    def target(self, member: Member) -> set[Place]:
        """The member's part, in turn over all partitions of the topics."""
        topics = sorted({topic for each in self.members for topic in each.topics})
        places = [(topic, number) for topic in topics for number in range(self.partition_count(topic))]
        return {place for turn, place in enumerate(places) if self.members[turn % len(self.members)] is member}

    def check(self, membership: Membership, *, transactional: bool) -> None:
        """Refuse offsets of whoever is no member, or was one before the last rebalance."""
        if membership.member is None:
            if self.members:
                refuse(KafkaError.UNKNOWN_MEMBER_ID, abortable=transactional)
        elif membership.member not in self.members:
            refuse(KafkaError.UNKNOWN_MEMBER_ID, abortable=transactional)
        elif membership.generation != self.generation:
            refuse(KafkaError.ILLEGAL_GENERATION, abortable=transactional)
