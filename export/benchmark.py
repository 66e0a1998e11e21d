"""The composition: a suite of public data becomes results, item by item and seed by seed, each kept once it is done.

Every item is trained by `train` with one configuration for its kind of event, and scored through the artifact contract
alone. Items and seeds have nothing to do with each other, so several are worked at side by side. Prints nothing.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow.parquet

import export
from export.alarm_rate import kept_promise
from export.artifact import read_artifact, write_file
from export.benchmark_report import Line, lines_of, summary_as_json
from export.benchmark_results import Result, as_json, read_results
from export.dataset import Dataset, open_dataset
from export.errors import ExportError, UsageError
from export.labelled import read_labelled, with_label
from export.processes import beside_each_other
from export.scoring import Network, expected_events, score_rows
from export.suite import LABEL, Figures, Part, Task, parts_of
from export.training import Watch, train
from export.training_config import TrainingConfig, load_config
from schemas.manifest import Manifest

CONFIGURATIONS: Mapping[str, Mapping[str, object]] = {
    kind: {"kind": kind} for kind in ("sensor", "tabular", "log", "image")
}
"""Kind of event -> the options of `train`, beside the columns."""

_PROMISED = 0.01  # the share of false alarms that is held to what came of it

_MOST_JOBS = 8  # unless more are asked for: each brings a PyTorch of its own

Trainer = Callable[[TrainingConfig, Watch], object]
"""What writes `config.output`: `train`, or what a test takes for it."""
OnResult = Callable[[Result], None]
"""Told of each result, kept ones first."""


class BenchmarkWatch(Watch, Protocol):
    """Told how far a benchmark is: of single trainings, or of all items where several are worked at."""

    def items(self, done: int, planned: int) -> None:
        """Items and seeds done in this stage."""
        ...


def usual_jobs() -> int:
    """One for each CPU that this process may use, within reason."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_JOBS)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkConfig:
    """Every option of `anomaly-export benchmark`."""

    suite: Path
    parts: tuple[str, ...] | None = None  # None = all that are there
    items: tuple[str, ...] | None = None  # None = all of these parts; else names, or how they begin
    seeds: tuple[int, ...] = (0, 1, 2)
    detector: str | None = None  # None = the default of `train`
    jobs: int = field(default_factory=usual_jobs)  # trainings at a time
    output: Path = Path("benchmark.json")
    anew: bool = False


def benchmark(
    config: BenchmarkConfig, watch: BenchmarkWatch, on_result: OnResult, *, trainer: Trainer = train
) -> tuple[list[Result], list[Line]]:
    """Every result that was asked for, and what they come to. Each is in `config.output` as soon as it is done.

    Raises:
        ExportError: the suite or the output cannot be used. What refuses an item is part of its result.
    """
    wanted = _wanted(config, _items(config, _parts(config)))
    kept = {} if config.anew else {result.key: result for result in read_results(config.output)}
    for each in wanted:
        if each.key in kept:
            on_result(kept[each.key])
    for result in _done(config, [each for each in wanted if each.key not in kept], watch, trainer):
        kept[result.key] = result
        write_file(as_json(kept.values()), config.output)
        on_result(result)
    results = [kept[each.key] for each in wanted]
    lines = lines_of(results, config.suite)
    write_file(as_json(kept.values(), summary_as_json(lines)), config.output)
    return results, lines


def _parts(config: BenchmarkConfig) -> list[Part]:
    if config.jobs < 1:
        raise UsageError(f"--jobs {config.jobs}: at least one training at a time; give 1 or more.")
    if not config.suite.is_dir():
        raise UsageError(f"--suite {config.suite}: there is no such folder.")
    if not config.output.parent.is_dir():
        raise UsageError(
            f"--output {config.output}: the folder {config.output.parent} does not exist; create it first."
        )
    if config.output.suffix != ".json":
        raise UsageError(f"--output {config.output}: its name must end in .json.")
    known = parts_of(config.suite)
    if config.parts is None:
        there = [part for part in known.values() if _is_there(part)]
        if not there:
            raise UsageError(f"--suite {config.suite} holds none of the parts {', '.join(known)}.")
        return there
    for name in config.parts:
        if name not in known:
            raise UsageError(f"--parts {name}: there is no such part; give {', '.join(known)}.")
        if not _is_there(known[name]):
            raise UsageError(f"--parts {name}: its files are not in {config.suite}.")
    return [known[name] for name in dict.fromkeys(config.parts)]


def _is_there(part: Part) -> bool:
    return all(file.is_file() for file in part.files)


def _items(config: BenchmarkConfig, parts: Sequence[Part]) -> list[tuple[Part, str]]:
    """Those of the parts that are to be done."""
    known = [(part, item) for part in parts for item in part.items()]
    if config.items is None:
        return known
    for name in config.items:
        if not any(item.startswith(name) for _, item in known):
            raise UsageError(f"--items {name}: no item of {', '.join(part.name for part in parts)} begins so.")
    return [(part, item) for part, item in known if item.startswith(config.items)]


