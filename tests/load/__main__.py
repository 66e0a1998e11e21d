"""Load and age on a real broker: `python -m tests.load overload|entities|soak` (`make load`, `make soak`).

`overload`: events come faster than the worker takes them. `entities`: each event is of an entity of its own. `soak`:
steady load for long, half of what the worker can do. Each prints one line of JSON; exit code 1 where a bound is passed,
which `broken` then tells.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from confluent_kafka import Producer

from tests.broker import Broker
from tests.end_to_end.job import Job, Worker, wait_until
from tests.load.watch import MIB, Watch, settled, slope_mib_an_hour
from tests.topics import Topics

PARTITIONS = 4
WINDOW = 6  # of the job's model, whose events have two features
FIRST_TIME_MS = 1_700_000_000_000
DRAIN_TIMEOUT_S = 1_800.0

BASE_MIB = 420.0
"""Of a worker without windows: interpreter, ONNX Runtime and clients, which may queue 64 MiB each."""

MOST_SLOPE_MIB_AN_HOUR = 1.0
LEAST_S_FOR_A_SLOPE = 1_800.0
"""Within less, caches that fill look like a leak."""

SOAK_LOAD = 0.5
"""Of what the worker can do beside this writer and the broker."""

KEEPS_LITTLE = {"retention.bytes": str(512 * MIB), "segment.bytes": str(64 * MIB)}
"""Topics of a soak: hours of events are more than a disk should hold, and the worker is never far behind."""


class Pump:
    """Writes events until told to stop: `a_second` of them, or as many as it can."""

    def __init__(self, bootstrap: str, topic: str, entity: Callable[[int], str]) -> None:
        properties = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20}
        self._producer = Producer({**properties, "compression.type": "lz4", "log_level": 0})
        self._topic, self._entity = topic, entity
        self.a_second: float | None = None
        self.written = 0

    def write(self, stopped: threading.Event, *, most: int | None = None) -> None:
        """Until `stopped` is set or `most` are written."""
        began_s, before = time.monotonic(), self.written
        while not stopped.is_set() and (most is None or self.written < most):
            due = 5_000
            if self.a_second is not None:
                due = before + int((time.monotonic() - began_s) * self.a_second) - self.written
            for _ in range(min(due, 5_000, (most or sys.maxsize) - self.written)):
                self._write_one()
            self._producer.poll(0 if due > 0 else 0.01)
        if self._producer.flush(120):
            raise TimeoutError("events were not acknowledged within 120 s")

    def _write_one(self) -> None:
        number = self.written
        value = b'{"x":%.3f,"y":%.3f}' % ((number * 37 % 1000) / 500, (number * 91 % 1000) / 500)
        key, timestamp = self._entity(number), FIRST_TIME_MS + number
        while True:
            try:
                self._producer.produce(self._topic, value, key, timestamp=timestamp)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self.written += 1
                return


@contextlib.contextmanager
def place(topics: Topics, *, topic_config: Mapping[str, str] | None = None) -> Iterator[Job]:
    """A job with the settings that users have."""
    with tempfile.TemporaryDirectory() as folder:
        partitions = {"partitions": (PARTITIONS,), "out": PARTITIONS}
        job = Job(topics, Path(folder), **partitions, consumer={}, topic_config=topic_config)
        batch = {"max_events": 4096, "max_wait_ms": 50}
        job.set({"batch": batch, "commit_interval_ms": 100, "lookback_offsets": 1_000_000})
        try:
            yield job
        finally:
            job.end()


def drained(job: Job, worker: Worker) -> float:
    """Wait until everything is answered: how many seconds it took."""
    began_s = time.monotonic()

    def is_drained() -> bool:
        committed = job.committed()
        ends = job.topics.ends(job.inputs[0])
        return all(committed.get((job.inputs[0], number), 0) >= end for number, (_, end) in ends.items())

    worker.wait_until(is_drained, "everything is answered", DRAIN_TIMEOUT_S)
    return time.monotonic() - began_s


def answered(worker: Worker, *, of: int = 0) -> int:
    """Records that it scored or refused; it counts them a moment after they were committed."""
    count = lambda: int(worker.metric("anomaly_worker_records_total"))  # noqa: E731
    with contextlib.suppress(AssertionError):
        wait_until(lambda: count() >= of, "all are counted", 10)
    return count()


def overload(job: Job, *, minutes: float, entities: int) -> dict[str, object]:
    """Events come as fast as one producer can write them."""
    worker = job.start().wait_until_ready()
    pump = Pump(job.topics.bootstrap, job.inputs[0], lambda number: f"e{number % entities}")
    with Watch(worker.pid) as watch:
        _write_for(pump, minutes * 60)
        backlog = pump.written - answered(worker)
        drain_s = drained(job, worker)
    bound = BASE_MIB + _window_mib(min(entities * WINDOW, 2 * 1_000_000 * PARTITIONS), entities)
    told = {
        "written": pump.written,
        "backlog": backlog,
        "drain_s": round(drain_s, 1),
        "answered": answered(worker, of=pump.written),
        "rebalances": int(worker.metric("anomaly_worker_rebalances_total")),
        "most_mib": round(watch.most_mib),
        "bound_mib": round(bound),
    }
    return told | {
        "broken": _broken(
            {
                "memory passed its bound": watch.most_mib > bound,
                "something was lost or came twice": told["answered"] != pump.written,
                "the group lost the worker": int(str(told["rebalances"])) > 1,
            }
        )
    }


def entities(job: Job, *, count: int) -> dict[str, object]:
    """One event of each entity; then another worker fills its windows with all of them."""
    worker = job.start().wait_until_ready()
    pump = Pump(job.topics.bootstrap, job.inputs[0], lambda number: f"e{number}")
    with Watch(worker.pid) as watch:
        pump.write(threading.Event(), most=count)
        drain_s = drained(job, worker)
    worker.stop()
    began_s = time.monotonic()
    successor = job.start()
    with Watch(successor.pid) as later:
        successor.wait_until_ready()
    refill_s = time.monotonic() - began_s
    successor.stop()
    bound = BASE_MIB + _window_mib(count, count)
    return {
        "entities": count,
        "drain_s": round(drain_s, 1),
        "most_mib": round(watch.most_mib),
        "refill_s": round(refill_s, 1),
        "refilled_mib": round(later.most_mib),
        "bound_mib": round(bound),
        "broken": _broken({"memory passed its bound": max(watch.most_mib, later.most_mib) > bound}),
    }


def soak(job: Job, *, minutes: float, a_second: float | None, entities: int) -> dict[str, object]:
    """Steady load: `a_second` events, or half of what the worker can do."""
    worker = job.start().wait_until_ready()
    pump = Pump(job.topics.bootstrap, job.inputs[0], lambda number: f"e{number % entities}")
    pump.a_second = a_second or SOAK_LOAD * _speed(pump, job, worker, seconds=min(30.0, minutes * 60))
    before = pump.written
    with Watch(worker.pid, every_s=min(5.0, minutes)) as watch:
        _write_for(pump, minutes * 60)
    a_second = (pump.written - before) / (minutes * 60)
    drain_s = drained(job, worker)
    steady = settled(watch.samples)
    slope = slope_mib_an_hour(steady)
    spread = {name: _spread([getattr(each, name) for each in steady]) for name in ("descriptors", "threads")}
    told = {
        "minutes": minutes,
        "a_second": round(a_second),
        "written": pump.written,
        "answered": answered(worker, of=pump.written),
        "drain_s": round(drain_s, 1),
        "slope_mib_an_hour": round(slope, 2),
        "most_mib": round(watch.most_mib),
        **spread,
    }
    is_long = minutes * 60 >= LEAST_S_FOR_A_SLOPE
    return told | {
        "broken": _broken(
            {
                "memory grows": is_long and slope > MOST_SLOPE_MIB_AN_HOUR,
                "something was lost or came twice": told["answered"] != pump.written,
                "file descriptors grow": spread["descriptors"][1] - spread["descriptors"][0] > 4,
                "threads grow": spread["threads"][1] - spread["threads"][0] > 4,
            }
        )
    }


def _speed(pump: Pump, job: Job, worker: Worker, *, seconds: float) -> float:
    """Events a second that the worker answers where `pump` writes as many as it can for so long."""
    began_s = time.monotonic()
    _write_for(pump, seconds)
    drained(job, worker)
    return pump.written / (time.monotonic() - began_s)


def _spread(values: Sequence[int]) -> tuple[int, int]:
    return min(values), max(values)


def _broken(bounds: Mapping[str, bool]) -> Sequence[str]:
    return [sentence for sentence, is_passed in bounds.items() if is_passed]


def _window_mib(rows: int, entities: int) -> float:
    """What rows of two features and so many entities may take: the bound of docs/reliability.md."""
    return (rows * (4 * 2 + 8) * 1.1 + entities * (200 + 60)) / MIB


def _write_for(pump: Pump, seconds: float) -> None:
    stopped = threading.Event()
    timer = threading.Timer(seconds, stopped.set)
    timer.start()
    try:
        pump.write(stopped)
    finally:
        timer.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    flood = commands.add_parser("overload", help="events come faster than the worker takes them")
    flood.add_argument("--minutes", type=float, default=10)
    flood.add_argument("--entities", type=int, default=10_000)
    crowd = commands.add_parser("entities", help="each event is of an entity of its own")
    crowd.add_argument("--count", type=int, default=1_000_000)
    long = commands.add_parser("soak", help="steady load for long")
    long.add_argument("--minutes", type=float, default=60)
    long.add_argument("--a-second", type=float, help="events; half of what the worker can do where it is not given")
    long.add_argument("--entities", type=int, default=10_000)
    told = vars(parser.parse_args(arguments))
    what = {"overload": overload, "entities": entities, "soak": soak}[told.pop("what")]
    began_s = time.monotonic()
    kept = KEEPS_LITTLE if what is soak else None
    with Broker() as broker, place(Topics(broker.bootstrap), topic_config=kept) as job:
        result = {"load": what.__name__, **told, **what(job, **told), "took_s": round(time.monotonic() - began_s)}
    print(json.dumps(result))  # noqa: T201 - the command's output
    return 1 if result["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
