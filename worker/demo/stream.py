"""Plays the test rows into a topic as JSON events, at a pace that a person can watch."""

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import msgspec
from confluent_kafka import Producer

from worker.demo.machines import ENTITY_COLUMN, TIME_COLUMN, Machines

Event = tuple[bytes, bytes]
"""Key and value of a record."""

_SOON_S = 0.05


def events(machines: Machines) -> Iterator[Event]:
    """All test rows as they would have come: by time, all servers at each moment; the key is the server."""
    encode = msgspec.json.Encoder().encode
    for row in range(max(len(rows.time) for rows in machines.test.values())):
        for server, rows in machines.test.items():
            if row < len(rows.time):
                metrics = zip(machines.features, rows.values[row].tolist(), strict=True)
                # Rounded, because 0.49 as float32 is 0.49000000953 as float64.
                event = {feature: round(value, 6) for feature, value in metrics}
                yield server.encode(), encode({ENTITY_COLUMN: server, TIME_COLUMN: rows.time[row], **event})


class Player:
    """Produces events no faster than `events_per_s`, whenever it is given a turn; owns the producer."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        source: Iterator[Event],
        *,
        events_per_s: float,
        clock: Callable[[], float] = time.monotonic,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        # Java's partitioner, so that a key lies where every other Kafka client would look for it.
        settings = {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "log_level": 0}
        self._producer = Producer({**settings, **(properties or {})})
        self._topic = topic
        self._source = source
        self._events_per_s = events_per_s
        self._clock = clock
        self._started_s: float | None = None
        self.played = 0
        self.finished = False

    def turn(self) -> None:
        """Produce what is due by now."""
        now_s = self._clock()
        self._started_s = now_s if self._started_s is None else self._started_s
        due = int((now_s - self._started_s + _SOON_S) * self._events_per_s) - self.played
        batch = list(islice(self._source, max(0, due)))
        for key, value in batch:
            self._producer.produce(self._topic, value=value, key=key)
        self.played += len(batch)
        self.finished = len(batch) < due
        self._producer.poll(0)

    def flush(self, timeout_s: float) -> int:
        """Wait until all are stored; how many are not."""
        return int(self._producer.flush(timeout_s))
