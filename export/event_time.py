"""A column of timestamps in, milliseconds since 1970 out. Knows no files."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

UNITS = ("s", "ms", "us", "ns", "iso8601")
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
# From here on a number is too large for its unit to mean a time before the year 5138.
_CEILINGS = (("s", 1e11), ("ms", 1e14), ("us", 1e17))


class UnreadableTimeError(ValueError):
    """The value at `place` is absent or no time."""

    def __init__(self, place: int, value: object) -> None:
        super().__init__(f"{value!r:.60} is no timestamp" if value is not None else "the timestamp is missing")
        self.place = place


def unit_of(column: pa.Array) -> str:
    """What a column seems to hold, by its first value: ISO 8601 text, or numbers of a size that tells their unit."""
    if pa.types.is_temporal(column.type) or len(column) == 0:
        return "iso8601"
    value = column[0].as_py()
    try:
        number = abs(float(value))
    except (TypeError, ValueError):
        return "iso8601"
    return next((unit for unit, ceiling in _CEILINGS if number < ceiling), "ns")


def milliseconds(column: pa.Array, unit: str) -> NDArray[np.int64]:
    """(n,) milliseconds since 1970, UTC where no zone is given.

    Raises:
        UnreadableTimeError: with the place of the first value that is missing or of another form.
    """
    if column.null_count:
        place = pc.index(column.is_null(), value=True).as_py()
        raise UnreadableTimeError(place, None)
    if pa.types.is_temporal(column.type):
        return _of_timestamps(column)
    return _of_texts(column) if unit == "iso8601" else _of_numbers(column, unit)


def _of_timestamps(column: pa.Array) -> NDArray[np.int64]:
    in_utc = column if getattr(column.type, "tz", None) else pc.cast(column, pa.timestamp("ns"), safe=False)
    nanoseconds: NDArray[np.int64] = pc.cast(pc.cast(in_utc, pa.timestamp("ns"), safe=False), pa.int64()).to_numpy(
        zero_copy_only=False
    )
    return np.asarray(nanoseconds // 1_000_000)


def _of_texts(column: pa.Array) -> NDArray[np.int64]:
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        raise UnreadableTimeError(0, column[0].as_py())
    for form in (pa.timestamp("ns", "UTC"), pa.timestamp("ns")):  # with a zone, without
        try:
            return _of_timestamps(pc.cast(column, form))
        except pa.ArrowInvalid:
            continue
    return np.array([_of_text(text, place) for place, text in enumerate(column.to_pylist())], dtype=np.int64)


def _of_text(text: str, place: int) -> int:
    for form in (pa.timestamp("ns", "UTC"), pa.timestamp("ns")):
        try:
            return int(pc.cast(pa.scalar(text), form).value) // 1_000_000
        except pa.ArrowInvalid:
            continue
    raise UnreadableTimeError(place, text)


def _of_numbers(column: pa.Array, unit: str) -> NDArray[np.int64]:
    per_second = _PER_SECOND[unit]
    try:
        whole = pc.cast(column, pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # a fraction, or no number
        return _of_fractions(column, per_second)
    return np.asarray(whole * (1000 // per_second) if per_second <= 1000 else whole // (per_second // 1000))


def _of_fractions(column: pa.Array, per_second: int) -> NDArray[np.int64]:
    try:
        number = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        place = next(place for place, text in enumerate(column.to_pylist()) if not _is_number(text))
        raise UnreadableTimeError(place, column[place].as_py()) from None
    time_ms = np.round(number * (1000 / per_second))
    unusable = ~(np.abs(time_ms) < 2**62)
    if unusable.any():
        place = int(unusable.argmax())
        raise UnreadableTimeError(place, float(number[place]))
    return np.asarray(time_ms, np.int64)


def _is_number(text: object) -> bool:
    try:
        float(text)  # type: ignore[arg-type]  # whatever the column holds
    except (TypeError, ValueError):
        return False
    return True
