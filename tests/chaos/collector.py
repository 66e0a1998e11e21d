"""A reader of scores and dead letters during a run, as any consumer would be: read_committed, from the start."""

import threading
from typing import TYPE_CHECKING, Self

from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.topics import log_record

if TYPE_CHECKING:
    from tests.log_record import LogRecord


class Collector:
    """Reads all partitions of the topics in a thread of its own, from entering the block until leaving it."""

    def __init__(self, bootstrap: str, places: list[tuple[str, int]]) -> None:
        self.records: list[LogRecord] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "collector",  # demanded by the client, never joined
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(*place, 0) for place in places])
        self._all = set(places)
        self._at_end: set[tuple[str, int]] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop at the ends of all partitions, or after a while."""
        self._stopped.set()
        self._thread.join(30)
        self._consumer.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._read()
        for _ in range(100):
            if not self._read() and self._at_end == self._all:
                return

    def _read(self) -> int:
        """Read once; how many records and events that gave."""
        messages = self._consumer.consume(5_000, 0.2)
        for message in messages:
            place = (message.topic(), message.partition())
            error = message.error()
            if error is None:
                self.records.append(log_record(message))
                self._at_end.discard(place)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._at_end.add(place)
        return len(messages)
