"""The demo: real machine data through training, a worker and a topic, ending in a picture that counts honestly."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `anomaly-worker demo` may be told."""
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where it writes (default: build/demo)")
    parser.add_argument("--events-per-second", type=float, metavar="N", help="pace of the stream (default: 3200)")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; the exit code. Raises WorkerError."""
    from worker.demo.journey import EVENTS_PER_S, journey  # noqa: PLC0415 - `--help` of other commands stays quick

    return journey(output=arguments.output, events_per_s=arguments.events_per_second or EVENTS_PER_S)
