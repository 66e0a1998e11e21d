"""A sample of JSON events in, the names of their numeric top-level fields out: features before there is a model.

It knows no Kafka and no settings.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import msgspec

COMMON_SHARE = 0.5
"""A field in fewer of the events would be missing in most rows."""


def numeric_fields(values: Iterable[bytes | None], *, without: Collection[str]) -> tuple[str, ...]:
    """Top-level fields that are a number (or null) wherever they occur, and occur in at least half of the objects.

    In the order of first sight. `without` names fields that have another meaning: entity, timestamp.
    """
    numbers, others, objects = Counter[str](), set[str](), 0
    for event in map(_object, values):
        if event is None:
            continue
        objects += 1
        numbers.update(name for name, value in event.items() if _is_number(value))
        others.update(name for name, value in event.items() if value is not None and not _is_number(value))
    excluded = others.union(without)
    return tuple(
        name for name, count in numbers.items() if name not in excluded and count >= max(1, COMMON_SHARE * objects)
    )


def _object(value: bytes | None) -> Mapping[str, object] | None:
    try:
        event = msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
