"""Spans and points of time as people write them."""

import pytest

from worker.times import epoch_ms, iso, span_ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [("90s", 90_000), ("15m", 900_000), ("1.5h", 5_400_000), (" 7D ", 604_800_000), ("2w", 1_209_600_000)],
)
def test_a_span_is_a_number_with_a_unit(text: str, ms: int) -> None:
    assert span_ms(text) == ms


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1y", "7 days"])
def test_other_spans_are_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="such as 90s, 15m, 12h, 7d or 2w"):
        span_ms(text)


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-14T22:13:20",
        "2023-11-14T22:13:20Z",
        "2023-11-14T23:13:20+01:00",
        "1700000000",
        "1700000000.0",
        "1700000000000",
    ],
)
def test_a_point_is_iso_8601_or_epoch_seconds_or_milliseconds(text: str) -> None:
    assert epoch_ms(text) == 1_700_000_000_000


def test_a_date_is_its_midnight_in_utc() -> None:
    assert iso(epoch_ms("2024-05-01")) == "2024-05-01T00:00:00Z"


def test_anything_else_is_no_time() -> None:
    with pytest.raises(ValueError, match="neither a time such as"):
        epoch_ms("yesterday")
