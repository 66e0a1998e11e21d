"""What the user typed becomes a command, an exit code, and on failure one sentence on standard error.

Nothing heavy is imported before it is needed: `--help` and `inspect` start without torch.
"""

import argparse
import contextlib
import json
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from export.artifact import read_manifest, write_file
from export.errors import ExitCode, ExportError, UsageError
from export.evaluation_report import Evaluation, as_json, print_evaluation
from export.inspection import print_manifest
from export.progress import TerminalWatch
from export.report import TrainingReport, print_report
from export.training_config import TrainingConfig, load_config, split_at_commas
from export.verdict import METRICS, known_metrics

_EXAMPLES = """\
examples:
  A table with a row an event, a column a sensor:
    anomaly-export train --data machines.csv --entity machine --timestamp time --output machines.onnx

  What the worker captured from its topic:
    anomaly-export train --data events.parquet --entity entity --timestamp event_time --output machines.onnx

  See what a file is:
    anomaly-export inspect machines.onnx

  Judge it by rows with a column of labels, 0 and 1:
    anomaly-export evaluate machines.onnx --data labelled.csv --label incident --entity machine --timestamp time
"""

_TRAIN_NOTES = """\
families, with their knobs beside epochs and weight-decay:
  auto        what is best by measurement for the kind of event
  ae          autoencoder with a bottleneck: bottleneck, hidden, depth, dropout
  dae         denoising autoencoder: noise, bottleneck, hidden, depth, dropout
  vae         variational autoencoder: bottleneck, hidden, depth, dropout
  sparse-ae   only the largest units of a wide code are active: sparsity, bottleneck, dropout
  conv-ae     convolutions over window or picture, denoising: noise, bottleneck, hidden, depth, dropout
  gru-ae      recurrent, for windows whose order matters: bottleneck, depth, dropout
  pca         principal components: bottleneck alone
  prototypes  distance to the nearest of many typical windows: bottleneck alone

An entity's oldest 70 % of rows train, the next 10 % stop the training early, the newest 20 % calibrate the score:
normal operation scores above 1 as often as --alarm-rate says. The data should be mostly normal; no labels are used:
--label names a column of them that is not to be learnt. Rows of an entity must be in the order of time. Values may be
missing.

example:
  anomaly-export train --data july.csv august.csv.gz --entity machine --timestamp time \\
      --features temperature,pressure,current --window 32 --alarm-rate 0.001 --output machines.onnx

The same as a file, for --config (options override it):
  data: [july.csv, august.csv.gz]
  entity: machine
  timestamp: time
  features: [temperature, pressure, current]
  output: machines.onnx
"""

_EVALUATE_NOTES = """\
Beside the model's score as the worker publishes it (causal) stand, of a series, the mean over all windows that cover a
row (revised), and three plain detectors: a z-score, PCA, and k-means prototypes. Windows are cut as the manifest says.
Labels are used for counting alone.

example:
  anomaly-export evaluate machines.onnx --data labelled.csv --label incident --entity machine --timestamp time \\
      --training-data machines.csv --json figures.json
"""

_BENCHMARK_NOTES = """\
Nothing is tuned to a part: the options of `train` depend on the kind of event alone. An item that is done is kept in
--output and not done again, so a run that was ended goes on where it was.

example:
  anomaly-export benchmark --suite data --parts ts_u tabular --output figures.json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code.

    0 done, 1 failed at work, 2 wrong use, 3 artifact refused; SystemExit with 128 + 15 where SIGTERM ended it.
    """
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as leave:  # argparse has printed help, or what is wrong
        return int(leave.code or 0)
    try:
        with _left_by_sigterm():
            options.command(options)
    except ExportError as error:
        if options.debug:
            raise
        print(f"anomaly-export: {error}", file=sys.stderr)  # noqa: T201  # the one sentence is the interface
        return int(error.exit_code)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if options.debug:
            raise
        sentence = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        print(f"anomaly-export: An error of this program: {sentence} (--debug shows where).", file=sys.stderr)  # noqa: T201  # see above
        return int(ExitCode.FAILED)
    return int(ExitCode.DONE)


@contextlib.contextmanager
def _left_by_sigterm() -> Iterator[None]:
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


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage text above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.WRONG_USE, f"{self.prog}: {message[:1].upper()}{message[1:]}; see {self.prog} --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="anomaly-export",
        description="Trains anomaly detectors and exports each as one ONNX file that is the whole detector.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"anomaly-export {version('anomaly-worker')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_train, _add_evaluate, _add_benchmark, _add_inspect):
        command = add(commands)
        command.add_argument("--debug", action="store_true", help="on an error show the traceback")
    return parser


