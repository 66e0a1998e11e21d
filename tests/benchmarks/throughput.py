"""Events a second of the worker, of the floor and of the hand-written loop: one run, one machine, a real broker.

`python -m tests.benchmarks.throughput` (`make bench`) prints a table and one line of JSON. docs/benchmarks.md tells
what the figures mean.
"""

import argparse
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks import stream
from tests.benchmarks.contestants import CONTESTANTS, LOOP, TITLES, TRANSACTIONAL_FLOOR, WORKER, Run
from tests.benchmarks.measurement import BROKER_TIME, Measurement, append_times, measure
from tests.benchmarks.process import watch
from tests.benchmarks.report import Ratio, report
from tests.benchmarks.trained_model import trained_model
from tests.broker import Broker, BrokerError
from tests.topics import Topics

PARTITIONS = 4
ROUND_TIMEOUT_S = 600.0  # the slowest, the hand-written loop, takes half a minute where nothing else runs


def rounds(topics: Topics, names: Sequence[str], *, events: int, count: int) -> Iterator[tuple[str, Measurement]]:
    """Each contestant's figures, in turns."""
    model = trained_model()
    source = topics.create("events", partitions=PARTITIONS)
    _note(f"writing {events:,} events to the input topic")
    stream.fill(topics.bootstrap, source, events=events, seed=2)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, count + 1):
            for name in names:
                measurement = _turn(topics, name, source=source, events=events, model=model, folder=Path(folder))
                _note(f"round {number}: {TITLES[name]}: {measurement.events_per_s:,.0f} events/s")
                yield name, measurement


def _turn(topics: Topics, name: str, *, source: str, events: int, model: Path, folder: Path) -> Measurement:
    outputs = Topics(topics.bootstrap)
    try:
        run = Run(
            bootstrap=topics.bootstrap,
            group=f"{name}-{uuid.uuid4().hex[:10]}",
            source=source,
            target=outputs.create("scores", partitions=PARTITIONS, config=BROKER_TIME),
            dead=outputs.create("dead", config=BROKER_TIME),
            events=events,
            model=model,
            folder=folder,
        )
        log = folder / f"{run.group}.log"
        readings = watch(
            CONTESTANTS[name](run),
            log=log,
            finished=lambda: name == WORKER and _all_committed(outputs, run),
            timeout_s=ROUND_TIMEOUT_S,
        )
        append_ms = append_times(run.bootstrap, [run.target, run.dead])
    finally:
        outputs.delete_all()
    if len(append_ms) != events:
        raise RuntimeError(f"{TITLES[name]}: {len(append_ms):,} records came out of {events:,}")
    return measure(append_ms, readings)


def _all_committed(topics: Topics, run: Run) -> bool:
    """Whether the group stands at the input's end. The worker has to be ended then; the others end by themselves."""
    return sum(place.offset for place in topics.committed(run.group, run.source).values()) >= run.events


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - how far it is, and why it failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.throughput", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=2_000_000, help="in the input topic (default: 2,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant (default: 3)")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--require-floor", type=float, help="least ratio to the floor in transactions, else exit 1")
    parser.add_argument("--require-loop", type=float, help="least ratio to the hand-written loop, else exit 1")
    return parser


def main() -> int:
    """The command line: 0, or 1 where a ratio is below what is required or a contestant failed."""
    options = _parser().parse_args()
    ratios = (
        Ratio(name="worker_to_transactional_floor", peer=TRANSACTIONAL_FLOOR, required=options.require_floor),
        Ratio(name="worker_to_hand_written", peer=LOOP, required=options.require_loop),
    )
    results: dict[str, list[Measurement]] = {name: [] for name in options.only}
    try:
        with Broker() as broker:
            topics = Topics(broker.bootstrap)
            for name, measurement in rounds(topics, options.only, events=options.events, count=options.rounds):
                results[name].append(measurement)
    except (BrokerError, RuntimeError, TimeoutError) as error:
        _note(str(error))
        return 1
    return 0 if report(results, ratios) else 1


if __name__ == "__main__":
    sys.exit(main())
