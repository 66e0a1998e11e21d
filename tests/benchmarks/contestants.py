"""Who takes part, each as the command of a process that reads one topic and writes another."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

COMMANDS = Path(sys.executable).parent
FLOOR, TRANSACTIONAL_FLOOR, LOOP, WORKER = "floor", "floor-transactional", "hand-written", "worker"
TITLES = {
    FLOOR: "floor: bytes through, plain",
    TRANSACTIONAL_FLOOR: "floor: bytes through, in transactions",
    LOOP: "hand-written loop (orjson)",
    WORKER: "anomaly-worker run, exactly-once",
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One contestant's turn: its own group, and empty topics to write to."""

    bootstrap: str
    group: str
    source: str
    target: str
    dead: str
    events: int
    model: Path
    folder: Path


def floor(run: Run) -> list[str]:
    """The command of the plain floor."""
    return _peer("pass_through", run)


def transactional_floor(run: Run) -> list[str]:
    """The command of the floor in transactions."""
    return [*_peer("pass_through", run), "--transactional"]


def loop(run: Run) -> list[str]:
    """The command of the hand-written loop."""
    return [*_peer("hand_written", run), "--model", str(run.model)]


def worker(run: Run) -> list[str]:
    """The worker as a user starts it; what is not set here is left at its default."""
    settings = {
        "model": {"uri": str(run.model)},
        "kafka": {
            "bootstrap_servers": run.bootstrap,
            "group_id": run.group,
            "input_topics": [run.source],
            "output_topic": run.target,
            "dead_letter_topic": run.dead,
        },
        "start": "earliest",
        "inference": {"provider": "cpu", "threads": 1},
        "http": {"port": 0},
    }
    config = run.folder / "worker.yaml"
    config.write_text(json.dumps(settings))  # JSON is YAML
    return [str(COMMANDS / "anomaly-worker"), "run", "--config", str(config)]


def _peer(module: str, run: Run) -> list[str]:
    job = {"bootstrap": run.bootstrap, "group": run.group, "source": run.source, "target": run.target}
    options = [f"--{name}={value}" for name, value in (job | {"events": run.events}).items()]
    return [sys.executable, "-m", f"tests.benchmarks.{module}", *options]


CONTESTANTS: Mapping[str, Callable[[Run], list[str]]] = {
    FLOOR: floor,
    TRANSACTIONAL_FLOOR: transactional_floor,
    LOOP: loop,
    WORKER: worker,
}
