"""What decoding and encoding cost: microseconds of CPU time an event, for each kind of event and of record.

`python -m tests.benchmarks.rooms` prints a table: the best and the median of many batches of 4096 events of 8 features;
and what the failpoints of a batch cost beside that, which nobody armed.
"""

import argparse
import gc
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from worker.batch import Events, Explanation, Records, Scores, TopicPartition, Windows
from worker.decoder import EventFormat, JsonDecoder
from worker.encoder import Encoder, OutputFormat
from worker.failpoints import NAMES as FAILPOINTS
from worker.failpoints import reach

EVENTS = 4096
FEATURES = 8
WINDOW = 32
START_MS = 1_700_000_000_000
NAMES = tuple(f"f{place}" for place in range(FEATURES))

Row = dict[str, object]


class Case(NamedTuple):
    """One line of the table."""

    name: str
    run: Callable[[], object]


def records(value: Callable[[int, Row], bytes]) -> Records:
    """A batch of one partition; `value` writes an event from its row number and its features."""
    rng = random.Random(1)
    rows: list[Row] = [{name: round(rng.gauss(50, 20), 2) for name in NAMES} for _ in range(EVENTS)]
    return Records(
        partitions=[TopicPartition("machine-events", 0)],
        partition=np.zeros(EVENTS, dtype=np.int64),
        offset=np.arange(10**9, 10**9 + EVENTS),
        timestamp=np.arange(START_MS, START_MS + EVENTS),
        key=[b"machine-%04d" % rng.randrange(1000) for _ in rows],
        value=[value(place, row) for place, row in enumerate(rows)],
        headers=lambda _: (),
    )


def compact(_: int, row: Row) -> bytes:
    """No more than the features: about 110 bytes."""
    return json.dumps(row, separators=(",", ":")).encode()


def with_envelope(place: int, row: Row) -> bytes:
    """Names and times beside the features, and spaces: about 250 bytes."""
    moment = datetime.fromtimestamp(START_MS / 1000 + place, tz=UTC).isoformat().replace("+00:00", "Z")
    return json.dumps(
        {"machine": f"m{place % 1000}", "site": {"id": place % 7}, "at": moment, "ms": START_MS, **row}
    ).encode()


def nested(_: int, row: Row) -> bytes:
    """Features two steps down."""
    return json.dumps({"data": {"values": row}}).encode()


def with_null(_: int, row: Row) -> bytes:
    """One feature null."""
    return json.dumps(row | {"f3": None}).encode()


def with_text(_: int, row: Row) -> bytes:
    """One feature of a wrong type."""
    return json.dumps(row | {"f3": "secret"}).encode()


def decoding() -> Iterator[Case]:
    """Every kind of event."""
    plain, wide = records(compact), records(with_envelope)

    def case(name: str, batch: Records, **settings: object) -> Case:
        form: dict[str, object] = {"features": tuple((name, (name,)) for name in NAMES), "where": {}}
        decoder = JsonDecoder(EventFormat(**(form | settings)))  # type: ignore[arg-type]
        return Case(f"decode {name}", lambda: decoder.decode(batch))

    yield case("compact, entity from the key", plain)
    yield case("wide, entity from the key", wide)
    yield case("wide, entity from a path", wide, entity=("machine",))
    yield case("wide, time in ms", wide, timestamp=("ms",))
    yield case("wide, time in ISO 8601", wide, timestamp=("at",), timestamp_unit="iso8601")
    yield case("wide, where", wide, where={("site", "id"): (0, 1, 2, 3, 4, 5, 6)})
    yield case("wide, two passed through", wide, passthrough=(("machine",), ("site", "id")))
    yield case("nested", records(nested), features=tuple((name, ("data", "values", name)) for name in NAMES))
    yield case("a null in each", records(with_null))
    yield case("all refused", records(with_text))


def encoding() -> Iterator[Case]:
    """Every kind of record."""
    batch = records(compact)
    rng = np.random.default_rng(1)
    windows = Windows(
        values=rng.normal(size=(EVENTS, WINDOW, FEATURES)).astype(np.float32),
        elapsed=None,
        length=np.full(EVENTS, WINDOW),
        first_offset=batch.offset - 31_000,
        truncated=np.zeros(EVENTS, dtype=np.bool_),
        digest=rng.integers(0, 2**63, EVENTS).astype(np.uint64),
    )

    def case(name: str, *, explained: int, context: bool = False) -> Case:
        share = rng.random((explained, WINDOW, FEATURES)).astype(np.float32)
        scores = Scores(
            score=rng.exponential(0.3, EVENTS).astype(np.float32),
            p_value=rng.random(EVENTS).astype(np.float32),
            explanation=Explanation(np.arange(explained), share, share),
        )
        events = Events(
            row=np.arange(EVENTS),
            entity=[(key or b"").decode() for key in batch.key],
            event_time=batch.timestamp,
            features=np.ascontiguousarray(windows.values[:, -1]),
            context=[b'{"site":7}'] * EVENTS if context else None,
            refused=[],
            skipped=np.empty(0, dtype=np.int64),
        )
        encoder = Encoder(_output_format("all" if explained else "never"))
        return Case(f"encode {name}", lambda: encoder.encode(batch, events, windows, scores, copartitioned=frozenset()))

    yield case("unexplained", explained=0)
    yield case("unexplained, with context", explained=0, context=True)
    yield case("1 % explained", explained=EVENTS // 100)
    yield case("all explained", explained=EVENTS)


def _output_format(explain: str) -> OutputFormat:
    return OutputFormat(
        features=NAMES,
        min_length=WINDOW,
        threshold=1.0,
        explain=explain,  # type: ignore[arg-type]
        top=3,
        model_name="machine",
        model_version="1",
        model_sha256="0" * 64,
        dead_letter_topic="dead",
        max_dead_letter_bytes=1_048_000,
    )


def microseconds(run: Callable[[], object], batches: int) -> list[float]:
    """CPU time an event, of each batch; without automatic garbage collection, as in the worker's loop."""
    gc.collect()
    gc.disable()
    run()
    spent = []
    for _ in range(batches):
        started = time.process_time()
        run()
        spent.append((time.process_time() - started) / EVENTS * 1e6)
    return spent


def failpoints() -> Case:
    """All of them, each once: more than a batch passes."""

    def run() -> None:
        for name in FAILPOINTS:
            reach(name)

    return Case("all unarmed failpoints", run)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=50)
    batches = parser.parse_args().batches
    print(f"{'':<42} {'best':>6} {'median':>6}  us an event")  # noqa: T201  a table is the purpose
    for case in (*decoding(), *encoding()):
        spent = microseconds(case.run, batches)
        print(f"{case.name:<42} {min(spent):>6.2f} {statistics.median(spent):>6.2f}")  # noqa: T201  likewise
    spent = microseconds(failpoints().run, batches)
    print(f"{failpoints().name:<42} {min(spent):>6.4f} {statistics.median(spent):>6.4f}")  # noqa: T201  likewise


if __name__ == "__main__":
    main()
