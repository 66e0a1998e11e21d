"""Ranges of time as people write them become milliseconds. Knows no data."""

from collections.abc import Iterable

import pyarrow as pa

from export.errors import UsageError
from export.event_time import UnreadableTimeError, milliseconds, unit_of


def time_ranges(texts: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Each START/END, ISO 8601 or numbers of one unit, as the first and the last millisecond of the range.

    Raises:
        UsageError: one of them is no range.
    """
    return tuple(_range(text) for text in texts)


def _range(text: str) -> tuple[int, int]:
    ends = [end.strip() for end in text.split("/")]
    if len(ends) != 2:
        raise UsageError(f"--exclude-ranges {text}: give START/END, such as 2024-05-01T00:00Z/2024-05-02T12:00Z.")
    column = pa.array(ends)
    try:
        start_ms, end_ms = milliseconds(column, unit_of(column)).tolist()
    except UnreadableTimeError as error:
        raise UsageError(
            f"--exclude-ranges {text}: {error}; give ISO 8601 times, or numbers as --timestamp has."
        ) from error
    if end_ms < start_ms:
        raise UsageError(f"--exclude-ranges {text}: it ends before it starts.")
    return start_ms, end_ms
