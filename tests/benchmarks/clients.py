"""The Kafka clients of the floor and of the hand-written loop, set up as the worker's are: clients make no difference.

Where they stop: after a number of events, and at the latest when none has come for a while.
"""

import argparse
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, Message, Producer

_POLL_S = 0.05
_SILENCE_S = 20.0  # joining the group included
_GROUP_LEAVES_S = 30.0


class Job(NamedTuple):
    """What a contestant is asked to do."""

    bootstrap: str
    group: str
    source: str
    target: str
    events: int


def job_options(description: str) -> argparse.ArgumentParser:
    """A command line that asks for a job."""
    parser = argparse.ArgumentParser(description=description)
    for name in Job._fields:
        parser.add_argument(f"--{name}", required=True, type=Job.__annotations__[name])
    return parser


def job(options: argparse.Namespace) -> Job:
    """The job that was asked for."""
    return Job(**{name: getattr(options, name) for name in Job._fields})


def consumer(task: Job, *, auto_commit: bool) -> Consumer:
    """A member of the group that begins at the topic's start."""
    reader = Consumer(
        {
            "bootstrap.servers": task.bootstrap,
            "group.id": task.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": auto_commit,
            "isolation.level": "read_committed",
            "session.timeout.ms": 10_000,
            "fetch.queue.backoff.ms": 20,
            "queued.max.messages.kbytes": 65_536,
            "log_level": 0,
        }
    )
    reader.subscribe([task.source])
    return reader


def producer(task: Job, *, transactional: bool) -> Producer:
    """An idempotent producer; where transactional, ready for its first transaction."""
    properties: dict[str, object] = {
        "bootstrap.servers": task.bootstrap,
        "enable.idempotence": True,
        "compression.type": "lz4",
        "linger.ms": 20,
        "partitioner": "murmur2_random",
        "queue.buffering.max.kbytes": 65_536,
        "queue.buffering.max.messages": 500_000,
        "delivery.report.only.error": True,
        "log_level": 0,
    }
    if not transactional:
        return Producer(properties)
    writer = Producer(properties | {"transactional.id": f"floor-{uuid.uuid4().hex}", "transaction.timeout.ms": 10_000})
    writer.init_transactions(_GROUP_LEAVES_S)
    return writer


def polls(reader: Consumer, *, events: int, at_once: int) -> Iterator[Sequence[Message]]:
    """Batches of up to `at_once` records until `events` were given. Raises TimeoutError when they cease to come."""
    left = events
    heard_s = time.monotonic()
    while left > 0:
        messages = reader.consume(at_once, _POLL_S)
        if messages:
            _all_sound(messages)
            heard_s = time.monotonic()
            left -= len(messages)
            yield messages
        elif time.monotonic() - heard_s > _SILENCE_S:
            raise TimeoutError(f"{left} of {events} events did not come")


def _all_sound(messages: Sequence[Message]) -> None:
    for message in messages:
        error = message.error()
        if error is not None:
            raise KafkaException(error)


def flush(writer: Producer) -> None:
    """Return once everything is acknowledged."""
    if writer.flush(_GROUP_LEAVES_S):
        raise TimeoutError("the broker did not acknowledge everything")
