"""Chaos runs one after the other, until so many kills were aimed: each appends its line to a file.

`python -m tests.chaos.campaign` (`make chaos-campaign KILLS=2000`): it may be cut at any time and goes on where it
was, for seeds and kills are counted in the file. It ends with the first run that is not clean, exit code 1.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.broker import CHECKOUT

FIRST_SEED = 1_000
"""Smaller ones are for runs by hand."""

KINDS: Sequence[Sequence[str]] = (
    ("--protocol", "classic"),
    ("--protocol", "consumer"),
    ("--protocol", "classic", "--brokers", "3"),
    ("--protocol", "consumer", "--brokers", "3"),
)
"""In turn. A single broker is not killed: it may lose the markers of a transaction by itself (docs/reliability.md)."""

NOT_ONE_BROKER = "broker killed"


def recorded(path: Path) -> list[dict[str, object]]:
    """The lines of the campaign so far."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [told for told in map(json.loads, lines) if told.get("campaign")]


def kills_in(runs: Sequence[dict]) -> int:
    """How many were aimed and struck."""
    return sum(run["aimed"]["kill"] for run in runs)


def command(seed: int, *, minutes: float, kills: int) -> list[str]:
    """The run with that seed."""
    kind = KINDS[seed % len(KINDS)]
    around = [] if "--brokers" in kind else ["--without", NOT_ONE_BROKER]
    length = ["--seed", str(seed), "--minutes", f"{minutes:g}", "--kills", str(kills)]
    return [sys.executable, "-m", "tests.chaos.run", *length, "--brisk", *kind, *around]


def run(path: Path, *, kills: int, minutes: float, kills_a_run: int) -> int:
    """Runs until `kills` are recorded. 1 where one was not clean: its line is not recorded, its evidence is kept."""
    while (done := kills_in(recorded(path))) < kills:
        seed = max((int(str(each["seed"])) for each in recorded(path)), default=FIRST_SEED - 1) + 1
        told = command(seed, minutes=minutes, kills=kills_a_run)
        print(f"{time.strftime('%H:%M:%S')} {done} of {kills} kills; {' '.join(told[1:])}", flush=True)  # noqa: T201 - the command's output
        ended = subprocess.run(told, check=False, stdout=subprocess.PIPE, text=True)
        if ended.returncode:
            print(ended.stdout, flush=True)  # noqa: T201 - likewise
            return 1
        line = {"campaign": time.strftime("%Y-%m-%d"), **json.loads(ended.stdout)}
        with path.open("a") as file:
            file.write(f"{json.dumps(line)}\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.campaign", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=2_000, help="aimed kills, over all runs in the file")
    parser.add_argument("--minutes", type=float, default=10.0, help="of a run, at most")
    parser.add_argument("--kills-a-run", type=int, default=104)
    parser.add_argument("--record", type=Path, default=CHECKOUT / "docs" / "chaos-runs.jsonl")
    told = parser.parse_args(arguments)
    return run(told.record, kills=told.kills, minutes=told.minutes, kills_a_run=told.kills_a_run)


if __name__ == "__main__":
    sys.exit(main())
