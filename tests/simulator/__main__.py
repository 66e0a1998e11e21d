"""`make simulate`: many schedules over all cores, progress as they go, one JSON line at the end.

Seeds count up, one for each portion of schedules: `SEED=7 SCHEDULES=500` runs the portion of seed 7 again.
The exit code is 1, and the minimal trace is printed, if a schedule fails.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import count
from multiprocessing import get_context

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from tests.simulator.portion import Outcome, run_portion

PORTION = 500
"""Schedules of one seed."""


def run(first_seed: int, schedules: int, processes: int) -> Iterator[Outcome]:
    """Every portion, as it is done."""
    portions = [min(PORTION, schedules - done) for done in range(0, schedules, PORTION)]
    if processes == 1:
        yield from map(run_portion, count(first_seed), portions)
        return
    # Spawned, for Hypothesis draws constants from all modules that a process has loaded: a seed is to mean one thing.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        begun = [pool.submit(run_portion, first_seed + at, size) for at, size in enumerate(portions)]
        for portion in as_completed(begun):
            yield portion.result()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__.splitlines()[0])
    parser.add_argument("--schedules", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--first", action="store_true", help="end with the first portion that fails")
    told = parser.parse_args(arguments)
    began_s = time.monotonic()
    executed: Counter[str] = Counter()
    done = 0
    failures = 0
    people = Console(stderr=True)
    with Progress("schedules", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=people) as progress:
        task = progress.add_task("schedules", total=told.schedules)
        for outcome in run(told.seed, told.schedules, told.processes):
            executed += outcome.executed
            done += outcome.schedules
            progress.update(task, completed=done)
            if outcome.failure:
                failures += 1
                print(outcome.failure, file=sys.stderr)  # noqa: T201  the command's output
                if told.first:
                    break
    result = {
        "seed": told.seed,
        "schedules": done,
        "seconds": round(time.monotonic() - began_s),
        "failures": failures,
        "steps": executed.total(),
        "rules": dict(sorted(executed.items())),
    }
    print(json.dumps(result))  # noqa: T201  likewise
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
