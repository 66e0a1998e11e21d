"""Every offset that a group has committed, in the order in which they held: the brokers' own log of offsets tells.

Its records as Apache Kafka 4.3 writes them (OffsetCommitKey of version 1, OffsetCommitValue of version 4). A
read_committed reader sees no offsets of aborted transactions; of two transactions that were open at once brokers, too,
let the offset hold that was written later. Nothing is compacted before a segment is full, which no run fills.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.chaos.segments import unsigned
from tests.log_record import LogRecord

LOG_OF_OFFSETS = "__consumer_offsets"
_KEY, _VALUE = 1, 4
_OFFSET = struct.Struct(">qi")  # and the leader's epoch


class Committed(NamedTuple):
    """A committed offset."""

    topic: str
    partition: int
    offset: int
    metadata: str


def course_of(group: str, log: Iterable[LogRecord]) -> Iterator[Committed]:
    """What the group committed. Raises ValueError where a record is of a version that is not known here."""
    for record in log:
        key, value = record.key or b"", record.value
        (version,) = struct.unpack_from(">h", key)
        if version > _KEY or value is None:  # it tells of members, or of offsets that were forgotten
            continue
        whose, at = _text(key, 2)
        if whose == group:
            topic, at = _text(key, at)
            (partition,) = struct.unpack_from(">i", key, at)
            yield Committed(topic, partition, *_offset(value))


def _text(data: bytes, at: int) -> tuple[str, int]:
    """With its length in front, and where the next thing begins."""
    (length,) = struct.unpack_from(">h", data, at)
    end = at + 2 + length
    return data[at + 2 : end].decode(), end


def _offset(value: bytes) -> tuple[int, str]:
    (version,) = struct.unpack_from(">h", value)
    if version != _VALUE:
        raise ValueError(f"committed offsets of version {version} are not known here, {_VALUE} is")
    offset, _ = _OFFSET.unpack_from(value, 2)
    length, at = unsigned(value, 2 + _OFFSET.size)
    return offset, value[at : at + length - 1].decode().removesuffix("\0")  # which the Python client sends along
