"""Events of a few entities as bytes, some bad in every way that the contract knows; and a thread that streams them.

The same seed gives the same events. It knows nothing of what becomes of them.
"""

import json
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Self

from confluent_kafka import Producer

from tests.log_record import LogRecord
from tests.topics import produce

FIRST_TIME_MS = 1_700_000_000_000
ENTITIES = 12
BAD_SHARE = 0.03  # of all kinds together

MAX_BYTES = 4_000
"""What the tests set as `events.max_bytes`, so that an oversized event stays small."""

BAD_VALUES: Mapping[str, bytes | None] = {
    "null": None,
    "no bytes": b"",
    "oversized": b'{"x":1,"y":2,"fill":"' + b"." * MAX_BYTES + b'"}',
    "broken UTF-8": b'{"x":1,"y":2,"z":"\xc3\x28"}',
    "truncated": b'{"x":1,"y":',
    "two texts": b'{"x":1,"y":2},{"x":1,"y":2}',
    "an array's end": b'{}],"x":7}',
    "an array's start": b'{"o":[{}',
    "an array": b"[1,2]",
    "a number": b"7",
    "deep": b'{"x":1,"y":' + b"[" * 500 + b"]" * 500 + b"}",
    "a huge integer": b'{"x":' + b"9" * 400 + b',"y":2}',
    "out of range": b'{"x":1e999,"y":2}',
    "too large for float32": b'{"x":1e39,"y":2}',
    "NaN": b'{"x":NaN,"y":2}',
    "a boolean": b'{"x":true,"y":2}',
    "a number as text": b'{"x":"1","y":2}',
    "an earlier wrong type": b'{"x":[],"x":1,"y":2}',
    "no feature": b'{"z":1}',
    "null features": b'{"x":null,"y":null}',
}
BAD_KEYS: Sequence[bytes | None] = (None, b"", b"\xff\xfe", b"k" * 513)


class Event(NamedTuple):
    """A record without its place."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Sequence[tuple[str, bytes | None]] = ()

    def to(self, topic: str, partition: int = -1) -> LogRecord:
        """The record as it is to be written."""
        return LogRecord(topic, partition, -1, self.timestamp, self.key, self.value, self.headers)


def events(seed: int = 1, *, bad_share: float = BAD_SHARE, entities: int = ENTITIES) -> Iterator[Event]:
    """Endless events, a second apart; now and then a value far off, a missing one, a repeated name, or a bad record."""
    chance = random.Random(seed)
    timestamp = FIRST_TIME_MS
    while True:
        timestamp += 1_000
        key = f"machine-{chance.randrange(entities)}".encode()
        headers = (("trace", str(timestamp).encode()),) if chance.random() < 0.1 else ()
        if chance.random() >= bad_share:
            yield Event(key, _good_value(chance), timestamp, headers)
        elif chance.random() < 0.2:
            yield Event(chance.choice(BAD_KEYS), _good_value(chance), timestamp, headers)
        else:
            yield Event(key, BAD_VALUES[chance.choice(list(BAD_VALUES))], timestamp, headers)


def one_of_each_bad_kind() -> Iterator[Event]:
    """Every bad event once, each between good ones of the same entity."""
    good = events(seed=5, bad_share=0.0)
    for bad in [
        *(Event(b"machine-0", value, 0) for value in BAD_VALUES.values()),
        *(Event(key, b'{"x":1,"y":2}', 0) for key in BAD_KEYS),
    ]:
        before, after = next(good), next(good)
        yield before._replace(key=b"machine-0")
        yield bad._replace(timestamp=before.timestamp)
        yield after._replace(key=b"machine-0")


def _good_value(chance: random.Random) -> bytes:
    event: dict[str, object] = {"x": round(chance.gauss(0, 1), 4), "y": round(chance.gauss(0, 1), 4), "unit": "°C"}
    kind = chance.random()
    if kind < 0.02:
        event["x"] = round(chance.uniform(8, 30), 3)
    elif kind < 0.05:
        event["y"] = None
    elif kind < 0.08:
        del event["x"]
    value = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    return b'{"x":99,' + value[1:] if 0.08 < kind < 0.09 else value


class Stream:
    """A producer in a thread of its own that writes events at a steady rate, whatever becomes of the brokers."""

    def __init__(self, bootstrap: str, topics: Sequence[str], *, a_second: int, seed: int = 1) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 5,
                "partitioner": "murmur2_random",
                "log_level": 0,
            }
        )
        self._topics = topics
        self._events = events(seed)
        self._a_second = a_second
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Write no more, and wait until everything written is acknowledged (unless the test has failed already)."""
        self._stopped.set()
        self._thread.join()
        left = self._producer.flush(60) if error is None else 0
        if left:
            raise TimeoutError(f"{left} events were not acknowledged")

    def wait_for(self, more: int, timeout_s: float = 60.0) -> None:
        """Return once that many more events are on their way."""
        goal, deadline = self.sent + more, time.monotonic() + timeout_s
        while self.sent < goal:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {self.sent} of {goal} events were sent")
            self._stopped.wait(0.01)

    def _run(self) -> None:
        started = time.monotonic()
        while not self._stopped.wait(0.005):
            due = int((time.monotonic() - started) * self._a_second)
            while self.sent < due:
                topic = self._topics[self.sent % len(self._topics)]
                produce(self._producer, next(self._events).to(topic))
                self.sent += 1
            self._producer.poll(0)
