"""The suite's CSV files in, others' figures for each item out: published detectors, and plain baselines."""

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

_VUS = ("vus_pr_causal", "vus_pr_revised")

Table = Mapping[str, Mapping[str, float]]
"""Detector -> item -> figure."""


def published(suite: Path, part: str, metric: str) -> Table:
    """Published detectors; {} where the suite has none for this."""
    if metric in _VUS:
        return _wide(suite / f"{part}_public_published_vuspr.csv", "name")
    if (part, metric) == ("tabular", "auroc"):
        return _wide(suite / "tabular_public_published_auroc_semi.csv", "dataset", unit=0.01)
    return {}


def plain(suite: Path, part: str, metric: str) -> Table:
    """Plain baselines that were measured under the same protocol; {} where the suite has none for this."""
    if metric in _VUS:
        mode = "last" if metric == "vus_pr_causal" else "avg"
        table = _wide(suite / f"{part}_public_local_baselines_vuspr.csv", "name")
        return {name.removesuffix(f"|{mode}"): of for name, of in table.items() if name.endswith(f"|{mode}")}
    if part == "tabular":
        column = {"auroc": "auroc", "average_precision": "ap"}.get(metric)
        return {} if column is None else _long(suite / "tabular_public_local_baselines_fileorder.csv", column)
    return {}


def mean_over(of: Mapping[str, float], items: Sequence[str]) -> float | None:
    """The detector's mean over these items; None where it has not all of them."""
    return float(np.mean([of[item] for item in items])) if items and set(items) <= set(of) else None


def _wide(path: Path, items: str, *, unit: float = 1.0) -> Table:
    """A row an item, a column a detector."""
    table: dict[str, dict[str, float]] = defaultdict(dict)
    for row in _rows(path):
        for name, text in row.items():
            if name not in {items, "dataset"} and text:
                table[name][row[items]] = float(text) * unit
    return table


def _long(path: Path, column: str) -> Table:
    """A row an item, a seed and a detector, in per cent: the mean over the seeds."""
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(path):
        figures[row["m"]][row["ds"]].append(float(row[column]) / 100)
    return {name: {item: float(np.mean(values)) for item, values in of.items()} for name, of in figures.items()}


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
