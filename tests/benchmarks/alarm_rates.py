"""What an alarm rate is worth: incidents found and false episodes on the demo's six servers, a line a rate and family.

`python -m tests.benchmarks.alarm_rates` trains as the demo does, scores the test parts with `anomaly-worker score`,
counts as the demo does, and prints the table of docs/training.md. It takes a minute.
"""

import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from tests.broker import CHECKOUT
from worker.cli import main as anomaly_worker
from worker.demo.commands import run
from worker.demo.detection import Trade, by_worker, trades
from worker.demo.journey import ALARM_RATE, training
from worker.demo.machines import ENTITY_COLUMN, TIME_COLUMN, Machines, example_folder, load_machines
from worker.demo.scoreboard import Scoreboard

RATES = (0.001, 0.002, 0.003, 0.005)
FAMILIES = ("ae", "pca")


def score(model: Path, machines: Machines, folder: Path) -> Scoreboard:
    """Every test row's score, as the worker would have published it. Raises RuntimeError where a file is not scored."""
    board = Scoreboard(machines.servers)
    output = folder / "scores.ndjson"
    columns = ["--entity", ENTITY_COLUMN, "--timestamp", TIME_COLUMN]
    for server in machines.servers:
        data = example_folder() / "test" / f"{server}.csv.gz"
        files = ["--model", str(model), "--data", str(data), "--output", str(output)]
        if anomaly_worker(["score", *files, *columns, "--provider", "cpu", "--no-progress"]):
            raise RuntimeError(f"{data} was not scored")
        board.add(output.read_bytes().splitlines())
    return board


def judge(board: Scoreboard, machines: Machines) -> Iterator[tuple[float, Trade]]:
    """What each rate would have found.

    The rate moves the threshold alone: `score` is log(p) / log(rate), so another rate's 1 lies at a known score.
    """
    thresholds = [math.log(rate) / math.log(ALARM_RATE) for rate in RATES]
    return zip(RATES, trades(by_worker("autoencoder", board, machines), machines, thresholds), strict=True)


def main() -> None:
    """Print the table."""
    machines = load_machines(example_folder())
    found_of = f"found of {len(machines.incidents)} incidents"
    lines = [
        f"| `--detector` | `--alarm-rate` | {found_of} | false episodes a server and day |",
        "|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        for family in FAMILIES:
            model = Path(name) / f"{family}.onnx"
            run(Console(highlight=False), [*training(str(model)), "--detector", family], folder=CHECKOUT)
            lines += [
                f"| `{family}` | {rate} | {found.incidents_found} | {found.false_episodes_a_day:.2f} |"
                for rate, found in judge(score(model, machines, Path(name)), machines)
            ]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
