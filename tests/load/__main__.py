"""Load and age on a real broker: `python -m tests.load overload|entities|churn|soak` (`make load`, `make soak`).

`overload`: events come faster than the worker takes them. `entities`: each event is of an entity of its own. `churn`:
entities come and go, many times as many as the lookback reaches. `soak`: steady load for long, half of what the worker
can do. Each prints one line of JSON; exit code 1 where a bound is passed, which `broken` then tells. What came out is
counted by a reader of the output topics, not by the worker.
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

from tests.artifacts import make_artifact
from tests.broker import Broker
from tests.chaos.collector import Tally
from tests.end_to_end.job import Job, Worker, wait_until
from tests.load.watch import MIB, Watch, settled, slope_mib_an_hour
from tests.revision import revision
from tests.topics import Topics

PARTITIONS = 4
WINDOW = 6  # of the job's model, whose events have two features
FIRST_TIME_MS = 1_700_000_000_000
DRAIN_TIMEOUT_S = 1_800.0

LONG_WINDOW = 256
"""Rows where it is asked what an entity costs that was seen once: a store that kept them all could not hide it."""

SMALL_BATCH = 512
"""Events there: a batch's own arrays, all rows for each event, shall not hide it either."""

FEW = 1_000
"""Entities of the same load before, by which it is known what the worker takes without those that are to come."""

ROWS_EACH = 3
"""Events of an entity that comes and goes."""

CLIENTS_MIB = 64.0
"""Each of the two clients may hold so much: records fetched ahead, and records that wait to be sent."""

IN_MIB, OUT_MIB = 150 / MIB, 700 / MIB
"""What an event takes there, and its score."""

SLACK_MIB = 16.0
"""What an allocator keeps."""

AT_WORK_MIB = 64.0
"""Batches of 4,096 events on their way through, and what the allocator keeps of them."""

OFTEN_S = 0.2
"""Between looks at a worker's memory where it is the most that counts."""

MOST_SLOPE_MIB_AN_HOUR = 1.0
LEAST_S_FOR_A_SLOPE = 1_800.0
"""Within less, caches that fill look like a leak."""

SOAK_LOAD = 0.5
"""Of what the worker can do beside this writer and the broker."""

LEAST_BACKLOG = 0.1
"""Of what was written, where the last event is: with less it was no overload."""

KEEPS_LITTLE = {"retention.bytes": str(512 * MIB), "segment.bytes": str(64 * MIB)}
"""Topics of a soak: hours of events are more than a disk should hold, and the worker is never far behind."""


class Pump:
    """Writes events until told to stop: `a_second` of them, or as many as it can."""

    def __init__(self, bootstrap: str, topic: str, entity: Callable[[int], str]) -> None:
        properties = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20}
        self._producer = Producer({**properties, "compression.type": "lz4", "log_level": 0})
        self._topic, self.entity = topic, entity
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
        key, timestamp = self.entity(number), FIRST_TIME_MS + number
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


def count_out(job: Job) -> Tally:
    """A reader that counts what is in the output topics, while its block lasts."""
    return Tally(job.topics.bootstrap, ends_of(job, job.scores, job.dead))


def ends_of(job: Job, *topics: str) -> dict[tuple[str, int], int]:
    """Where they end, markers included."""
    return {(topic, number): end for topic in topics for number, (_, end) in job.topics.ends(topic).items()}


def wrong_counts(job: Job, tally: Tally) -> Mapping[str, str]:
    """Partitions of the output that hold more or fewer scores than there are events in the input's; it is drained.

    Who writes the events has no transactions: a partition's end is how many there were, whatever was deleted since.
    """
    tally.wait_for(ends_of(job, job.scores, job.dead), timeout_s=DRAIN_TIMEOUT_S)
    wanted = {(job.scores, number): end for (_, number), end in ends_of(job, job.inputs[0]).items()}
    places = wanted.keys() | tally.counts.keys()
    return {
        f"{topic}-{number}": f"{tally.counts[topic, number]} where {wanted.get((topic, number), 0)} are to be"
        for topic, number in sorted(places)
        if tally.counts[topic, number] != wanted.get((topic, number), 0)
    }


def outcome(job: Job, tally: Tally) -> dict[str, object]:
    """What the output topics hold."""
    wrong = wrong_counts(job, tally)
    return {"answered": tally.counts.total(), "wrong_counts": wrong}


