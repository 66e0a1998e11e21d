"""Chaos runs, some at a time, until so many kills were aimed: each appends its line to a file.

`python -m tests.chaos.campaign` (`make chaos-campaign KILLS=2000`): it may be cut at any time and goes on where it
was, for seeds and kills are counted in the file. After a run that is not clean none is begun, and the exit code is 1:
its line says so, its kills do not count, and its seed is the next to be run. SIGTERM ends the runs that go on; they
are not recorded.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Lock

from tests.broker import CHECKOUT

FIRST_SEED = 1_000
"""Smaller ones are for runs by hand."""

CLASSIC, KIP_848 = ("--protocol", "classic"), ("--protocol", "consumer")
THREE = ("--brokers", "3")
KINDS: Sequence[Sequence[str]] = (
    CLASSIC,
    KIP_848,
    CLASSIC,
    (*KIP_848, *THREE),
    CLASSIC,
    KIP_848,
    KIP_848,
    (*CLASSIC, *THREE),
)
"""In turn. Three brokers cost most, so they have a quarter of the runs."""

UNHURRIED_EVERY = 3
"""Seeds of which one is run with absences of up to 20 s and zombies of up to 30; the others are brisk."""


def recorded(path: Path) -> list[dict[str, object]]:
    """The lines of the campaign so far."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [told for told in map(json.loads, lines) if told.get("campaign")]


def kills_in(runs: Sequence[dict]) -> int:
    """How many were aimed and struck in clean runs."""
    return sum(run["aimed"]["kill"] for run in runs if is_clean(run))


def is_clean(run: Mapping[str, object]) -> bool:
    """Whether it came to its end, and nothing was wrong."""
    return "broke_off" not in run and not run["witnesses"]


def seeds_left(runs: Sequence[Mapping[str, object]]) -> Iterator[int]:
    """Those without a clean run, from the smallest on."""
    done = {run["seed"] for run in runs if is_clean(run)}
    return (seed for seed in count(FIRST_SEED) if seed not in done)


def command(seed: int, *, minutes: float, kills: int) -> list[str]:
    """The run with that seed."""
    kind = KINDS[seed % len(KINDS)]
    length = ["--seed", str(seed), "--minutes", f"{minutes:g}", "--kills", str(kills)]
    pace = [] if seed % UNHURRIED_EVERY == 0 else ["--brisk"]
    return [sys.executable, "-m", "tests.chaos.run", *length, *pace, *kind]


class Campaign:
    """Runs until `kills` are recorded. Of a run that is not clean the evidence is kept."""

    def __init__(self, path: Path, *, kills: int, minutes: float, kills_a_run: int) -> None:
        self._path, self._kills, self._minutes, self._kills_a_run = path, kills, minutes, kills_a_run
        self._seeds = seeds_left(recorded(path))
        self._lock = Lock()
        self._running: dict[subprocess.Popen[str], int] = {}  # and the seed of each
        self._goes_on = True
        self._is_clean = True

    def run(self, at_once: int) -> int:
        """The exit code."""
        with ThreadPoolExecutor(at_once) as pool:
            for lane in [pool.submit(self._one_after_the_other) for _ in range(at_once)]:
                lane.result()
        return 0 if self._is_clean else 1

    def cut(self) -> None:
        """End the runs that go on."""
        self._goes_on = self._is_clean = False
        for run in list(self._running):
            run.terminate()

    def _one_after_the_other(self) -> None:
        while (run := self._next()) is not None:
            line, _ = run.communicate()
            with self._lock:
                self._note(run, self._running.pop(run), line)

    def _next(self) -> subprocess.Popen[str] | None:
        with self._lock:
            done = kills_in(recorded(self._path))
            if done >= self._kills or not self._goes_on:
                return None
            seed = next(self._seeds)
            _say(f"{time.strftime('%H:%M:%S')} {done} of {self._kills} kills; seed {seed} begins")
            told = command(seed, minutes=self._minutes, kills=self._kills_a_run)
            run = subprocess.Popen(told, stdout=subprocess.PIPE, text=True)
            self._running[run] = seed
            return run

    def _note(self, run: subprocess.Popen[str], seed: int, told: str) -> None:
        was_cut = not self._goes_on and not told
        if run.returncode:
            self._goes_on = self._is_clean = False
            _say(f"not clean: {run.args}\n{told}")
        if was_cut:
            return
        about = json.loads(told) if told else {"seed": seed, "broke_off": run.returncode}
        line = {"campaign": time.strftime("%Y-%m-%d"), **about}
        with self._path.open("a") as file:
            file.write(f"{json.dumps(line)}\n")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the command's output


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.campaign", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=2_000, help="aimed kills, over all runs in the file")
    parser.add_argument("--minutes", type=float, default=10.0, help="of a run, at most")
    parser.add_argument("--kills-a-run", type=int, default=104)
    parser.add_argument("--record", type=Path, default=CHECKOUT / "docs" / "chaos-runs.jsonl")
    parser.add_argument("--at-once", type=int, default=1, help="runs at the same time, each with brokers of its own")
    told = parser.parse_args(arguments)
    campaign = Campaign(told.record, kills=told.kills, minutes=told.minutes, kills_a_run=told.kills_a_run)
    before = signal.signal(signal.SIGTERM, lambda *_: campaign.cut())
    try:
        return campaign.run(told.at_once)
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