def _add_train(commands: "argparse._SubParsersAction[_Parser]") -> argparse.ArgumentParser:
    command = commands.add_parser(
        "train",
        help="train a detector on CSV or Parquet files and export it",
        description="Trains a detector on CSV or Parquet files and writes it as one ONNX file.",
        epilog=_TRAIN_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(command=_train)
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML file with these settings, by the names of the options"
    )
    data = command.add_argument_group("data")
    _add_data_options(data, features="columns to learn (default: every other numeric column)")
    data.add_argument(
        "--label", metavar="COL", help="column of labels, as evaluate has it: not learnt, and no label is used"
    )
    _add_detector_options(command.add_argument_group("detector"))
    _add_knobs(command.add_argument_group("knobs", "which family has which: see below"))
    _add_work_options(command.add_argument_group("training"))
    return command


def _add_data_options(group: "argparse._ArgumentGroup", *, features: str) -> None:
    group.add_argument(
        "--data",
        action="extend",
        nargs="+",
        metavar="FILE",
        help="CSV (also .gz, .bz2, .zst) or Parquet; several are read as one, in this order",
    )
    group.add_argument(
        "--entity", metavar="COL", help="column that tells machines, users, ... apart (default: all rows are of one)"
    )
    group.add_argument(
        "--timestamp", metavar="COL", help="column of event times (default: none, the order of rows counts)"
    )
    group.add_argument(
        "--timestamp-unit", metavar="UNIT", help="s, ms, us, ns or iso8601 (default: told from the first value)"
    )
    group.add_argument("--features", metavar="A,B,C", help=features)


