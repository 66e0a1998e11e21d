"""What a window costs: microseconds of CPU time an event, and bytes of memory a row, for few and for many entities.

`python -m tests.benchmarks.windows` prints a table. `rows`: stored of each entity before the clock runs; `floor`: what
gathering the block alone costs; `slowest`: of all batches, per event; `refill`: per event without windows; `oldest ms`:
one `oldest_needed` for each partition; `B/entity` includes what is staged, `allowed` is the contract's bound.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from worker.batch import Events, Int64
from worker.windows import WindowStore

DEPTH_STAGED = 2  # batches that wait for their transaction while the next are made


@dataclass(frozen=True, kw_only=True)
class Case:
    """One line of the table: entities are spread evenly over the partitions."""

    entities: int
    partitions: int
    batch: int
    window: int
    features: int
    rows_before: int  # of each entity, stored before the clock runs
    with_elapsed: bool = False

    def store(self) -> WindowStore:
        """A store as a worker with default settings makes it."""
        return WindowStore(
            window=self.window,
            features=self.features,
            lookback_offsets=1_000_000,
            max_gap_ms=None,
            with_elapsed=self.with_elapsed,
        )


@dataclass(frozen=True)
class Log:
    """Events of a case, in the order of the log of each partition."""

    case: Case
    names: list[str]
    end: Int64  # (partition,) the next offsets, moved on by each batch

    @classmethod
    def of(cls, case: Case) -> "Log":
        """The empty log."""
        return cls(
            case, [f"machine-{number:07}" for number in range(case.entities)], np.zeros(case.partitions, np.int64)
        )

    def batch(self, entity: Int64, now_ms: int) -> tuple[Events, dict[str, Int64]]:
        """The next events of these entities, with their sources; names are new strings, as a decoder's are."""
        partition = entity % self.case.partitions
        order = np.argsort(partition, kind="stable")  # consumers hand out a stretch of each partition
        entity, partition = entity[order], partition[order]
        counts = np.bincount(partition, minlength=self.case.partitions)
        first = np.cumsum(counts) - counts
        offset = self.end[partition] + np.arange(len(entity)) - first[partition]
        self.end[:] += counts
        features = np.ones((len(entity), self.case.features), np.float32)
        names = "\n".join([self.names[number] for number in entity.tolist()]).split("\n")
        nothing = np.zeros(0, np.int64)
        events = Events(np.arange(len(entity)), names, np.full(len(entity), now_ms), features, None, [], nothing)
        return events, {"partition": partition, "offset": offset}


def past(case: Case, log: Log) -> Iterator[tuple[Events, dict[str, Int64]]]:
    """Every entity `rows_before` times."""
    for now in range(case.rows_before):
        for start in range(0, case.entities, 65_536):
            yield log.batch(np.arange(start, min(start + 65_536, case.entities)), now)


def measure(case: Case, seconds: float) -> str:
    """Refill, then stage and keep for some seconds; one line of the table."""
    store, log, rng = case.store(), Log.of(case), np.random.default_rng(0)
    started = time.thread_time()
    for events, sources in past(case, log):
        store.refill(events, **sources)
    refill_s = time.thread_time() - started
    costs = []
    deadline = time.monotonic() + seconds
    for batches in range(1_000_000):
        events, sources = log.batch(rng.integers(0, case.entities, case.batch), case.rows_before + batches)
        started = time.thread_time()
        store.extend(events, **sources)
        if batches >= DEPTH_STAGED:
            store.keep()
        costs.append((time.thread_time() - started) / case.batch * 1e6)
        if time.monotonic() > deadline:
            break
    return report(case, store, log, costs[len(costs) // 10 :], refill_s)


def floor(case: Case) -> float:
    """Microseconds an event to gather the block of a batch from rows in random places: no store can do with less."""
    rng = np.random.default_rng(0)
    stored = np.ones((case.entities * case.window, case.features), np.float32)
    costs = []
    for _ in range(50):
        rows = rng.integers(0, len(stored), (case.batch, case.window))
        started = time.thread_time()
        stored.take(rows, axis=0, mode="clip")
        costs.append((time.thread_time() - started) / case.batch * 1e6)
    return float(np.median(costs))


def report(case: Case, store: WindowStore, log: Log, costs: list[float], refill_s: float) -> str:
    """Median cost, the slowest batch, and memory beside the contract's bound."""
    started = time.thread_time()
    for partition in range(case.partitions):
        store.oldest_needed(partition, committed=int(log.end[partition]))
    oldest_ms = (time.thread_time() - started) * 1e3
    refill = refill_s / (case.entities * case.rows_before) * 1e6
    allowed = case.window * (4 * case.features + 8) * 1.1 + 200 + len(log.names[0])
    elapsed = "yes" if case.with_elapsed else "no"
    return (
        f"{case.entities:>9,} {case.partitions:>10} {case.batch:>6} {case.rows_before:>4} {elapsed:>7} "
        f"{np.median(costs):>8.2f} {floor(case):>5.2f} {max(costs):>7.1f} {refill:>6.2f} {oldest_ms:>9.2f} "
        f"{store.nbytes / 1e6:>7.1f} {store.nbytes / store.entities:>8.0f} {allowed:>7.0f}"
    )


HEADINGS = (
    f"{'entities':>9} {'partitions':>10} {'batch':>6} {'rows':>4} {'elapsed':>7} {'us/event':>8} {'floor':>5} "
    f"{'slowest':>7} {'refill':>6} {'oldest ms':>9} {'MB':>7} {'B/entity':>8} {'allowed':>7}"
)


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """Few and many entities, few and many partitions, small batches, elapsed seconds."""
    window, features = arguments.window, arguments.features
    for entities, partitions, batch, rows_before, with_elapsed in (
        (1_000, 1, 4096, window, False),
        (1_000, 4, 4096, window, False),
        (1_000, 64, 4096, window, False),
        (1_000, 4, 4096, window, True),
        (1_000, 4, 512, window, False),
        (1_000_000, 4, 4096, 2, False),
        (1_000_000, 64, 4096, window, False),
    ):
        yield Case(
            entities=entities,
            partitions=partitions,
            batch=batch,
            window=window,
            features=features,
            rows_before=rows_before,
            with_elapsed=with_elapsed,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=int, default=32, help="rows in a window")
    parser.add_argument("--features", type=int, default=8, help="features a row")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each line is measured")
    arguments = parser.parse_args()
    print(HEADINGS, flush=True)  # noqa: T201  the command's output
    for case in cases(arguments):
        print(measure(case, arguments.seconds), flush=True)  # noqa: T201  the command's output


if __name__ == "__main__":
    main()
