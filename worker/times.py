"""What people write for points and spans of time in, milliseconds out."""

import re
from datetime import UTC, datetime

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_MILLISECONDS_FROM = 100_000_000_000
"""An epoch number from here on counts milliseconds: as seconds it would lie beyond the year 5000."""


def span_ms(text: str) -> int:
    """`90s`, `15m`, `12h`, `7d`, `2w` in milliseconds. Raises ValueError."""
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is no span of time such as 90s, 15m, 12h, 7d or 2w")
    return round(float(match[1]) * _UNIT_MS[match[2]])


def epoch_ms(text: str) -> int:
    """An ISO 8601 date or time (UTC where it names no zone) or epoch seconds or milliseconds. Raises ValueError."""
    try:
        number = float(text)
    except ValueError:
        return round(_iso(text).timestamp() * 1000)
    return round(number if abs(number) >= _MILLISECONDS_FROM else number * 1000)


def _iso(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither a time such as 2024-05-01T12:00 nor an epoch number") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def iso(moment_ms: int) -> str:
    """The moment for people, to the second, in UTC."""
    return datetime.fromtimestamp(moment_ms / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
