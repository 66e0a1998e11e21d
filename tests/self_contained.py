"""Events that hold entity and time themselves, as a file of events does."""

import json
from collections.abc import Mapping
from itertools import islice

from tests.end_to_end.stream import BAD_VALUES, events

PATHS: Mapping[str, str] = {"entity": "machine", "timestamp": "t"}
"""What the settings' `events` must say of them."""


def self_contained_events(count: int) -> list[bytes]:
    """So many good ones, bad values of every kind between them (but null, which no file has)."""
    values = [
        json.dumps({"machine": event.key.decode(), "t": event.timestamp, **json.loads(event.value)}).encode()
        for event in islice(events(bad_share=0.0), count)
    ]
    for place, bad in enumerate(value for value in BAD_VALUES.values() if value is not None):
        values.insert(7 * place + 5, bad)
    return values
