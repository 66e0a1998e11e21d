"""The command line: arguments in, an exit code out. An error is one sentence on standard error."""

import argparse
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import NoReturn

import yaml

from schemas.settings import Settings
from worker.errors import ExitCode, WorkerError, clause
from worker.settings_file import load_settings, redacted

_DESCRIPTION = "Scores every event of Kafka topics for anomalies, exactly once."
_EPILOG = """\
a first look:            anomaly-worker demo
before production:       anomaly-worker check --config worker.yaml
at work:                 anomaly-worker run --config worker.yaml

exit codes: 0 done, or `run` was ended by SIGTERM; 1 failed at work (or `check` found something);
2 wrong use or settings; 3 the model artifact is refused; 128 + its number: a signal ended another command
"""
_RUN_EPILOG = """\
Joins the consumer group, scores every event of the input topics and publishes one record for each. SIGTERM finishes
what is in flight and leaves the group; a second signal ends at once.

examples:
  anomaly-worker run --config worker.yaml
  ANOMALY_WORKER_LOG__FORMAT=text anomaly-worker run --config worker.yaml
"""
_SETTINGS_EPILOG = """\
Prints the settings in force (file, environment and defaults together) as YAML, secrets hidden.

example:
  ANOMALY_WORKER_BATCH__MAX_EVENTS=512 anomaly-worker settings --config worker.yaml
"""
_DEMO_EPILOG = """\
Trains a detector, runs a worker on an embedded cluster and writes a page with what was found.

examples:
  anomaly-worker demo
  anomaly-worker demo --output first-look --events-per-second 1000
"""

_ENDING = (signal.SIGTERM, signal.SIGINT)
"""What people and orchestrators end a worker with."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except WorkerError as error:
        return _fail(str(error), error.exit_code, debug=arguments.debug)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001 - whatever it is, a user gets a sentence
        return _fail(
            f"Unexpected: {type(error).__name__}: {clause(error)} (--debug shows where)", debug=arguments.debug
        )


def _fail(sentence: str, code: ExitCode = ExitCode.FAILED, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"anomaly-worker: {_ended(sentence)}", file=sys.stderr)  # noqa: T201 - the one sentence
    return code


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?", "!", ")")) else f"{sentence}."


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage text above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.WRONG_USE, f"{self.prog}: {message[:1].upper()}{message[1:]}; see {self.prog} --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="anomaly-worker",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"anomaly-worker {version('anomaly-worker')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add(commands, "run", "score topics until told to stop", _run, epilog=_RUN_EPILOG)
    _add_check(commands)
    _add_capture(commands)
    _add_score(commands)
    _add_fetch(commands)
    _add_demo(commands)
    _add(commands, "settings", "print the settings in force, without secrets", _settings, epilog=_SETTINGS_EPILOG)
    return parser


def _add(
    commands: "argparse._SubParsersAction[_Parser]",
    name: str,
    summary: str,
    run: Callable[[argparse.Namespace], int],
    *,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the settings, YAML (examples/worker.yaml)",
    )
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    parser.set_defaults(run=run)
    return parser


# The model's runtime and the file readers are imported when a command needs them, so that `--help` is quick.


def _add_check(commands: "argparse._SubParsersAction[_Parser]") -> None:
    from worker import check  # noqa: PLC0415

    parser = _add(commands, "check", "look at brokers, topics, rights, model and live events", _check)
    check.add_arguments(parser)


def _add_capture(commands: "argparse._SubParsersAction[_Parser]") -> None:
    from worker import capture  # noqa: PLC0415

    parser = _add(commands, "capture", "write events of the input topics to a file, for training", _capture)
    capture.add_arguments(parser)


def _add_score(commands: "argparse._SubParsersAction[_Parser]") -> None:
    from worker import backtest  # noqa: PLC0415

    parser = _add(commands, "score", "score a file as the worker would score a topic", _score)
    backtest.add_arguments(parser)


def _add_fetch(commands: "argparse._SubParsersAction[_Parser]") -> None:
    from worker import fetch  # noqa: PLC0415

    parser = _add(commands, "fetch", "write the model that the settings name to a local file", _fetch)
    fetch.add_arguments(parser)


def _add_demo(commands: "argparse._SubParsersAction[_Parser]") -> None:
    from worker import demo  # noqa: PLC0415

    summary = "see it find anomalies in real machine data, without a Kafka"
    parser: argparse.ArgumentParser = commands.add_parser(
        "demo",
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=_DEMO_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    parser.set_defaults(run=_demo)
    demo.add_arguments(parser)


def _load(arguments: argparse.Namespace) -> Settings:
    return load_settings(arguments.config, environ=os.environ)


def _run(arguments: argparse.Namespace) -> int:
    _leave_on_signals()
    from worker import app, failpoints  # noqa: PLC0415
    from worker.logs import start_logging  # noqa: PLC0415

    settings = _load(arguments)
    start_logging(settings.log.format, settings.log.level)
    failpoints.arm(os.environ)
    app.run(settings, on_start=_stop_on_signals)
    return ExitCode.DONE


def _leave_on_signals() -> None:
    """Until the worker is there nothing is in flight, and an end at once is one in good order.

    Loading a model may take long, and process 1 of a container gets no signal that it has no handler for.
    """

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        os._exit(ExitCode.DONE)

    for number in _ENDING:
        signal.signal(number, leave)


def _stop_on_signals(stop_worker: Callable[[], None]) -> None:
    """The first signal ends in good order, a second one at once."""
    signalled = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal signalled
        del frame
        if signalled:
            os._exit(128 + number)
        signalled = True
        stop_worker()

    for number in _ENDING:
        signal.signal(number, stop)


@contextlib.contextmanager
def left_by_sigterm() -> Iterator[None]:
    """SIGTERM leaves the block as Ctrl-C does: what is half-written is removed, and the shell told by which signal."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        signal.signal(number, signal.SIG_IGN)  # a second one, as `timeout` sends it, must not cut the tidying short
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check(arguments: argparse.Namespace) -> int:
    from worker import check  # noqa: PLC0415

    with left_by_sigterm():
        return check.run(arguments, _load(arguments))


def _capture(arguments: argparse.Namespace) -> int:
    from worker import capture  # noqa: PLC0415

    with left_by_sigterm():
        return capture.run(arguments, _load(arguments))


def _score(arguments: argparse.Namespace) -> int:
    from worker import backtest  # noqa: PLC0415

    with left_by_sigterm():
        return backtest.run(arguments, _load(arguments) if arguments.config else None)


def _fetch(arguments: argparse.Namespace) -> int:
    from worker import fetch  # noqa: PLC0415

    with left_by_sigterm():
        return fetch.run(arguments, _load(arguments))


def _settings(arguments: argparse.Namespace) -> int:
    print(yaml.safe_dump(redacted(_load(arguments)), sort_keys=False, allow_unicode=True), end="")  # noqa: T201 - output
    return ExitCode.DONE


def _demo(arguments: argparse.Namespace) -> int:
    from worker import demo  # noqa: PLC0415

    with left_by_sigterm():
        return demo.run(arguments)
