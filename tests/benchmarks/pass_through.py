"""The floor: the bytes of a topic in, the same bytes out, nothing between. No worker with these clients is faster."""

import contextlib
import time
from collections.abc import Sequence

from confluent_kafka import Consumer, Message, Producer

from tests.benchmarks.clients import Job, consumer, flush, job, job_options, polls, producer

AT_ONCE = 10_000
COMMIT_INTERVAL_S = 0.1  # the worker's default


def plain(task: Job) -> None:
    """Offsets are committed by the client behind our back."""
    writer = producer(task, transactional=False)
    with contextlib.closing(consumer(task, auto_commit=True)) as reader:
        for messages in polls(reader, events=task.events, at_once=AT_ONCE):
            _copy(writer, task.target, messages)
        flush(writer)


def in_transactions(task: Job) -> None:
    """Offsets are committed with the records, several polls at once."""
    writer = producer(task, transactional=True)
    with contextlib.closing(consumer(task, auto_commit=False)) as reader:
        begun_s = None
        for messages in polls(reader, events=task.events, at_once=AT_ONCE):
            if begun_s is None:
                writer.begin_transaction()
                begun_s = time.monotonic()
            _copy(writer, task.target, messages)
            if time.monotonic() - begun_s >= COMMIT_INTERVAL_S:
                _commit(writer, reader)
                begun_s = None
        if begun_s is not None:
            _commit(writer, reader)


def _copy(writer: Producer, topic: str, messages: Sequence[Message]) -> None:
    records = [{"key": message.key(), "value": message.value()} for message in messages]
    while records:
        if writer.produce_batch(topic, records) < len(records):
            writer.poll(0.01)  # the queue is full
        else:
            writer.poll(0)
        records = [record for record in records if record.pop("_error", None) is not None]


def _commit(writer: Producer, reader: Consumer) -> None:
    writer.send_offsets_to_transaction(reader.position(reader.assignment()), reader.consumer_group_metadata())
    writer.commit_transaction()


def main() -> None:
    """The command line."""
    parser = job_options(__doc__)
    parser.add_argument("--transactional", action="store_true")
    options = parser.parse_args()
    (in_transactions if options.transactional else plain)(job(options))


if __name__ == "__main__":
    main()
