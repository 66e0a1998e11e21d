"""Readers of scores and dead letters during a run, as any consumer would be: read_committed, from the start."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Self

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from tests.end_to_end.job import wait_until
from tests.topics import log_record

if TYPE_CHECKING:
    from tests.log_record import LogRecord


class Reader:
    """Reads all these partitions in a thread of its own, from entering the block until leaving it."""

    def __init__(self, bootstrap: str, places: Iterable[tuple[str, int]]) -> None:
        places = list(places)
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
        self._read_until = dict.fromkeys(places, 0)
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Stop. What went wrong in the thread is raised here: who saw nothing proves nothing."""
        self._stopped.set()
        self._thread.join()
        self._consumer.close()
        if error is None and self._failure is not None:
            raise self._failure

    def take(self, message: Message) -> None:
        """One more record."""
        raise NotImplementedError

    def wait_for(self, ends: Mapping[tuple[str, int], int], *, timeout_s: float = 60.0) -> None:
        """Return once everything before these offsets was read; after a while, too: what is missing was not seen."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: all(self._read_until[place] >= end for place, end in ends.items()), "unread", timeout_s)

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as failure:  # noqa: BLE001 - raised again where the block is left
            self._failure = failure

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._read()

    def _read(self) -> None:
        for message in self._consumer.consume(5_000, 0.2):
            place, offset = (message.topic(), message.partition()), message.offset()
            error = message.error()
            if error is None:
                self.take(message)
                self._read_until[place] = offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:  # markers lie between the last record and here
                self._read_until[place] = offset


class Collector(Reader):
    """Keeps every record."""

    def __init__(self, bootstrap: str, places: Iterable[tuple[str, int]]) -> None:
        super().__init__(bootstrap, places)
        self.records: list[LogRecord] = []

    def take(self, message: Message) -> None:
        """Keep it."""
        self.records.append(log_record(message))


class Tally(Reader):
    """Counts the records of each partition: there may be more of them than can be kept."""

    def __init__(self, bootstrap: str, places: Iterable[tuple[str, int]]) -> None:
        super().__init__(bootstrap, places)
        self.counts: Counter[tuple[str, int]] = Counter()

    def take(self, message: Message) -> None:
        """Count it."""
        self.counts[message.topic(), message.partition()] += 1
