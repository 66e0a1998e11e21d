"""`anomaly-worker demo`: train, inspect, start a cluster, stream, watch the worker score, judge it, show the way on."""

import os
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from rich.console import Console

from worker.demo.cluster import embedded_cluster
from worker.demo.commands import free_port, run, wait_until_ready, worker
from worker.demo.configuration import AT_LEAST_ONCE, INPUT_TOPIC, OUTPUT_TOPIC, TOPICS, worker_yaml
from worker.demo.machines import ENTITY_COLUMN, TIME_COLUMN, Machines, example_folder, load_machines
from worker.demo.scoreboard import Scoreboard
from worker.demo.stream import Player, events
from worker.demo.watch import ScoreReader, table, watch
from worker.errors import ConfigError

EVENTS_PER_S = 3200.0
"""15 days of six servers in eight seconds: fast enough not to bore, slow enough to watch."""

ALARM_RATE = 0.005
"""1.4 of the 288 events a server and day, mostly in runs: what a person on call may be asked to look at."""


def journey(*, output: Path | None, events_per_s: float) -> int:
    """Run the demo; the exit code. Whatever happens, it leaves no process behind. Raises WorkerError."""
    console = terminal()
    try:
        _demo(console, output=output, events_per_s=events_per_s)
    except (KeyboardInterrupt, SystemExit):
        console.print("\nStopped. Nothing is left running.")
        raise
    return 0


def terminal() -> Console:
    """Where the demo speaks: as wide as the terminal, wide enough for its tables in a pipe."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=120)


def train(console: Console, root: Path, model: Path) -> None:
    """Train one autoencoder on the six servers and show what became of it."""
    output = seen_from(root, model)
    run(console, training(output), folder=root)
    run(console, ["anomaly-export", "inspect", output], folder=root)


def training(output: str) -> list[str]:
    """The command that trains, to be run in the checkout."""
    columns = ["--entity", ENTITY_COLUMN, "--timestamp", TIME_COLUMN]
    # One thread: as fast as two on so small a network, and the same figures each time.
    knobs = ["--detector", "ae", "--window", "32", "--alarm-rate", str(ALARM_RATE), "--threads", "1"]
    data = "examples/machines/train/*.csv.gz"
    return ["anomaly-export", "train", "--data", data, *columns, *knobs, "--output", output]


def seen_from(root: Path, path: Path) -> str:
    """The path as a person in the folder would type it."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def own_environment() -> Mapping[str, str]:
    """Ours, without variables that would change the demo's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ANOMALY_WORKER_")}


def _demo(console: Console, *, output: Path | None, events_per_s: float) -> None:
    started_s = time.monotonic()
    examples = example_folder()
    root = examples.parents[1]
    output = _output_folder(output, root)
    _needs_matplotlib()
    machines = load_machines(examples)
    console.print(
        f"{len(machines.servers)} servers, {len(machines.features)} metrics each, every five minutes: 30 days to learn "
        "from, 15 days to watch."
    )
    model = output / "machine.onnx"
    train(console, root, model)
    board = _stream(console, machines, root=root, output=output, events_per_s=events_per_s)
    _show_the_result(console, board, machines, model=model, output=output)
    console.print(f"\nAll of it took {time.monotonic() - started_s:.0f} s.", style="dim")


def _stream(console: Console, machines: Machines, *, root: Path, output: Path, events_per_s: float) -> Scoreboard:
    board = Scoreboard(machines.servers)
    config = output / "worker.yaml"
    model = seen_from(root, output / "machine.onnx")
    port = free_port()
    with embedded_cluster(TOPICS) as bootstrap:
        console.print(f"\nlibrdkafka's embedded Kafka cluster runs in this process: {bootstrap}")
        console.print(
            "The worker delivers at least once here: this cluster stores no offsets within transactions.\n"
            "On a real broker (`make demo-kafka`) it delivers exactly once."
        )
        config.write_text(
            worker_yaml(model=model, bootstrap=bootstrap, delivery=AT_LEAST_ONCE, http_port=port), encoding="utf-8"
        )
        command = ["anomaly-worker", "run", "--config", seen_from(root, config)]
        log = output / "worker.log"
        log.unlink(missing_ok=True)
        with worker(console, command, folder=root, log=log, environment=own_environment()) as running:
            console.print(f"It was ready after {wait_until_ready(running, port):.1f} s; its log is {log}.")
            console.print(f"What it does, while it does it: http://127.0.0.1:{port}/\n")
            player = Player(bootstrap, INPUT_TOPIC, events(machines), events_per_s=events_per_s)
            with closing(ScoreReader(bootstrap, OUTPUT_TOPIC)) as reader:
                watch(player, reader, board, console=console, each_turn=running.check)
            exit_code = running.stop()
    if not console.is_terminal:
        console.print(table(player.played, board))
    console.print(
        f"{board.scored:,} of {player.played:,} events scored; SIGTERM ended the worker: exit code {exit_code}."
    )
    return board


def _show_the_result(console: Console, board: Scoreboard, machines: Machines, *, model: Path, output: Path) -> None:
    from worker.demo.conclusion import NEXT_COMMANDS, conclude  # noqa: PLC0415 - matplotlib is not in every install

    run_text = (
        f"One autoencoder, trained on 30 days of all six servers without labels, scored the {machines.test_events:,} "
        "events of the 15 days after them through a Kafka topic, each as it came."
    )
    pictures = conclude(console, board, machines, model=model, run=run_text, output=output)
    console.print(f"\nThe picture: {pictures.png}\nThe page:    {pictures.html}")
    console.print("\nOn a topic of your own (copy examples/worker.yaml and name your brokers and topics):\n")
    for command in NEXT_COMMANDS.splitlines():
        console.print(f"$ {command}", style="bold cyan")


def _output_folder(given: Path | None, root: Path) -> Path:
    output = (given or root / "build" / "demo").resolve()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output {output} cannot be a folder: {error.strerror}") from error
    return output


def _needs_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401, ICN001, PLC0415 - only whether it is there, before a minute is spent
    except ImportError as error:
        raise ConfigError(
            "the demo draws with matplotlib, which is not installed: run it through `make demo`, or install the "
            "extra `demo`"
        ) from error