def _add_detector_options(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--output", metavar="NAME.onnx", help="the file to write")
    group.add_argument("--name", help="the detector's name in every score (default: the file's)")
    group.add_argument("--version", help="its version in every score (default: 1)")
    group.add_argument(
        "--kind",
        metavar="KIND",
        help="sensor = an event and those before it (default), tabular, image = each event by itself, log = lines",
    )
    group.add_argument(
        "--image-shape",
        metavar="H,W[,C]",
        help="for --kind image: the picture that the features are, row by row (default: a square of one channel)",
    )
    group.add_argument("--log-ids", metavar="COL", help="for --kind log: column of template numbers")
    group.add_argument(
        "--derive",
        metavar="NAME,...",
        help="for --kind tabular: differences, ratios, rolling, velocities, or none (default: by the data)",
    )
    group.add_argument(
        "--levels",
        metavar="WHOSE",
        help="for --kind sensor: own = each entity is judged at its own usual level and scale, pooled = all at one "
        "(default: by the data)",
    )
    group.add_argument(
        "--thresholds",
        metavar="WHOSE",
        help="own = each entity has a threshold of its own, where it has rows enough (default), pooled = one for all",
    )
    group.add_argument(
        "--exclude-ranges",
        type=split_at_commas,
        action="extend",
        metavar="START/END,...",
        help="times not to learn from, such as known incidents; given again, these too",
    )
    group.add_argument("--detector", metavar="FAMILY", help="see below (default: auto)")
    group.add_argument(
        "--window", metavar="W", help="events of an entity that are judged together (default: by kind and data)"
    )
    group.add_argument(
        "--min-length", metavar="N", help="events before an entity's scores count (default: half the window)"
    )
    group.add_argument(
        "--max-gap", metavar="SECONDS", help="a longer time between two events cuts the window (default: never)"
    )
    group.add_argument(
        "--alerts-per-day",
        metavar="N",
        help="the alarm rate as a budget: so many normal events a day, all entities together",
    )
    group.add_argument(
        "--events-per-day", metavar="N", help="what the budget is out of (default: as many as the data's times tell)"
    )
    group.add_argument(
        "--alarm-rate", metavar="P", help="share of normal events that may score above 1 (default: 0.001)"
    )


def _add_knobs(group: "argparse._ArgumentGroup") -> None:
    for option, metavar, text in (
        (
            "bottleneck",
            "N",
            "narrowest layer, principal components, or prototypes (default: a sixteenth of the inputs)",
        ),
        ("hidden", "N,N", "layers between input and bottleneck (default: one, the geometric mean)"),
        ("depth", "N", "how many such layers, in place of their sizes"),
        (
            "noise",
            "SD",
            "largest noise that is to be removed, in standard deviations (default: 0.5; 2 for single events; 0 = none)",
        ),
        ("sparsity", "SHARE", "share of the code that may be active (default: 0.1)"),
        ("dropout", "SHARE", "share of hidden units that are left out of each training step (default: 0)"),
        ("weight-decay", "X", "pull of the weights towards 0 (default: 0.0001)"),
        ("epochs", "N", "most passes over the training windows (default: by their number)"),
    ):
        group.add_argument(f"--{option}", metavar=metavar, help=text)
    group.add_argument(
        "--search",
        metavar="N",
        help="try N sets of those knobs that are not given, and take the best by held-back data (default: none)",
    )


def _add_work_options(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--seed", metavar="N", help="equal seeds give equal files on one machine (default: 0)")
    group.add_argument(
        "--threads", metavar="N", help="CPU threads (default: 1; more pay only for wide networks on an idle machine)"
    )
    group.add_argument(
        "--max-windows", metavar="N", help="evenly spaced windows to keep of a larger file (default: 200000)"
    )


def _add_evaluate(commands: "argparse._SubParsersAction[_Parser]") -> argparse.ArgumentParser:
    command = commands.add_parser(
        "evaluate",
        help="judge a file by labelled rows",
        description="Scores labelled rows as the worker would, and judges the scores. Labels are 0 and 1.",
        epilog=_EVALUATE_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(command=_evaluate)
    command.add_argument("model", type=Path, metavar="MODEL", help="what train wrote, or your own export")
    data = command.add_argument_group("data")
    _add_data_options(data, features="columns to score, in the model's order (default: those of its names)")
    data.add_argument(
        "--label", metavar="COL", required=True, help="column of labels: 1 = a row of an incident, 0 = not"
    )
    data.add_argument(
        "--training-data",
        nargs="+",
        default=[],
        metavar="FILE",
        help="what the model was trained on, for PCA and prototypes to learn from (default: the oldest labelled rows)",
    )
    figures = command.add_argument_group("figures")
    figures.add_argument(
        "--metric", nargs="+", metavar="NAME", help="which to compute (default: all; see docs/evaluation.md)"
    )
    figures.add_argument(
        "--vus-window",
        type=int,
        metavar="N",
        help="widest buffer of the VUS, in rows (default: 100, at most a tenth of an entity's rows; 0 where each event "
        "is judged by itself)",
    )
    figures.add_argument(
        "--threshold", type=float, default=1.0, metavar="S", help="scores above it are alarms (default: 1)"
    )
    figures.add_argument(
        "--false-positive-rate", type=float, default=0.001, metavar="P", help="at which recall is told (default: 0.001)"
    )
    figures.add_argument(
        "--prior", type=float, metavar="P", help="share of anomalous rows in operation, for the average precision"
    )
    figures.add_argument(
        "--episode-gap",
        type=float,
        default=3600.0,
        metavar="SECONDS",
        help="alarms of an entity no further apart are one episode (default: 3600)",
    )
    outputs = command.add_argument_group("output")
    outputs.add_argument("--json", type=Path, metavar="FILE", help="write every figure, of every entity too")
    outputs.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="write a page with plots, and the JSON beside it (FILE.json, unless --json names another)",
    )
    return command


def _add_benchmark(commands: "argparse._SubParsersAction[_Parser]") -> argparse.ArgumentParser:
    command = commands.add_parser(
        "benchmark",
        help="train and judge on a suite of public data",
        description="Trains on every part of a suite with one configuration a kind of event, and judges the scores.",
        epilog=_BENCHMARK_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(command=_benchmark)
    command.add_argument("--suite", type=Path, required=True, metavar="DIR", help="the suite's files")
    command.add_argument("--parts", nargs="+", metavar="NAME", help="which parts (default: all that are there)")
    command.add_argument(
        "--items", nargs="+", metavar="NAME", help="which items of these parts, by how they begin (default: all)"
    )
    command.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    command.add_argument("--detector", metavar="FAMILY", help="as for train (default: its default)")
    command.add_argument("--jobs", type=int, metavar="N", help="trainings at a time (default: one a CPU, at most 8)")
    command.add_argument(
        "--output",
        type=Path,
        default=Path("benchmark.json"),
        metavar="FILE.json",
        help="results, and beside them the tables as Markdown; what it holds is kept (default: benchmark.json)",
    )
    command.add_argument("--anew", action="store_true", help="keep nothing of an earlier run")
    return command


def _add_inspect(commands: "argparse._SubParsersAction[_Parser]") -> argparse.ArgumentParser:
    command = commands.add_parser(
        "inspect",
        help="show what an exported file is",
        description="Verifies a file's digest and shows its manifest: features, window, calibration, training data.",
        epilog="example:\n  anomaly-export inspect machines.onnx --json | jq .features[].name",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(command=_inspect)
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument("--json", action="store_true", help="the whole manifest as JSON")
    return command


def _train(options: argparse.Namespace) -> None:
    config = load_config(options.config, {name: getattr(options, name) for name in TrainingConfig.model_fields})
    with TerminalWatch(Console(stderr=True)) as watch:
        watch.stage("starting torch")
        report = _trainer()(config, watch)
    print_report(report, Console())


def _trainer() -> "Callable[[TrainingConfig, TerminalWatch], TrainingReport]":
    try:
        from export.training import train  # noqa: PLC0415  # brings torch, which takes seconds
    except ModuleNotFoundError as error:
        raise ExportError(f"Training needs {error.name}: pip install 'anomaly-worker[export,cpu]'.") from error
    return train


def _evaluate(options: argparse.Namespace) -> None:
    if not options.data:
        raise UsageError("--data is required: name the files of labelled rows.")
    try:
        from export.evaluation import EvaluationConfig, evaluate  # noqa: PLC0415  # brings pyarrow and ONNX Runtime
    except ModuleNotFoundError as error:
        raise ExportError(f"Evaluating needs {error.name}: pip install 'anomaly-worker[files,cpu]'.") from error
    config = EvaluationConfig(
        model=options.model,
        data=tuple(map(Path, options.data)),
        label=options.label,
        training_data=tuple(map(Path, options.training_data)),
        entity=options.entity,
        timestamp=options.timestamp,
        timestamp_unit=options.timestamp_unit,
        features=None if options.features is None else tuple(map(str.strip, options.features.split(","))),
        metrics=METRICS if options.metric is None else known_metrics(options.metric),
        vus_window=options.vus_window,
        threshold=options.threshold,
        false_positive_rate=options.false_positive_rate,
        prior=options.prior,
        episode_gap_s=options.episode_gap,
        json=_json_beside(options.report) if options.json is None else options.json,
        report=options.report,
    )
    page_of = None if config.report is None else _page_of()
    with TerminalWatch(Console(stderr=True)) as watch:
        evaluation = evaluate(config, watch)
    if config.json is not None:
        write_file(json.dumps(as_json(evaluation), indent=2).encode() + b"\n", config.json)
    if config.report is not None and page_of is not None:
        write_file(page_of(evaluation).encode(), config.report)
    print_evaluation(evaluation, Console())


def _json_beside(report: Path | None) -> Path | None:
    if report is None:
        return None
    if report.suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"--report {report}: its name must end in .html.")
    return report.with_suffix(".json")


def _page_of() -> "Callable[[Evaluation], str]":
    try:
        from export.evaluation_page import evaluation_page  # noqa: PLC0415  # brings matplotlib
    except ModuleNotFoundError as error:
        raise ExportError(f"--report needs {error.name}: pip install 'anomaly-worker[files,cpu,picture]'.") from error
    return evaluation_page


def _benchmark(options: argparse.Namespace) -> None:
    try:
        from export.benchmark import BenchmarkConfig, benchmark, usual_jobs  # noqa: PLC0415  # brings torch
        from export.benchmark_report import figures_in_words, markdown  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ExportError(f"A benchmark needs {error.name}: pip install 'anomaly-worker[export,cpu]'.") from error
    config = BenchmarkConfig(
        suite=options.suite,
        parts=None if options.parts is None else tuple(options.parts),
        items=None if options.items is None else tuple(options.items),
        seeds=tuple(dict.fromkeys(options.seeds)),
        detector=options.detector,
        jobs=usual_jobs() if options.jobs is None else options.jobs,
        output=options.output,
        anew=options.anew,
    )
    told = Console(stderr=True)
    with TerminalWatch(told) as watch:
        results, lines = benchmark(
            config,
            watch,
            lambda result: told.print(figures_in_words(result), highlight=False, markup=False, soft_wrap=True),
        )
    text = markdown(results, lines, command=_typed(options))
    write_file(text.encode(), config.output.with_suffix(".md"))
    sys.stdout.write(text)


def _typed(options: argparse.Namespace) -> str:
    """The command as somebody else would type it, wherever their suite lies."""
    words = ["anomaly-export benchmark --suite DIR"]
    words += [f"--parts {' '.join(options.parts)}"] if options.parts else []
    words += [f"--items {shlex.join(options.items)}"] if options.items else []
    words += [f"--detector {options.detector}"] if options.detector else []
    return " ".join(words)


def _inspect(options: argparse.Namespace) -> None:
    manifest = read_manifest(options.file)
    if options.json:
        sys.stdout.write(manifest.model_dump_json(indent=2) + "\n")
    else:
        print_manifest(manifest, Console())
