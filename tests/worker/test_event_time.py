"""Times in every unit, one by one and as columns."""

from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.event_time import END_MS, NO_TIME, column_to_ms, in_range, to_ms

UNITS = ("s", "ms", "us", "ns")
MOMENT_MS = 1_700_000_000_123
numbers = st.one_of(
    st.integers(0, 2**63), st.integers(-5, 5), st.integers(), st.floats(0, 1e19), st.floats(allow_nan=False)
)
moments = st.datetimes(datetime(1960, 1, 1), datetime(2270, 1, 1))  # noqa: DTZ001  zones are drawn beside them
zones = st.one_of(
    st.none(), st.just(UTC), st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
)


@pytest.mark.parametrize(
    ("found", "unit"),
    [
        (1_700_000_000.123, "s"),
        (MOMENT_MS, "ms"),
        (float(MOMENT_MS), "ms"),
        (1_700_000_000_123.999, "ms"),
        (1_700_000_000_123_999, "us"),
        (1_700_000_000_123_999_999, "ns"),
        ("2023-11-14T22:13:20.123Z", "iso8601"),
        ("2023-11-14T22:13:20.123", "iso8601"),
        ("2023-11-14T22:13:20.123999999Z", "iso8601"),
        ("2023-11-14 23:13:20.123+01:00", "iso8601"),
        ("20231114T221320.123Z", "iso8601"),
    ],
)
def test_a_time_is_floored_to_its_millisecond(found: object, unit: str) -> None:
    assert to_ms(found, unit) == MOMENT_MS


@pytest.mark.parametrize(
    ("found", "unit"),
    [
        ("1700000000", "s"),
        (True, "s"),
        (None, "ms"),
        (-1, "ms"),
        (-0.001, "s"),
        (float("inf"), "s"),
        (10**400, "ns"),
        (END_MS, "ms"),
        (1_700_000_000, "iso8601"),
        ("", "iso8601"),
        ("yesterday", "iso8601"),
        ("2023-02-29T00:00:00Z", "iso8601"),
        ("2023-11-14T22:13:60Z", "iso8601"),
        ("1969-12-31T23:59:59.999Z", "iso8601"),
        ("1970-01-01T00:00:00+00:01", "iso8601"),
        ("2262-01-01T00:00:00Z", "iso8601"),
    ],
)
def test_what_is_no_time_of_its_unit_is_none(found: object, unit: str) -> None:
    assert to_ms(found, unit) == NO_TIME


def test_the_range_ends_with_2261() -> None:
    assert datetime.fromtimestamp(END_MS / 1000, tz=UTC) == datetime(2262, 1, 1, tzinfo=UTC)
    assert to_ms(END_MS - 1, "ms") == END_MS - 1
    assert in_range(np.array([-1, 0, END_MS - 1, END_MS])).tolist() == [False, True, True, False]


@given(st.integers(0, END_MS - 1))
def test_three_decimals_of_a_second_are_its_milliseconds(moment_ms: int) -> None:
    assert to_ms(float(f"{moment_ms // 1000}.{moment_ms % 1000:03d}"), "s") == moment_ms


@given(st.integers(), st.sampled_from(UNITS))
def test_an_integer_is_floored_exactly(number: int, unit: str) -> None:
    exact = number * Fraction(1000, {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}[unit]) // 1
    assert to_ms(number, unit) == (exact if 0 <= exact < END_MS else NO_TIME)


@given(st.lists(numbers, min_size=1), st.sampled_from(UNITS))
def test_a_column_of_numbers_is_what_each_of_them_is(column: list[float], unit: str) -> None:
    for part in (column, [n for n in column if type(n) is int], [n for n in column if type(n) is float]):
        assert column_to_ms(part, unit).tolist() == [to_ms(number, unit) for number in part]


def _written(moment: datetime, zone: timezone | None, places: int, *, z: bool) -> str:
    text = moment.isoformat(timespec="microseconds")
    text = text[:19] if places == 0 else (text + "000")[: 20 + places]
    if zone is None:
        return text
    return text + ("Z" if z and zone is UTC else moment.replace(tzinfo=zone).isoformat()[-6:])


@given(
    st.lists(st.tuples(moments, zones, st.integers(0, 9), st.booleans()), min_size=1), st.sampled_from([0, 3, 6, None])
)
def test_a_column_of_texts_is_what_each_of_them_is(
    drawn: list[tuple[datetime, timezone | None, int, bool]], places: int | None
) -> None:
    column = [
        _written(moment, zone, own if places is None else places, z=z) for moment, zone, own, z in drawn for _ in "1234"
    ]
    assert column_to_ms(column, "iso8601").tolist() == [to_ms(text, "iso8601") for text in column]


@given(st.data())
def test_damaged_texts_do_not_touch_their_neighbours(data: st.DataObject) -> None:
    column = ["2023-11-14T22:13:20.123Z", "2024-02-29T00:00:00.000Z", "2023-11-14T22:13:20+01:00"] * 9
    for _ in range(data.draw(st.integers(0, 5))):
        row = data.draw(st.integers(0, len(column) - 1))
        place = data.draw(st.integers(0, len(column[row]) - 1))
        damage = data.draw(st.one_of(st.sampled_from("0123456789-+:.TZ \u0661"), st.characters(codec="utf-8")))
        column[row] = column[row][:place] + damage + column[row][place + 1 :]
    assert column_to_ms(column, "iso8601").tolist() == [to_ms(text, "iso8601") for text in column]


def test_an_empty_column_is_empty() -> None:
    assert column_to_ms([], "ms").shape == (0,)
    assert column_to_ms([], "iso8601").shape == (0,)


def test_a_first_text_with_a_separator_among_its_digits_is_read_as_any_other() -> None:
    column = ["2023-11-14T22:1::20.123Z", *["2023-11-14T22:13:20.123Z"] * 8]
    assert column_to_ms(column, "iso8601").tolist() == [NO_TIME, *[1_700_000_000_123] * 8]