def overload(job: Job, *, minutes: float, entities: int) -> dict[str, object]:
    """Events come as fast as one producer can write them."""
    worker = job.start().wait_until_ready()
    pump = Pump(job.topics.bootstrap, job.inputs[0], lambda number: f"e{number % entities}")
    with Watch(worker.pid) as watch:
        base_mib = watch.now_mib
        _write_for(pump, minutes * 60)
        backlog = pump.written - int(worker.metric("anomaly_worker_records_total"))
        drain_s = drained(job, worker)
    rebalances = int(worker.metric("anomaly_worker_rebalances_total"))
    bound = base_mib + 2 * CLIENTS_MIB + AT_WORK_MIB + _window_mib(entities * WINDOW, entities)
    with count_out(job) as tally:
        out = outcome(job, tally)
    return {
        "written": pump.written,
        "backlog": backlog,
        "drain_s": round(drain_s, 1),
        **out,
        "rebalances": rebalances,
        "base_mib": round(base_mib),
        "most_mib": round(watch.most_mib),
        "bound_mib": round(bound),
        "broken": _broken(
            {
                "the worker kept up, so that nothing was shown": backlog < pump.written * LEAST_BACKLOG,
                "memory passed its bound": watch.most_mib > bound,
                "something was lost or came twice": out["answered"] != pump.written or out["wrong_counts"],
                "the group lost the worker": rebalances > 1,
            }
        ),
    }


def entities(job: Job, *, count: int, environment: Mapping[str, str] | None = None) -> dict[str, object]:
    """One event of each entity; then another worker fills its windows with all of them."""
    _with_long_windows(job)
    worker = job.start(**(environment or {})).wait_until_ready()
    pump = Pump(job.topics.bootstrap, job.inputs[0], lambda number: f"few-{number % FEW}")
    base_mib = _most_mib(job, worker, pump, events=count)
    pump.entity = lambda number: f"e{number}"
    began_s = time.monotonic()
    most_mib = _most_mib(job, worker, pump, events=count)
    took_s = time.monotonic() - began_s
    worker.stop()
    began_s = time.monotonic()
    successor = job.start(**(environment or {}))
    with Watch(successor.pid, every_s=OFTEN_S) as later:
        successor.wait_until_ready()
        refill_s = time.monotonic() - began_s
        held = _held(successor, least=FEW + count)
    successor.stop()
    bound = base_mib + _growth_mib(rows=count, entities=count, events=count)
    with count_out(job) as tally:
        out = outcome(job, tally)
    return {
        "entities": count,
        "answered_in_s": round(took_s, 1),
        **out,
        "refill_s": round(refill_s, 1),
        "held_again": held,
        "base_mib": round(base_mib),
        "most_mib": round(most_mib),
        "refilled_mib": round(later.most_mib),
        "bound_mib": round(bound),
        "all_rows_mib": round(base_mib + _window_mib(count * LONG_WINDOW, count)),
        "broken": _broken(
            {
                "memory passed its bound": max(most_mib, later.most_mib) > bound,
                "something was lost or came twice": out["answered"] != pump.written or out["wrong_counts"],
                "the next worker does not hold all of them": held != FEW + count,
            }
        ),
    }


def churn(job: Job, *, lookback: int, times: int, environment: Mapping[str, str] | None = None) -> dict[str, object]:
    """Entities come, have a few events and never come again: `times` as many as the lookback reaches."""
    _with_long_windows(job)
    job.set({"lookback_offsets": lookback})
    rows = 2 * lookback * PARTITIONS
    worker = job.start(**(environment or {})).wait_until_ready()
    pump = Pump(job.topics.bootstrap, job.inputs[0], lambda number: f"few-{number % FEW}")
    base_mib = _most_mib(job, worker, pump, events=rows)
    pump.entity = lambda number: f"e{number // ROWS_EACH}"
    most_mib, held = [], []
    for _ in range(times):
        most_mib.append(_most_mib(job, worker, pump, events=rows))
        held.append(_held(worker))
    worker.stop()
    fit = rows // ROWS_EACH
    bound = base_mib + _growth_mib(rows=rows, entities=fit, events=rows)
    with count_out(job) as tally:
        out = outcome(job, tally)
    return {
        "entities": times * fit,
        "fit": fit,
        "most_held": max(held),
        "written": pump.written,
        **out,
        "base_mib": round(base_mib),
        "most_mib": [round(mib) for mib in most_mib],
        "bound_mib": round(bound),
        "broken": _broken(
            {
                "memory passed its bound": max(most_mib) > bound,
                "more entities are held than fit": max(held) > fit,
                "something was lost or came twice": out["answered"] != pump.written or out["wrong_counts"],
            }
        ),
    }


def _with_long_windows(job: Job) -> None:
    make_artifact(job.model, features=("x", "y"), window=LONG_WINDOW, min_length=ROWS_EACH)
    job.set({"batch": {"max_events": SMALL_BATCH}})


