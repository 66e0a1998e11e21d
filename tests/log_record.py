"""One record as it lies in a Kafka log: what tests write, read back and reckon with."""

from collections.abc import Sequence
from typing import NamedTuple


class LogRecord(NamedTuple):
    """A record with its place. `timestamp` is milliseconds since 1970, -1 where it has none."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition and offset: what no other record has."""
        return self.topic, self.partition, self.offset
