"""A part of one partition's log, and how a budget of records is spread over several."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.batch import TopicPartition


@dataclass(frozen=True, slots=True)
class Slice:
    """The offsets `start` <= offset < `end` of a partition."""

    partition: TopicPartition
    start: int
    end: int

    def __len__(self) -> int:
        """Offsets, of which aborted records and transaction markers hold some."""
        return max(0, self.end - self.start)

    def newest(self, offsets: int) -> "Slice":
        """Its last `offsets` offsets."""
        return Slice(self.partition, max(self.start, self.end - offsets), self.end)


def newest(slices: Sequence[Slice], offsets: int) -> list[Slice]:
    """The newest of all, each partition in proportion to what it has, `offsets` together at most."""
    total = sum(map(len, slices))
    if total <= offsets:
        return list(slices)
    shares = [len(one) * offsets // total for one in slices]
    rest = offsets - sum(shares)  # fewer than there are partitions that have more than their share
    for place in sorted(range(len(slices)), key=lambda place: shares[place] - len(slices[place]))[:rest]:
        shares[place] += 1
    return [one.newest(share) for one, share in zip(slices, shares, strict=True)]