def _most_mib(job: Job, worker: Worker, pump: Pump, *, events: int) -> float:
    """The most memory that the worker took for so many events more."""
    with Watch(worker.pid, every_s=OFTEN_S) as watch:
        pump.write(threading.Event(), most=pump.written + events)
        drained(job, worker)
    return watch.most_mib


def _held(worker: Worker, *, least: int = 0) -> int:
    """Entities that it says it holds, a second later: so often does it tell."""
    count = lambda: int(worker.metric("anomaly_worker_entities"))  # noqa: E731
    time.sleep(1.5)
    with contextlib.suppress(AssertionError):
        wait_until(lambda: count() >= least, "all are held", 30)
    return count()


def soak(job: Job, *, minutes: float, a_second: float | None, entities: int) -> dict[str, object]:
    """Steady load: `a_second` events, or half of what the worker can do."""
    worker = job.start().wait_until_ready()
    pump = Pump(job.topics.bootstrap, job.inputs[0], lambda number: f"e{number % entities}")
    with count_out(job) as tally:  # all the time: the topics keep little
        pump.a_second = a_second or SOAK_LOAD * _speed(pump, job, worker, seconds=min(30.0, minutes * 60))
        before = pump.written
        with Watch(worker.pid, every_s=min(5.0, minutes)) as watch:
            _write_for(pump, minutes * 60)
        a_second = (pump.written - before) / (minutes * 60)
        drain_s = drained(job, worker)
        out = outcome(job, tally)
    steady = settled(watch.samples)
    slope = slope_mib_an_hour(steady)
    spread = {name: _spread([getattr(each, name) for each in steady]) for name in ("descriptors", "threads")}
    is_long = minutes * 60 >= LEAST_S_FOR_A_SLOPE
    return {
        "minutes": minutes,
        "a_second": round(a_second),
        "written": pump.written,
        **out,
        "drain_s": round(drain_s, 1),
        "slope_mib_an_hour": round(slope, 2),
        "most_mib": round(watch.most_mib),
        **spread,
        "broken": _broken(
            {
                "memory grows": is_long and slope > MOST_SLOPE_MIB_AN_HOUR,
                "something was lost or came twice": out["answered"] != pump.written or out["wrong_counts"],
                "file descriptors grow": spread["descriptors"][1] - spread["descriptors"][0] > 4,
                "threads grow": spread["threads"][1] - spread["threads"][0] > 4,
            }
        ),
    }


def _speed(pump: Pump, job: Job, worker: Worker, *, seconds: float) -> float:
    """Events a second that the worker answers where `pump` writes as many as it can for so long."""
    began_s = time.monotonic()
    _write_for(pump, seconds)
    drained(job, worker)
    return pump.written / (time.monotonic() - began_s)


def _spread(values: Sequence[int]) -> tuple[int, int]:
    return min(values), max(values)


def _broken(bounds: Mapping[str, object]) -> Sequence[str]:
    return [sentence for sentence, is_passed in bounds.items() if is_passed]


def _window_mib(rows: int, entities: int) -> float:
    """What rows of two features and so many entities may take: the bound of docs/reliability.md."""
    return (rows * (4 * 2 + 8) * 1.1 + entities * (200 + 60)) / MIB


def _growth_mib(*, rows: int, entities: int, events: int) -> float:
    """What these entities may add to a worker that has had as many events of few: windows, clients and slack.

    The clients count anew, for what they hold at a time is chance; never more than all of these events take.
    """
    clients = min(CLIENTS_MIB, events * IN_MIB) + min(CLIENTS_MIB, events * OUT_MIB)
    return _window_mib(rows, entities) + clients + SLACK_MIB


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
    passing = commands.add_parser("churn", help="entities come and go")
    passing.add_argument("--lookback", type=int, default=25_000, help="offsets in each of four partitions")
    passing.add_argument("--times", type=int, default=20, help="so many times as many entities as it reaches")
    long = commands.add_parser("soak", help="steady load for long")
    long.add_argument("--minutes", type=float, default=60)
    long.add_argument("--a-second", type=float, help="events; half of what the worker can do where it is not given")
    long.add_argument("--entities", type=int, default=10_000)
    told = vars(parser.parse_args(arguments))
    what = {"overload": overload, "entities": entities, "churn": churn, "soak": soak}[told.pop("what")]
    began_s = time.monotonic()
    kept = KEEPS_LITTLE if what is soak else None
    with Broker() as broker, place(Topics(broker.bootstrap), topic_config=kept) as job:
        about = {"load": what.__name__, "revision": revision(), **told}
        result = {**about, **what(job, **told), "took_s": round(time.monotonic() - began_s)}
    print(json.dumps(result))  # noqa: T201 - the command's output
    return 1 if result["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
