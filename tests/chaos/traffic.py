"""The input of a chaos run: events with Pareto keys, some bad in every way, some in aborted transactions; and a ledger.

The ledger holds what the brokers acknowledged, so that the judge also knows records that were deleted since.
"""

import contextlib
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tests.end_to_end.stream import FIRST_TIME_MS, Event, events
from tests.log_record import LogRecord
from tests.topics import log_record, produce

BAD_SHARE = 0.02
ENTITIES = 3_000
FLUSH_TIMEOUT_S = 180.0  # a broker may be down when the last event was sent
TRANSACTION_EVERY_S = 3.0
BEYOND_2262_MS = 9_300_000_000_000
ANY_TIME = {"message.timestamp.after.max.ms": str(2**63 - 1)}
"""What topics need to take records from the far future, which are `bad_timestamp`."""

BREAKS_THE_MODEL = b'{"x":1000,"y":0}'
"""A valid event for which the model of a chaos run finds no number."""


def pareto(chance: random.Random) -> int:
    """An entity's number: few have most events, most have few."""
    return min(ENTITIES, int(chance.paretovariate(0.7)))


def traffic(seed: int) -> Iterator[Event]:
    """Endless events."""
    chance = random.Random(f"{seed} more")
    for event in events(seed, bad_share=BAD_SHARE, entity=pareto):
        kind = chance.random()
        if kind < 0.002:
            yield event._replace(value=BREAKS_THE_MODEL)
        elif kind < 0.004:
            yield event._replace(timestamp=BEYOND_2262_MS + event.timestamp - FIRST_TIME_MS)
        else:
            yield event


class Ledger:
    """What was written where, by the brokers' own acknowledgement."""

    def __init__(self) -> None:
        self.visible: dict[tuple[str, int, int], LogRecord] = {}
        self.aborted: set[tuple[str, int, int]] = set()
        # What nobody saw the end of, by timestamp, which no two events share. It may lie somewhere, or nowhere.
        self.uncertain: dict[int, LogRecord] = {}

    def note(
        self, into: Callable[[LogRecord], None], record: LogRecord, error: KafkaError | None, message: Message
    ) -> None:
        """A delivery report; it repeats no headers, and where a batch was sent twice it has the newest time for all."""
        if error is None and message.offset() is not None:  # the broker may know only that it had a batch before
            into(log_record(message)._replace(headers=record.headers, timestamp=record.timestamp))
        else:
            self.uncertain[record.timestamp] = record

    def add(self, record: LogRecord) -> None:
        """A record that everybody sees."""
        self.visible[record.place] = record


class Traffic:
    """Writes at a steady rate in a thread of its own, from entering the block until leaving it."""

    def __init__(self, bootstrap: str, topic: str, *, a_second: int, seed: int) -> None:
        self.ledger = Ledger()
        self.sent = 0
        self._bootstrap, self._topic, self._a_second = bootstrap, topic, a_second
        self._events = traffic(seed)
        self._chance = random.Random(f"{seed} transactions")
        self._producer = Producer({**_properties(bootstrap), "enable.idempotence": True, "linger.ms": 5})
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        if error is not None:
            return
        if self._failure is not None:
            raise self._failure
        if left := self._producer.flush(FLUSH_TIMEOUT_S):
            raise TimeoutError(f"of {left} events nobody knows what became of them")

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as failure:  # noqa: BLE001 - raised again where the block is left
            self._failure = failure

    def _run(self) -> None:
        ledger, began_s = self.ledger, time.monotonic()
        transaction_s = began_s + TRANSACTION_EVERY_S
        while not self._stopped.wait(0.005):
            now_s = time.monotonic()
            for _ in range(int((now_s - began_s) * self._a_second) - self.sent):
                record = next(self._events).to(self._topic)
                produce(self._producer, record, on_delivery=partial(ledger.note, ledger.add, record))
                self.sent += 1
            self._producer.poll(0)
            if now_s >= transaction_s:
                self._write_in_transaction(self._chance.randint(1, 20), commit=self._chance.random() < 0.5)
                transaction_s = now_s + TRANSACTION_EVERY_S

    def _write_in_transaction(self, count: int, *, commit: bool) -> None:
        """Markers and aborted records take offsets too, and nobody may score what was aborted."""
        written: list[LogRecord] = []
        begun = [event.to(self._topic) for event in islice(self._events, count)]
        producer = Producer({**_properties(self._bootstrap), "transactional.id": f"writer-{uuid.uuid4().hex}"})
        try:
            producer.init_transactions(5)
            producer.begin_transaction()
            for record in begun:
                produce(producer, record, on_delivery=partial(self.ledger.note, written.append, record))
            producer.flush(5)
            if commit:
                producer.commit_transaction(5)
            else:
                producer.abort_transaction(5)
            producer.flush(5)  # for reports that came late
        except KafkaException:
            # A broker is down. Who writes next ends what is open; what became of it, the log will say.
            with contextlib.suppress(KafkaException):
                producer.abort_transaction(0.1)
            self._note_uncertain(begun)
            return
        if commit and len(written) < len(begun):
            self._note_uncertain(begun)
        elif commit:
            self.ledger.visible |= {record.place: record for record in written}
            self.sent += len(written)
        else:
            self.ledger.aborted |= {record.place for record in written}

    def _note_uncertain(self, begun: list[LogRecord]) -> None:
        self.ledger.uncertain |= {record.timestamp: record for record in begun}


def _properties(bootstrap: str) -> dict[str, object]:
    return {
        "bootstrap.servers": bootstrap,
        "acks": "all",
        "partitioner": "murmur2_random",
        "transaction.timeout.ms": 10_000,
        "log_level": 0,
    }
