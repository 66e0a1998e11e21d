"""What a threshold for each entity would be worth in place of a pooled one, on the demo's six servers, as a table.

`python -m tests.benchmarks.entity_thresholds` trains as the demo does, with either family, fits p-value curves to the
newest fifth of the training rows, of all servers together or of each by itself, and counts what alarms on the 15 days
that follow. It takes half a minute, and prints what docs/quality.md says of it.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from export.artifact import read_artifact
from export.calibration import fit_curve
from export.incidents import count_incidents, together
from export.labelled import LabelledRows
from export.progress import TerminalWatch
from export.scoring import Network, RowScores, score_rows
from export.split import CALIBRATION, part_of
from export.training import train
from export.training_config import TrainingConfig
from export.windows import Sample
from worker.demo.machines import ENTITY_COLUMN, TIME_COLUMN, Machines, Rows, example_folder, labels, load_machines

FAMILIES = ("ae", "pca")
RATES = (0.001, 0.005, 0.01)
WAYS = ("pooled", "each its own")
WINDOW = 32  # of the default configuration, for the split alone

Scored = tuple[LabelledRows, RowScores]


def main() -> int:
    machines = load_machines(example_folder())
    for family in FAMILIES:
        before, after = scored(machines, family)
        for rate in RATES:
            for way, threshold in zip(WAYS, thresholds(before, rate), strict=True):
                sys.stdout.write(row(family, rate, way, threshold, machines, after))
    return 0


def scored(machines: Machines, family: str) -> tuple[Scored, Scored]:
    """Rows and scores of the training files, and of what follows."""
    with tempfile.TemporaryDirectory() as folder, TerminalWatch(Console(stderr=True)) as watch:
        config = TrainingConfig(
            data=sorted(machines.train_files),
            entity=ENTITY_COLUMN,
            timestamp=TIME_COLUMN,
            detector=family,
            output=Path(folder) / "servers.onnx",
        )
        train(config, watch)
        content, manifest = read_artifact(config.output)
        network = Network(content, manifest)
        before, after = rows_of(machines.train), rows_of(machines.test)
        return (
            (before, score_rows(network, manifest, before, watch.rows)),
            (after, score_rows(network, manifest, after, watch.rows)),
        )


def rows_of(servers: Mapping[str, Rows]) -> LabelledRows:
    """As if read from their files, without labels."""
    lengths = [len(rows.values) for rows in servers.values()]
    sample = Sample(
        entity=np.repeat(np.arange(len(servers), dtype=np.int32), lengths),
        position=np.concatenate([np.arange(length) for length in lengths]),
        event_time_ms=np.concatenate([rows.time_ms for rows in servers.values()]),
        features=np.concatenate([rows.values for rows in servers.values()]),
        scored=np.ones(sum(lengths), dtype=np.bool_),
        rows_of_entity=np.array(lengths),
    )
    return LabelledRows(sample=sample, label=np.zeros(sum(lengths), dtype=np.bool_), entities=tuple(servers))


def thresholds(before: Scored, rate: float) -> Iterator[NDArray[np.float64]]:
    """Of each server, (servers,), in each of WAYS."""
    rows, scores = before
    entity = rows.sample.entity
    held_back = (
        part_of(entity=entity, position=rows.sample.position, rows=rows.sample.rows_of_entity, window=WINDOW)
        == CALIBRATION
    )
    score = scores.causal.astype(np.float32)
    pooled = fit_curve(score[held_back], alarm_rate=rate).threshold
    yield np.full(len(rows.entities), pooled)
    each = (score[held_back & (entity == place)] for place in range(len(rows.entities)))
    yield np.array([fit_curve(of_one, alarm_rate=rate).threshold for of_one in each])


def row(family: str, rate: float, way: str, threshold: NDArray[np.float64], machines: Machines, after: Scored) -> str:
    """Of the table: what these thresholds find, and the realised false-alarm rate of the servers."""
    rows, scores = after
    alarm = (scores.causal > threshold[rows.sample.entity]) & ~scores.warming
    counts, rates = [], []
    for server, of_server in zip(rows.entities, rows.slices(), strict=True):
        label, time_ms = labels(machines, server), machines.test[server].time_ms
        counts.append(count_incidents(label, alarm[of_server], time_ms))
        rates.append(alarm[of_server][~label].mean())
    whole = together(counts)
    return (
        f"| `{family}` | {rate:g} | {way} | {whole.found} | {whole.false_episodes} of {whole.episodes} "
        f"| {np.mean(rates):.2%} | {min(rates):.2%} | {max(rates):.2%} |\n"
    )


if __name__ == "__main__":
    sys.exit(main())
