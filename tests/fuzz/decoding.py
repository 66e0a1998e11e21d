"""What must hold of the decoder for any records, and the search for the smallest that break it.

The verdicts are held against the oracle's, which was written from the contract and shares no code with the worker.
"""

import json
import math
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import NamedTuple, TypeAlias

import numpy as np

from schemas.dead_letter import REASONS
from schemas.settings import EventSettings
from tests.fuzz.records import FEATURES, FORMATS, Record, RecordMaker
from tests.log_record import LogRecord
from tests.oracle import Dead, Valid, verdict
from worker.batch import Events, Records, TopicPartition
from worker.decoder import JsonDecoder
from worker.formats import event_format

DECODERS_REASONS = frozenset(REASONS) - {"model_not_finite", "crash", "unknown_schema"}
BATCH_SIZES = (1, 3, 17, 64, 256, 512)
CPU_SECONDS, CPU_SECONDS_A_BYTE = 0.5, 2e-6
"""What a batch may cost, with ample room for a busy machine: far below what anything quadratic would take."""
PEAK_BYTES, PEAK_BYTES_A_RECORD, PEAK_BYTES_A_BYTE = 1 << 20, 4096, 120
"""What a batch may hold at once beside its input; a name or an empty array of three bytes is a Python object."""

Outcome: TypeAlias = tuple[object, ...]


class Witness(NamedTuple):
    """Records that break a promise, and how."""

    broken: str
    settings: Mapping[str, object]
    records: Sequence[Record]


class Target:
    """A decoder for one format, and what is known of it independently."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self.settings = settings
        self._events = EventSettings.model_validate(settings)
        self._decoder = JsonDecoder(event_format(self._events, FEATURES))

    def outcomes(self, batch: Sequence[Record]) -> list[Outcome]:
        """What became of each record. Raises AssertionError unless each is in exactly one place."""
        events = self._decoder.decode(_columns(batch))
        found: dict[int, Outcome] = {}
        rows = events.row.tolist()
        for place, row in enumerate(rows):
            found[row] = _valid(events, place)
        found |= {refused.row: ("refused", refused.reason) for refused in events.refused}
        found |= dict.fromkeys(events.skipped.tolist(), ("skipped",))
        assert len(rows) + len(events.refused) + len(events.skipped) == len(batch), "not every record is in one place"
        assert sorted(found) == list(range(len(batch))), "a record is in two places or none"
        assert rows == sorted(rows), "valid events are not in the log's order"
        assert {refused.reason for refused in events.refused} <= DECODERS_REASONS, "a reason of no contract"
        assert all(_is_sentence(refused.message) for refused in events.refused), "a message is no sentence"
        return [found[row] for row in range(len(batch))]

    def expected(self, record: Record) -> Outcome:
        """The verdict by the table of validity."""
        judged = verdict(LogRecord("t", 0, 0, record.timestamp, record.key, record.value), self._events, FEATURES)
        if isinstance(judged, Valid):
            features = np.array(judged.features, np.float32).tobytes()
            return "valid", judged.entity, judged.event_time, features, judged.context
        return ("refused", judged.reason) if isinstance(judged, Dead) else ("skipped",)

    def broken_promise(self, batch: Sequence[Record], chance: Random, *, alone: int = 2) -> str | None:
        """Which promise does not hold for these records; None where all of them do.

        So many of them are also decoded alone; every one is, where there are as few.
        """
        try:
            found = self.outcomes(batch)
            order = chance.sample(range(len(batch)), len(batch))
            permuted = self.outcomes([batch[row] for row in order])
            by_themselves = {row: self.outcomes([batch[row]])[0] for row in order[:alone]}
        except AssertionError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - any exception is what is looked for
            return f"an exception: {type(error).__name__}: {error}"
        if any(permuted[place] != found[row] for place, row in enumerate(order)):
            return "in another order, records have other outcomes"
        if any(outcome != found[row] for row, outcome in by_themselves.items()):
            return "alone, a record has another outcome than among others"
        for record, outcome in zip(batch, found, strict=True):
            if not _agree(outcome, self.expected(record)):
                return "the verdict is not the one of the contract"
        return None


def _columns(batch: Sequence[Record]) -> Records:
    return Records(
        partitions=[TopicPartition("t", 0)],
        partition=np.zeros(len(batch), np.int64),
        offset=np.arange(len(batch)),
        timestamp=np.array([record.timestamp for record in batch], np.int64),
        key=[record.key for record in batch],
        value=[record.value for record in batch],
        headers=lambda row: (),
    )


def _valid(events: Events, place: int) -> Outcome:
    context = None if events.context is None else events.context[place]
    return "valid", events.entity[place], int(events.event_time[place]), events.features[place].tobytes(), context


def _is_sentence(message: str) -> bool:
    return message.endswith(".") and message.isprintable()


def _agree(outcome: Outcome, expected: Outcome) -> bool:
    if outcome[0] != "valid" or expected[0] != "valid":
        return outcome == expected
    context = {} if outcome[4] is None else json.loads(outcome[4])  # type: ignore[arg-type]
    return outcome[1:3] == expected[1:3] and _same_features(outcome[3], expected[3]) and _same(context, expected[4])


def _same_features(found: object, expected: object) -> bool:
    """Bit for bit, but there are many bit patterns for a missing one."""
    if found == expected:
        return True
    one, other = (np.frombuffer(column, np.float32) for column in (found, expected))  # type: ignore[call-overload]
    return bool(np.array_equal(one, other, equal_nan=True))


def _same(found: object, expected: object) -> bool:
    """Equal as JSON: 1 is 1.0, but no boolean."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_same(value, expected[name]) for name, value in found.items())
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_same, found, expected))
    return isinstance(found, bool) == isinstance(expected, bool) and found == expected


