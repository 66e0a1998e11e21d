"""Times as records write them in, milliseconds since 1970 out: one by one, or a whole column at once.

Every time is floored to its millisecond. A fraction of a second that came as a binary number is first taken to the
nearest microsecond, else 1700000000.123 would lie below its millisecond. Text without a zone is UTC. It knows no
records; what it gives for a time never depends on the times beside it.
"""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.batch import Bool, Int64
from worker.event_format import TimeUnit

NO_TIME = -1
"""Stands for whatever is no time of its unit, or lies outside 1970 to 2262."""
END_MS = 9_214_646_400_000
"""2262-01-01: in that year nanoseconds since 1970 end."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MS_PER_UNIT = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}
_USUAL_TEXT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(?P<fraction>\d+))?(?:Z|(?P<sign>[+-])\d\d:\d\d)?", re.ASCII
)
_FEWEST_ALIKE = 8  # fewer texts of one length are read one by one: a column of them costs more


def to_ms(found: object, unit: TimeUnit) -> int:
    """Milliseconds since 1970, or `NO_TIME`."""
    if unit == "iso8601":
        return _text_to_ms(found) if isinstance(found, str) else NO_TIME
    if isinstance(found, bool) or not isinstance(found, int | float):
        return NO_TIME
    return _float_to_ms(found, unit) if isinstance(found, float) else _int_to_ms(found, unit)


def column_to_ms(found: Sequence[Any], unit: TimeUnit) -> Int64:
    """The same for a column; quick where its values are all integers, all floats or all text."""
    kinds = set(map(type, found))
    if kinds == {int} and unit != "iso8601":
        return _ints_to_ms(found, unit)
    if kinds == {float} and unit != "iso8601":
        return _floats_to_ms(np.array(found, dtype=np.float64), unit)
    if kinds == {str} and unit == "iso8601":
        return _texts_to_ms(found)
    return _one_by_one(found, unit)


def in_range(times: Int64) -> Bool:
    """Which milliseconds lie within 1970 to 2262."""
    return (times >= 0) & (times < END_MS)


def _one_by_one(found: Sequence[object], unit: TimeUnit) -> Int64:
    return np.fromiter((to_ms(time, unit) for time in found), np.int64, len(found))


def _int_to_ms(number: int, unit: TimeUnit) -> int:
    numerator, denominator = _MS_PER_UNIT[unit]
    milliseconds = number * numerator // denominator
    return milliseconds if 0 <= milliseconds < END_MS else NO_TIME


def _float_to_ms(number: float, unit: TimeUnit) -> int:
    if not 0 <= number < _end(unit):
        return NO_TIME
    return _int_to_ms(round(number * 1e6), "us") if unit == "s" else _int_to_ms(math.floor(number), unit)


def _text_to_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return NO_TIME
    milliseconds = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND
    return milliseconds if 0 <= milliseconds < END_MS else NO_TIME


def _end(unit: TimeUnit) -> int:
    numerator, denominator = _MS_PER_UNIT[unit]
    return END_MS * denominator // numerator


def _ints_to_ms(found: Sequence[Any], unit: TimeUnit) -> Int64:
    try:
        numbers = np.fromiter(found, np.int64, len(found))
    except OverflowError:
        return _one_by_one(found, unit)
    return _whole_to_ms(numbers, unit)


def _whole_to_ms(numbers: Int64, unit: TimeUnit) -> Int64:
    numerator, denominator = _MS_PER_UNIT[unit]
    valid = (numbers >= 0) & (numbers < _end(unit))
    return np.where(valid, numbers * numerator // denominator, NO_TIME)


def _floats_to_ms(numbers: NDArray[np.float64], unit: TimeUnit) -> Int64:
    valid = (numbers >= 0) & (numbers < _end(unit))
    safe = np.where(valid, numbers, 0.0)
    if unit == "s":
        times = _whole_to_ms(np.rint(safe * 1e6).astype(np.int64), "us")
    else:
        times = _whole_to_ms(np.floor(safe).astype(np.int64), unit)
    return np.where(valid, times, NO_TIME)


def _texts_to_ms(texts: Sequence[str]) -> Int64:
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    times = np.empty(len(texts), dtype=np.int64)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        times[rows] = _equally_long_to_ms([texts[row] for row in rows.tolist()])
    return times


def _equally_long_to_ms(texts: Sequence[str]) -> Int64:
    """What looks like the first text, digit for digit, is read as columns of digits; the others one by one."""
    joined = "".join(texts)
    places = _places(texts[0])
    if places is None or len(texts) < _FEWEST_ALIKE or not joined.isascii():
        return _one_by_one(texts, "iso8601")
    digits = np.frombuffer(joined.encode(), dtype=np.uint8).reshape(len(texts), -1) - np.uint8(ord("0"))
    is_digit = digits[0] <= 9
    alike = ((digits <= 9) == is_digit).all(axis=1) & (digits == digits[0])[:, ~is_digit].all(axis=1)
    times, valid = _digits_to_ms(digits.astype(np.int64), *places)
    others = np.flatnonzero(~(alike & valid))
    times[others] = _one_by_one([texts[row] for row in others.tolist()], "iso8601")
    return times


def _places(text: str) -> tuple[int, int] | None:
    """How many digits of a second's fraction, and the sign of the zone's offset (0 = UTC); None if it is unusual."""
    usual = _USUAL_TEXT.fullmatch(text)
    return None if usual is None else (len(usual["fraction"] or ""), {None: 0, "+": 1, "-": -1}[usual["sign"]])


def _digits_to_ms(digits: Int64, fraction: int, sign: int) -> tuple[Int64, Bool]:
    """Times, and which of them are within the calendar and within range."""

    def number(place: int, length: int) -> Int64:
        return digits[:, place : place + length] @ 10 ** np.arange(length - 1, -1, -1)

    year, month, day = number(0, 4), number(5, 2), number(8, 2)
    hour, minute, second = number(11, 2), number(14, 2), number(17, 2)
    valid = (year >= 1970) & (year <= 2262) & (month >= 1) & (month <= 12)
    months = np.where(valid, (year - 1970) * 12 + month - 1, 0)
    first, after = (_first_day(months + step) for step in (0, 1))
    valid &= (day >= 1) & (day <= after - first) & (hour < 24) & (minute < 60) & (second < 60)
    kept = min(fraction, 3)
    thousandths = number(20, kept) * 10 ** (3 - kept)
    seconds = ((first + day - 1) * 24 + hour) * 3600 + minute * 60 + second
    if sign:
        length = digits.shape[1]
        ahead_hours, ahead_minutes = number(length - 5, 2), number(length - 2, 2)
        valid &= (ahead_hours < 24) & (ahead_minutes < 60)
        seconds -= sign * (ahead_hours * 3600 + ahead_minutes * 60)
    times = seconds * 1000 + thousandths
    return times, valid & in_range(times)


def _first_day(months: Int64) -> Int64:
    """Days since 1970 to the first day of a month, counted in months since 1970."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
