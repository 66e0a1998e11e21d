"""One batch as columns: what each room and door takes and gives. Values are never changed once handed on.

`n` consumed records, `m` valid events among them, `k` explained ones; W rows a window, F features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Int64: TypeAlias = NDArray[np.int64]
Float32: TypeAlias = NDArray[np.float32]
Bool: TypeAlias = NDArray[np.bool_]
Headers: TypeAlias = Sequence[tuple[str, bytes | None]]


class TopicPartition(NamedTuple):
    """A partition of a topic; the `partition` columns below index a table of these."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Records:
    """What one poll returned, in the order of the log within each partition.

    `timestamp` is milliseconds since 1970, -1 where the record has none. `headers(row)` reads one record's headers
    (few rows need them, so they are not a column).
    """

    partitions: Sequence[TopicPartition]  # the table; grows during the life of a worker, its places never change
    partition: Int64  # (n,) place in `partitions`
    offset: Int64  # (n,)
    timestamp: Int64  # (n,)
    key: list[bytes | None]  # n
    value: list[bytes | None]  # n
    headers: Callable[[int], Headers]

    def __len__(self) -> int:
        """The number of records."""
        return len(self.value)


class Refused(NamedTuple):
    """A record that cannot be scored: its row, a reason of the contract, a sentence that names the field."""

    row: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Events:
    """The valid records of a batch. Every row of the batch is in exactly one of `row`, `refused`, `skipped`."""

    row: Int64  # (m,) row in the batch's Records, ascending
    entity: list[str]  # m
    event_time: Int64  # (m,) milliseconds since 1970
    features: Float32  # (m, F), NaN = missing
    context: list[bytes] | None  # m rendered JSON objects; None where nothing is passed through
    refused: list[Refused]
    skipped: Int64  # rows where `where` does not hold (and tombstones, if they are skipped)

    def __len__(self) -> int:
        """The number of valid events."""
        return len(self.row)


@dataclass(frozen=True, slots=True)
class Windows:
    """The last rows of each scored event's entity, the event itself last."""

    values: Float32  # (m, W, F), NaN rows in front where not seen yet
    elapsed: (
        Float32 | None
    )  # (m, W) seconds from each row to the last, NaN in front; None where the model has no such input
    length: Int64  # (m,) rows seen, 1..W
    first_offset: Int64  # (m,) offset of the oldest row
    truncated: Bool  # (m,) older rows may be missing because the log no longer has them
    digest: NDArray[np.uint64]  # (m,) the sum of splitmix64 over the offsets, modulo 2^64


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the k explained events scored as they did."""

    row: Int64  # (k,) row in the Scores' columns, ascending
    contribution: Float32  # (k, W, F) shares, >= 0, sum 1
    expected: Float32  # (k, W, F) in input units


@dataclass(frozen=True, slots=True)
class Scores:
    """What the detector says of m windows. Rows that are not finite hold NaN and become dead letters."""

    score: Float32  # (m,)
    p_value: Float32  # (m,)
    explanation: Explanation
    unknown_entities: int = 0  # windows of entities that the model was not trained on, where it tells them apart


class OutgoingRecord(NamedTuple):
    """One record to publish. `partition` is -1 where the key decides."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int
    timestamp: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One batch rendered: columns of scores (the many), records of dead letters (the few)."""

    key: list[bytes]
    value: list[bytes]
    partition: list[int]  # -1 where the key decides
    timestamp: list[int]
    headers: list[Headers] | None  # None where no headers are forwarded
    anomaly: Bool  # which of these scores are anomalies
    dead_letters: list[OutgoingRecord]
