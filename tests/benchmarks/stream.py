"""The events that all contestants read: 1,000 machines with 8 correlated sensors each, the same for the same seed.

As a table they train the detector, as JSON they fill the input topic.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray

FEATURES = ("temperature", "pressure", "vibration", "current", "voltage", "speed", "torque", "flow")
ENTITIES = 1_000
START_MS = 1_700_000_000_000
STEP_MS = 1_000  # between two events of a machine

_HIDDEN = 3  # what really moves: eight sensors show three things, so there is something to learn
_MIXING = np.random.default_rng(0).normal(size=(_HIDDEN, len(FEATURES)))  # of all machines: one detector fits them
_MEMORY = 0.95  # what is left of a machine's state after a step
_DELIVERY_TIMEOUT_S = 60.0
_EVENT = "{" + ",".join(f'"{name}":%.2f' for name in FEATURES) + "}"  # about 150 bytes


def names(entities: int = ENTITIES) -> list[str]:
    """The machines' names."""
    return [f"machine-{number:04}" for number in range(entities)]


def rows(events: int, *, entities: int = ENTITIES, seed: int = 0) -> Iterator[NDArray[np.float64]]:
    """Values of (entity, feature), one event of every machine at a time; `events` in all, rounded up to a whole row."""
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(entities, _HIDDEN))
    for _ in range(-(-events // entities)):
        state = _MEMORY * state + np.sqrt(1 - _MEMORY**2) * rng.normal(size=state.shape)
        yield 50 + 10 * (state @ _MIXING + rng.normal(0, 0.3, (entities, len(FEATURES))))


def write_table(path: Path, *, events: int, entities: int, seed: int) -> None:
    """The events as CSV, for training."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["machine", "time", *FEATURES])
        for moment, row in enumerate(rows(events, entities=entities, seed=seed)):
            table.writerows(
                [name, START_MS + moment * STEP_MS, *values]
                for name, values in zip(names(entities), row.round(2).tolist(), strict=True)
            )


def fill(bootstrap: str, topic: str, *, events: int, seed: int) -> None:
    """Write that many events to the topic: key = machine, value = JSON. Raises RuntimeError where one is not taken."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 20,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 200_000,
            "delivery.report.only.error": True,
            "log_level": 0,
        }
    )
    keys = [name.encode() for name in names()]
    left = events
    for moment, row in enumerate(rows(events, seed=seed)):
        values = [_EVENT % tuple(event) for event in row[:left].tolist()]
        _produce(producer, topic, keys, values, START_MS + moment * STEP_MS)
        left -= len(values)
    if producer.flush(_DELIVERY_TIMEOUT_S):
        raise RuntimeError(f"{topic} did not take all events in {_DELIVERY_TIMEOUT_S:g} s")


def _produce(producer: Producer, topic: str, keys: Sequence[bytes], values: Sequence[str], timestamp_ms: int) -> None:
    for key, value in zip(keys, values, strict=False):
        while True:
            try:
                producer.produce(topic, value, key, timestamp=timestamp_ms)
            except BufferError:
                producer.poll(0.1)
            else:
                break
    producer.poll(0)