def _wanted(config: BenchmarkConfig, items: Sequence[tuple[Part, str]]) -> list[Result]:
    """Each item with each seed, nothing come of it yet."""
    return [
        Result(part=part.name, item=item, seed=seed, options=_options(config, part))
        for part, item in items
        for seed in config.seeds
    ]


def _options(config: BenchmarkConfig, part: Part) -> dict[str, object]:
    detector = {} if config.detector is None else {"detector": config.detector}
    return {**CONFIGURATIONS[part.kind], **detector}


def _done(
    config: BenchmarkConfig, wanted: Sequence[Result], watch: BenchmarkWatch, trainer: Trainer
) -> Iterator[Result]:
    """What comes of each, one after the other or several side by side."""
    with tempfile.TemporaryDirectory(prefix="anomaly-benchmark-") as folder:
        become = partial(_become, suite=config.suite, folder=Path(folder), trainer=trainer)
        jobs = min(config.jobs, len(wanted))
        if jobs <= 1:
            for each in wanted:
                yield become(each, watch=_Prefixed(watch, f"{each.part} {each.item}, seed {each.seed}"))
            return
        watch.stage(f"items, {jobs} at a time")
        watch.items(0, len(wanted))
        # Closed before the folder goes: what the processes are at is written there.
        with closing(beside_each_other(become, wanted, processes=jobs)) as results:
            for done, result in enumerate(results, start=1):
                yield result
                watch.items(done, len(wanted))


def _become(wanted: Result, *, suite: Path, folder: Path, trainer: Trainer, watch: Watch | None = None) -> Result:
    """The result, or why there is none."""
    began, code = time.monotonic(), code_digest()
    part = parts_of(suite)[wanted.part]
    try:
        with tempfile.TemporaryDirectory(dir=folder) as own:
            task, settings = part.task(wanted.item), {**wanted.options, "seed": wanted.seed}
            manifest, figures = judged(task, settings, Path(own), watch or _Nobody(), trainer)
    except ExportError as error:
        return wanted.refused(str(error), code=code)
    return wanted.done(figures, family=manifest.detector.family, seconds=round(time.monotonic() - began, 1), code=code)


def judged(
    task: Task, options: Mapping[str, object], folder: Path, watch: Watch, trainer: Trainer
) -> tuple[Manifest, Figures]:
    """Train on a task by these options of `train`, in a folder of its own, and judge what it scores.

    Raises:
        ExportError: what refuses the training or the scoring.
    """
    training, scored, output = folder / "training.parquet", folder / "scored.parquet", folder / "model.onnx"
    pyarrow.parquet.write_table(task.training, training)
    pyarrow.parquet.write_table(task.scored, scored)
    config = load_config(None, {**task.columns, **options, "data": [training], "output": output})
    trainer(config, watch)
    content, manifest = read_artifact(output)
    watch.stage("scoring")
    rows = read_labelled(_dataset(scored, config, manifest), watch.rows)
    network = Network(content, manifest)
    scores = score_rows(network, manifest, rows, watch.rows)
    watch.stage("judging")
    figures = task.judge(rows, scores)
    if task.denoising is not None:
        figures |= task.denoising.judge(expected_events(network, task.denoising.noisy))
    normal = scores.causal[task.normal(rows) & ~scores.warming]
    if len(normal):
        realised = kept_promise(normal, manifest.alarm_rate, np.array([_PROMISED]))
        figures["false_alarms_at_1_percent"] = float(realised[0])
    return manifest, figures


def _dataset(scored: Path, config: TrainingConfig, manifest: Manifest) -> Dataset:
    return open_dataset([scored], config, features=with_label(manifest.feature_names, LABEL))


def code_digest() -> str:
    """12 hex digits of the exporter's own source: results of one code are told from those of another."""
    digest = hashlib.sha256()
    for path in sorted(Path(export.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class _Prefixed:
    """A Watch whose stages say which item they are about."""

    def __init__(self, watch: Watch, prefix: str) -> None:
        self._watch, self._prefix = watch, prefix
        self.rows, self.epoch, self.trial = watch.rows, watch.epoch, watch.trial

    def stage(self, name: str) -> None:
        """As Watch."""
        self._watch.stage(f"{self._prefix}: {name}")


class _Nobody:
    """A Watch for work in another process: what it is at is not told."""

    def stage(self, name: str) -> None:
        """As Watch."""

    def rows(self, done: int, total: int | None) -> None:
        """As Watch."""

    def epoch(self, done: int, planned: int, error: float) -> None:
        """As Watch."""

    def trial(self, done: int, planned: int, error: float) -> None:
        """As Watch."""
