"""Who wrote a record: a broker's log segments, read from outside, tell the transaction of each batch.

Record batches of version 2, as https://kafka.apache.org/documentation/#recordbatch describes them; uncompressed ones
where records are looked into, which those of the transactions' own log are.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEADER = struct.Struct(">qiibIhiqqqhii")  # base offset, length, ..., records
_BEFORE_LENGTH_COUNTS = 12
_TRANSACTIONAL, _CONTROL, _COMPRESSION = 0x10, 0x20, 0x07


@dataclass(frozen=True)
class Batch:
    """A record batch's header, and its records as bytes."""

    first: int
    last: int
    is_transactional: bool
    is_control: bool
    producer_id: int
    producer_epoch: int
    at_ms: int  # the latest of its timestamps; of a marker, when it was written
    records: bytes  # none where they are compressed


def batches(folder: Path) -> Iterator[Batch]:
    """All batches in a partition's folder, in order; a torn one at the end is left out."""
    for path in sorted(folder.glob("*.log")):
        data, at = path.read_bytes(), 0
        while at + _HEADER.size <= len(data):
            first, length, _, _, _, attributes, last, _, at_ms, producer, epoch, _, _ = _HEADER.unpack_from(data, at)
            end = at + _BEFORE_LENGTH_COUNTS + length
            if length <= 0 or end > len(data):
                break
            yield Batch(
                first=first,
                last=first + last,
                is_transactional=bool(attributes & _TRANSACTIONAL),
                is_control=bool(attributes & _CONTROL),
                producer_id=producer,
                producer_epoch=epoch,
                at_ms=at_ms,
                records=b"" if attributes & _COMPRESSION else data[at + _HEADER.size : end],
            )
            at = end


def transactional_ids(data: Path) -> dict[int, str]:
    """Producer id -> transactional.id, of all that the broker's transaction log has seen."""
    found = {}
    for folder in data.glob("__transaction_state-*"):
        for batch in batches(folder):
            for key, value in _records(batch):
                if key and value:
                    (length,) = struct.unpack_from(">h", key, 2)
                    (producer_id,) = struct.unpack_from(">q", value, 2)
                    found[producer_id] = key[4 : 4 + length].decode()
    return found


def _records(batch: Batch) -> Iterator[tuple[bytes | None, bytes | None]]:
    data, at = batch.records, 0
    while at < len(data):
        length, at = _varint(data, at)
        end = at + length
        at += 1  # attributes
        for _ in range(2):  # timestamp and offset
            _, at = _varint(data, at)
        key, at = _bytes(data, at)
        value, at = _bytes(data, at)
        yield key, value
        at = end


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = _varint(data, at)
    return (None, at) if length < 0 else (data[at : at + length], at + length)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag number of seven bits a byte, and where the next thing begins."""
    number, at = unsigned(data, at)
    return (number >> 1) ^ -(number & 1), at


def unsigned(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next thing begins."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return number, at


def open_transactions(data: Path, topic: str) -> list[dict[str, object]]:
    """Those that no marker has ended, with their first batch."""
    found: list[dict[str, object]] = []
    for folder in sorted(data.glob(f"{topic}-*")):
        begun: dict[int, Batch] = {}
        for batch in batches(folder):
            if batch.is_control:
                begun.pop(batch.producer_id, None)
            elif batch.is_transactional:
                begun.setdefault(batch.producer_id, batch)
        partition = int(folder.name.rpartition("-")[2])
        found += [transaction_of(data, topic, partition, batch.first) for batch in begun.values()]
    return found


def transaction_of(data: Path, topic: str, partition: int, offset: int) -> dict[str, object]:
    """Whose transaction a record belongs to, and where its marker lies; for people who look into a failure."""
    found = list(batches(data / f"{topic}-{partition}"))
    own = next((batch for batch in found if batch.first <= offset <= batch.last and not batch.is_control), None)
    if own is None or not own.is_transactional:
        return {}
    marks = (batch for batch in found if batch.is_control and batch.producer_id == own.producer_id)
    near = [_in_short(batch) for batch in found if batch.producer_id == own.producer_id]
    here = near.index(_in_short(own))
    return {
        "partition": f"{topic}-{partition}",
        "transactional_id": transactional_ids(data).get(own.producer_id),
        "producer": own.producer_id,
        "batch": [own.first, own.last],
        "marker": next((mark.first for mark in marks if mark.first > offset), None),
        "near": near[max(0, here - 5) : here + 6],
    }


def _in_short(batch: Batch) -> str:
    what = f"{batch.first}-{batch.last} of epoch {batch.producer_epoch}"
    if not batch.is_control:
        return what
    ((key, _),) = _records(batch)
    kind = "commit" if (key or b"")[2:4] == b"\x00\x01" else "abort"
    return f"{what}: {kind} at {batch.at_ms}"