# The search ---------------------------------------------------------------------------------------------------------


def over_budget(target: Target, batch: Sequence[Record]) -> str | None:
    """Whether decoding takes more time or memory than its input allows; None where it does not."""
    size = sum(len(record.value or b"") for record in batch)
    began_s = time.process_time()
    target.outcomes(batch)
    took_s = time.process_time() - began_s
    if took_s > CPU_SECONDS + CPU_SECONDS_A_BYTE * size:
        return f"{size} bytes in {len(batch)} records took {took_s:.2f} s"
    tracemalloc.start()
    target.outcomes(batch)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    allowed = PEAK_BYTES + PEAK_BYTES_A_RECORD * len(batch) + PEAK_BYTES_A_BYTE * size
    return f"{size} bytes in {len(batch)} records held {peak} bytes at once" if peak > allowed else None


def search(seed: int, inputs: int, *, targets: Sequence[Target] = ()) -> Witness | None:
    """Decode so many records by this seed, in every format; the smallest witness, or None where every promise holds."""
    chance = Random(seed)
    maker = RecordMaker(chance)
    targets = targets or [Target(settings) for settings in FORMATS]
    done = batches = 0
    while done < inputs:
        target = targets[batches % len(targets)]
        batch = maker.batch(min(chance.choice(BATCH_SIZES), inputs - done))
        broken = target.broken_promise(batch, chance)
        if broken is None and batches % 500 == 0:
            broken = over_budget(target, batch)
        if broken is not None:
            return smallest(Witness(broken, target.settings, batch), partial(_breaks, target))
        done += len(batch)
        batches += 1
    return None


def _breaks(target: Target, batch: Sequence[Record]) -> bool:
    return target.broken_promise(batch, Random(0), alone=len(batch)) is not None


def smallest(witness: Witness, breaks: Callable[[Sequence[Record]], bool]) -> Witness:
    """As few records as still break it, and as few bytes of them."""
    if not breaks(witness.records):
        return witness  # a matter of time or memory
    records = _fewest(list(witness.records), breaks)
    for place, record in enumerate(records):
        if record.value:
            around = records[:place], records[place + 1 :]
            with_value = lambda value, r=record, a=around: [*a[0], r._replace(value=bytes(value)), *a[1]]  # noqa: E731
            value = _fewest(list(record.value), lambda fewer, w=with_value: breaks(w(fewer)))
            records[place] = record._replace(value=bytes(value))
    return witness._replace(records=records)


def _fewest(items: list[object], breaks: Callable[[list[object]], bool]) -> list[object]:
    """Leave out ever smaller stretches for as long as it still breaks (after Zeller's ddmin)."""
    before = len(items) + 1
    while len(items) < before:
        before = len(items)
        items = _fewer(items, breaks)
    return items


def _fewer(items: list[object], breaks: Callable[[list[object]], bool]) -> list[object]:
    size = math.ceil(len(items) / 2)
    while size:
        start = 0
        while start < len(items):
            fewer = items[:start] + items[start + size :]
            if fewer and breaks(fewer):
                items = fewer
            else:
                start += size
        size //= 2
    return items
