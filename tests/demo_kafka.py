"""The demo on a real Kafka broker, exactly once: two workers, one killed in mid-stream, and the topics counted after.

`python -m tests.demo_kafka` (`make demo-kafka`). It writes to build/demo-kafka.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console

from tests.broker import Broker, BrokerError
from tests.log_record import LogRecord
from tests.topics import read_topics
from worker.cli import left_by_sigterm
from worker.demo.cluster import PARTITIONS
from worker.demo.commands import WorkerProcess, free_port, wait_until_ready, worker
from worker.demo.conclusion import conclude
from worker.demo.configuration import (
    EXACTLY_ONCE,
    INPUT_TOPIC,
    OUTPUT_TOPIC,
    TOPICS,
    worker_yaml,
)
from worker.demo.journey import EVENTS_PER_S, own_environment, terminal, train
from worker.demo.machines import Machines, example_folder, load_machines
from worker.demo.scoreboard import Scoreboard
from worker.demo.stream import Player, events
from worker.demo.watch import ScoreReader, table, watch
from worker.errors import WorkerError

KILL_AFTER = 1 / 3
"""The share of the stream that is scored when the first worker is killed."""


@dataclass(frozen=True)
class Tally:
    """What the topics hold, each output by the id of the event it answers."""

    events_in: int
    scored: int
    dead: int
    lost: int
    doubled: int

    def __str__(self) -> str:
        return (
            f"events in {self.events_in:,}   scored {self.scored:,}   dead {self.dead:,}   "
            f"lost {self.lost:,}   doubled {self.doubled:,}"
        )


def count(inputs: Sequence[LogRecord], scores: Sequence[LogRecord], dead_letters: Sequence[LogRecord]) -> Tally:
    """Hold every output against the event it answers."""
    wanted = {f"{record.topic}-{record.partition}-{record.offset}" for record in inputs}
    answered = Counter(json.loads(record.value)["id"] for record in scores)
    answered.update(_dead_id(dict(record.headers)) for record in dead_letters)
    return Tally(
        events_in=len(inputs),
        scored=len(scores),
        dead=len(dead_letters),
        lost=len(wanted - answered.keys()),
        doubled=sum(times - 1 for times in answered.values()),
    )


def _dead_id(headers: Mapping[str, bytes | None]) -> str:
    names = ("topic", "partition", "offset")
    return "-".join((headers[f"__streams.errors.{name}"] or b"").decode() for name in names)


class Accident:
    """Kills the first worker once enough is scored, and starts another in its place."""

    def __init__(self, console: Console, board: Scoreboard, workers: "Workers", *, after_events: float) -> None:
        self._console = console
        self._board = board
        self._workers = workers
        self._after_events = after_events
        self._happened = False

    def __call__(self) -> None:
        """Called in each turn of the stream."""
        if not self._happened and self._board.scored >= self._after_events:
            self._happened = True
            self._console.print(f"\n$ kill -9 {self._workers.kill_first()}", style="bold red")
            self._console.print(
                f"  after {self._board.scored:,} scores. The broker gives its partitions away 10 s later; what it had "
                "not committed is read and scored again."
            )
            self._workers.start()
        self._workers.check()


class Workers:
    """The running workers of one group; all are gone when the stack closes."""

    def __init__(self, console: Console, stack: ExitStack, config: Path, *, root: Path, output: Path) -> None:
        self._console = console
        self._stack = stack
        self._command = ["anomaly-worker", "run", "--config", str(config.relative_to(root))]
        self._root = root
        self._output = output
        self._running: list[WorkerProcess] = []
        self._started = 0

    def start(self) -> tuple[WorkerProcess, int]:
        """Another worker, and the port of its pages."""
        self._started += 1
        port = free_port()
        log = self._output / f"worker-{self._started}.log"
        log.unlink(missing_ok=True)
        environment = {**own_environment(), "ANOMALY_WORKER_HTTP__PORT": str(port)}
        running = self._stack.enter_context(
            worker(self._console, self._command, folder=self._root, log=log, environment=environment)
        )
        self._console.print(f"  worker {self._started}, process {running.pid}", style="dim")
        self._running.append(running)
        return running, port

    def kill_first(self) -> int:
        """The process id of the worker that was killed."""
        victim = self._running.pop(0)
        victim.kill()
        return victim.pid

    def check(self) -> None:
        """Raises WorkerError if one ended by itself."""
        for running in self._running:
            running.check()

    def stop(self) -> list[int]:
        """The exit codes after SIGTERM."""
        return [running.stop() for running in self._running]


def main() -> int:
    """Run it; 0 if nothing was lost or doubled."""
    console = terminal()
    try:
        with left_by_sigterm():
            return _demo(console)
    except (WorkerError, BrokerError) as error:
        print(f"demo-kafka: {error}", file=sys.stderr)  # noqa: T201 - the command's one sentence
        return 1
    except (KeyboardInterrupt, SystemExit) as left:
        console.print("\nStopped. Nothing is left running.")
        return 130 if isinstance(left, KeyboardInterrupt) else 143


def _demo(console: Console) -> int:
    started_s = time.monotonic()
    examples = example_folder()
    root = examples.parents[1]
    output = root / "build" / "demo-kafka"
    output.mkdir(parents=True, exist_ok=True)
    machines = load_machines(examples)
    model = output / "machine.onnx"
    train(console, root, model)
    board = Scoreboard(machines.servers)
    with Broker() as broker:
        console.print(f"\nApache Kafka {broker.version} runs at {broker.bootstrap}.")
        _create_topics(broker.bootstrap)
        config = output / "worker.yaml"
        text = worker_yaml(
            model=str(model.relative_to(root)), bootstrap=broker.bootstrap, delivery=EXACTLY_ONCE, http_port=0
        )
        config.write_text(text, encoding="utf-8")
        with ExitStack() as stack:
            workers = Workers(console, stack, config, root=root, output=output)
            _stream(console, machines, board, workers, broker.bootstrap)
            codes = workers.stop()
        tally = count(*(read_topics(broker.bootstrap, [topic]) for topic in TOPICS))
    console.print(f"SIGTERM ended the two workers: exit codes {', '.join(map(str, codes))}.")
    run = "Two workers on a real broker, exactly once; one was killed in mid-stream and replaced."
    pictures = conclude(console, board, machines, model=model, run=run, output=output)
    console.print(f"\nThe picture: {pictures.png}\nThe page:    {pictures.html}")
    console.print(f"\nAll of it took {time.monotonic() - started_s:.0f} s.", style="dim")
    console.print(f"\nCounted from the topics by a read_committed reader:\n[bold]{tally}[/]")
    return 0 if tally.lost == tally.doubled == 0 else 1


def _create_topics(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in TOPICS]).values():
        created.result(20)


def _stream(console: Console, machines: Machines, board: Scoreboard, workers: Workers, bootstrap: str) -> None:
    for running, port in [workers.start(), workers.start()]:
        wait_until_ready(running, port)
    console.print("Both are ready.\n")
    player = Player(bootstrap, INPUT_TOPIC, events(machines), events_per_s=EVENTS_PER_S)
    accident = Accident(console, board, workers, after_events=machines.test_events * KILL_AFTER)
    with closing(ScoreReader(bootstrap, OUTPUT_TOPIC)) as reader:
        watch(player, reader, board, console=console, each_turn=accident)
    if not console.is_terminal:
        console.print(table(player.played, board))


if __name__ == "__main__":
    raise SystemExit(main())
