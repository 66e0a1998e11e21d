"""What a level for each entity is worth in one model of many entities, on public data, as a table.

`python -m tests.benchmarks.entity_levels SUITE` trains one model of the six servers of `asd`, as they are and with
each feature of each server in a size of its own, and one of the 20 series of `ts_u`; all by `--levels pooled` and
`--levels own`, with three seeds each, and prints the means: a table of docs/quality.md. It takes seven minutes.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console

from export.benchmark import judged
from export.labelled import LabelledRows
from export.progress import TerminalWatch
from export.report import LEVELS
from export.scoring import RowScores
from export.suite import LABEL, Figures, Part, Task, parts_of
from export.training import train
from schemas.manifest import Manifest

ENTITY = "entity"
SEEDS = (0, 1, 2)
SPREAD = 1.0  # of the logarithm of sizes; levels lie twice as far apart


def main() -> int:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.entity_levels", description=__doc__.splitlines()[0]
    )
    parser.add_argument("suite", type=Path, metavar="SUITE", help="folder of the benchmark's public data")
    parts = parts_of(parser.parse_args().suite)
    servers = parts["asd"].task("all servers")
    tasks = {
        "six servers, alike": servers,
        "the same, of unlike sizes": of_unlike_sizes(servers),
        "20 series that have nothing in common": as_one(parts["ts_u"]),
    }
    sys.stdout.write(
        "| entities | `--levels` | saving | causal | revised | false alarms at 1 % |\n|---|---|---|---|---|---|\n"
    )
    for name, task in tasks.items():
        for levels in ("pooled", "own"):
            sys.stdout.write(row(name, levels, task))
            sys.stdout.flush()
    return 0


def row(name: str, levels: str, task: Task) -> str:
    """Of the table."""
    each = [judged_by(levels, task, seed) for seed in SEEDS]
    causal, revised, alarms = (
        np.mean([figures[wanted] for _, figures in each])
        for wanted in ("vus_pr_causal", "vus_pr_revised", "false_alarms_at_1_percent")
    )
    told = each[0][0].detector.hyperparameters.get(LEVELS)
    saving = f"{told['saving']:.2f}" if isinstance(told, dict) else ""
    return f"| {name} | `{levels}` | {saving} | {causal:.3f} | {revised:.3f} | {100 * alarms:.1f} % |\n"


def judged_by(levels: str, task: Task, seed: int) -> tuple[Manifest, Figures]:
    """One training."""
    with tempfile.TemporaryDirectory() as folder, TerminalWatch(Console(stderr=True)) as watch:
        options = {"kind": "sensor", "levels": levels, "seed": seed, "threads": 2}
        return judged(task, options, Path(folder), watch, train)


def of_unlike_sizes(task: Task) -> Task:
    """The same task, each feature of each entity multiplied and moved by something drawn once."""
    chance = np.random.default_rng(1)
    features = [name for name in task.training.column_names if name not in {ENTITY, LABEL}]
    drawn = {
        entity: (np.exp(chance.normal(0, SPREAD, len(features))), chance.normal(0, 2 * SPREAD, len(features)))
        for entity in task.training[ENTITY].unique().to_pylist()
    }

    def moved(table: pa.Table) -> pa.Table:
        factor, offset = (np.stack([drawn[name][part] for name in table[ENTITY].to_pylist()]) for part in (0, 1))
        for place, name in enumerate(features):
            values = table[name].to_numpy() * factor[:, place] + offset[:, place]
            table = table.set_column(table.column_names.index(name), name, pa.array(values.astype(np.float32)))
        return table

    return replace(task, training=moved(task.training), scored=moved(task.scored))


def as_one(part: Part) -> Task:
    """All items of a part as the entities of one model, each judged as it is by itself; the mean counts."""
    tasks = {item: part.task(item) for item in part.items()}

    def rows_of(rows: LabelledRows) -> Iterator[tuple[Task, slice, LabelledRows]]:
        for name, of_one in zip(rows.entities, rows.slices(), strict=True):
            sample = replace(rows.sample, position=rows.sample.position[of_one])
            yield tasks[name], of_one, replace(rows, label=rows.label[of_one], sample=sample)

    def judge(rows: LabelledRows, scores: RowScores) -> Figures:
        figures = [task.judge(labelled, scores_of(scores, of_one)) for task, of_one, labelled in rows_of(rows)]
        return {name: float(np.mean([of_one[name] for of_one in figures])) for name in figures[0]}

    def normal(rows: LabelledRows) -> NDArray[np.bool_]:
        return np.concatenate([task.normal(labelled) for task, _, labelled in rows_of(rows)])

    def named(item: str, table: pa.Table) -> pa.Table:
        return table.append_column(ENTITY, pa.array([item] * len(table)))

    return Task(
        training=pa.concat_tables(named(item, task.training) for item, task in tasks.items()),
        scored=pa.concat_tables(named(item, task.scored) for item, task in tasks.items()),
        columns={"entity": ENTITY},
        judge=judge,
        normal=normal,
    )


def scores_of(scores: RowScores, rows: slice) -> RowScores:
    """Those of some rows."""
    return RowScores(causal=scores.causal[rows], revised=scores.revised[rows], warming=scores.warming[rows])


if __name__ == "__main__":
    sys.exit(main())
