"""A record that cannot be scored in, the record for the dead-letter topic out: as it was, with headers that say why."""

import hashlib

from schemas.dead_letter import (
    MESSAGE_HEADER,
    OFFSET_HEADER,
    PARTITION_HEADER,
    REASON_HEADER,
    TOPIC_HEADER,
    VALUE_SHA256_HEADER,
    VALUE_SIZE_HEADER,
)
from worker.batch import Headers, OutgoingRecord, Records, Refused

FRAMING_BYTES = 512
"""Room for what a record and its batch need beside key, value and headers."""
_HEADER_FRAMING_BYTES = 16


def dead_letter(refused: Refused, records: Records, *, topic: str, max_bytes: int) -> OutgoingRecord:
    """Key, value, timestamp and headers unchanged; the value's first bytes where all of it would pass `max_bytes`."""
    row = refused.row
    key, value = records.key[row], records.value[row]
    headers = [*records.headers(row), *_reasons(refused, records)]
    if value is not None and size_of(key, value, headers) > max_bytes:
        headers += _whole(value)
        value = value[: max(0, max_bytes - size_of(key, b"", headers))]
    return OutgoingRecord(
        topic=topic, key=key, value=value, partition=-1, timestamp=int(records.timestamp[row]), headers=headers
    )


def size_of(key: bytes | None, value: bytes, headers: Headers) -> int:
    """What a producer counts for a record, or a little more."""
    named = sum(len(name.encode()) + len(content or b"") + _HEADER_FRAMING_BYTES for name, content in headers)
    return len(key or b"") + len(value) + named + FRAMING_BYTES


def _reasons(refused: Refused, records: Records) -> list[tuple[str, bytes]]:
    topic, partition = records.partitions[int(records.partition[refused.row])]
    return [
        (TOPIC_HEADER, topic.encode()),
        (PARTITION_HEADER, b"%d" % partition),
        (OFFSET_HEADER, b"%d" % records.offset[refused.row]),
        (REASON_HEADER, refused.reason.encode()),
        (MESSAGE_HEADER, refused.message.encode()),
    ]


def _whole(value: bytes) -> list[tuple[str, bytes]]:
    return [
        (VALUE_SHA256_HEADER, hashlib.sha256(value).hexdigest().encode()),
        (VALUE_SIZE_HEADER, b"%d" % len(value)),
    ]
