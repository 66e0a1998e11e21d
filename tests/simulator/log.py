"""One partition's log as a broker keeps it: records and markers, each at an offset, some in a transaction.

It knows no client and no coordinator.
"""

from dataclasses import dataclass, field

from confluent_kafka import TopicPartition

from tests.log_record import LogRecord

Place = tuple[str, int]


@dataclass(eq=False)
class Transaction:
    """Records and offsets that stand or fall together. It is open until its markers are written."""

    began_s: float = 0.0
    partitions: set[Place] = field(default_factory=set)
    offsets: dict[tuple[str, Place], TopicPartition] = field(default_factory=dict)  # by group and place
    is_open: bool = True
    committed: bool = False


@dataclass(slots=True)
class Entry:
    """What one offset holds."""

    record: LogRecord | None  # None: a transaction's marker
    transaction: Transaction | None = None

    @property
    def is_visible(self) -> bool:
        """Whether a read_committed reader is given it, once it may read so far."""
        return self.record is not None and (self.transaction is None or self.transaction.committed)


@dataclass(slots=True)
class Partition:
    """Every offset from 0 on; those below `start` are deleted (and remembered, for the judge)."""

    start: int = 0
    entries: list[Entry] = field(default_factory=list)
    _first_open: dict[Transaction, int] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The offset of the next record or marker."""
        return len(self.entries)

    @property
    def stable_end(self) -> int:
        """The last stable offset: where the first open transaction begins."""
        return min(self._first_open.values(), default=self.end)

    def append(self, record: LogRecord, transaction: Transaction | None) -> None:
        """One record at the end."""
        if transaction is not None:
            self._first_open.setdefault(transaction, self.end)
        self.entries.append(Entry(record, transaction))

    def close(self, transaction: Transaction) -> None:
        """Write the marker that ends a transaction here."""
        self.entries.append(Entry(None))
        self._first_open.pop(transaction, None)
