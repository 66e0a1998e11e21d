"""A manifest, for people. Knows no torch."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue
from rich.console import Console
from rich.table import Table

from export.report import (
    CURVE,
    DERIVED,
    FOLDS,
    LEVELS,
    THRESHOLDS,
    alarm_sentence,
    beside_pca,
    calibrated_on,
    curve_in_words,
    day,
    few_windows,
    learnt_label,
    levels_in_words,
    of_entities,
    thresholds_in_words,
)
from schemas.manifest import Calibration, Feature, Manifest

_TOLD_APART = frozenset({CURVE, DERIVED, FOLDS, LEVELS, THRESHOLDS})  # in lines of their own
_NAMES_SHOWN = 5


def print_manifest(manifest: Manifest, console: Console) -> None:
    """What the detector is, what it was trained on, what its score means, and its features."""
    lines = Table.grid(padding=(0, 2))
    for name, text in _lines(manifest):
        lines.add_row(name, text)
    console.print(lines, highlight=False, markup=False)
    console.print()
    console.print(_features(manifest), highlight=False, markup=False)


def _lines(manifest: Manifest) -> list[tuple[str, str]]:
    training = manifest.training
    span = ""
    if training.start_ms is not None and training.end_ms is not None:
        span = f", {day(training.start_ms)} to {day(training.end_ms)}"
    remark = beside_pca(manifest.detector.hyperparameters)
    few = few_windows(windows=manifest.calibration.windows, alarm_rate=manifest.alarm_rate)
    return [
        ("detector", f"{manifest.name}, version {manifest.version}, for {manifest.kind} events"),
        *_families(manifest.detector.family, manifest.detector.hyperparameters),
        *([("note", remark)] if remark is not None else []),
        *_entities(manifest),
        ("window", _window(manifest)),
        *(("note", told) for told in _learnt_labels(manifest.features)),
        ("score", "0 = as normal as can be, above 1 = anomalous, 2 = as rare as the alarm rate squared"),
        (
            "alarms",
            alarm_sentence(
                alarm_rate=manifest.alarm_rate,
                events_per_day=manifest.events_per_day,
                entities=training.entities,
            ),
        ),
        ("calibration", _calibration(manifest.calibration, manifest.detector.hyperparameters.get(FOLDS))),
        *(("note", told) for told in few),
        (
            "training",
            f"{training.rows:,} rows of {of_entities(training.entities)}{span}; sha256 {training.sha256[:12]}",
        ),
        ("golden", f"{_golden_windows(manifest)} windows with the outputs that every provider must reproduce"),
        ("versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
        ("digest", f"{manifest.digest} (verified)"),
    ]


def _families(family: str, hyperparameters: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    """What the detector is made of; of several families each by itself."""
    told_here = {name: told for name, told in hyperparameters.items() if name not in _TOLD_APART}
    members = {name: told for name, told in told_here.items() if isinstance(told, dict)}
    own = {name: value for name, value in told_here.items() if name not in members}
    told_of_it = ", ".join(f"{name} {_shown(value)}" for name, value in own.items())
    yield "family", f"{family} ({told_of_it})" if own else family
    derived = hyperparameters.get(DERIVED)
    if derived:
        yield "derived", ", ".join(map(str, derived)) if isinstance(derived, list) else str(derived)
    curve = hyperparameters.get(CURVE)
    points = _points(curve) if isinstance(curve, list) else []
    if points:
        yield "curve", curve_in_words(points)
    for name, told in members.items():
        yield from _families(name, told)


def _shown(value: JsonValue) -> str:
    """Sizes as people write layers: 256-64-16."""
    if isinstance(value, list) and all(isinstance(size, int) for size in value):
        return "-".join(map(str, value)) or "none"
    return str(value)


def _learnt_labels(features: Sequence[Feature]) -> Iterator[str]:
    """A sentence for each that seems to be a column of labels, as far as its quantiles tell."""
    told = (learnt_label(feature.name, feature.quantiles) for feature in features if feature.quantiles is not None)
    return (sentence for sentence in told if sentence is not None)


def _entities(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Whom the detector knows, and what is different for them."""
    names, told = manifest.entities, manifest.detector.hyperparameters
    if not names:
        return
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    yield "entities", f"known by name: {', '.join(names[:_NAMES_SHOWN])}{more}; any other is unknown to it"
    levels, thresholds = told.get(LEVELS), told.get(THRESHOLDS)
    saving = levels.get("saving") if isinstance(levels, dict) else None
    if isinstance(saving, int | float):
        yield "levels", levels_in_words(len(names), manifest.training.entities, saving)
    if isinstance(thresholds, int):
        yield "thresholds", thresholds_in_words(thresholds, manifest.training.entities)


def _points(curve: Sequence[JsonValue]) -> list[tuple[int, float, float]]:
    """Those that are points: another exporter may have written something else under that name."""
    rows = (row for row in curve if isinstance(row, list) and len(row) == 3)
    numbers = ((epoch, training, validation) for epoch, training, validation in rows)
    return [
        (epoch, float(training), float(validation))
        for epoch, training, validation in numbers
        if isinstance(epoch, int) and isinstance(training, int | float) and isinstance(validation, int | float)
    ]


def _calibration(calibration: Calibration, folds: JsonValue) -> str:
    on = calibrated_on(calibration.windows, folds if isinstance(folds, int) else 0)
    tail = f"exponential tail from {calibration.tail_start:.4g}"
    return f"{on}; raw score {calibration.threshold:.4g} is score 1; {tail}"


def _window(manifest: Manifest) -> str:
    gap = (
        "" if manifest.max_gap_s is None else f"; cut where more than {manifest.max_gap_s:g} s pass between two events"
    )
    if manifest.window == 1:
        return "each event by itself"
    begin = "scored from the first on" if manifest.min_length == 1 else f"warming below {manifest.min_length}"
    return f"{manifest.window} events of an entity, {begin}{gap}"


def _golden_windows(manifest: Manifest) -> int:
    return next((tensor.shape[0] for tensor in manifest.golden.inputs.values()), 0)


def _features(manifest: Manifest) -> Table:
    table = Table(
        "feature",
        "unit",
        "lowest",
        "1 %",
        "median",
        "99 %",
        "highest",
        title="Values in the training data",
        title_justify="left",
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for feature in manifest.features:
        table.add_row(feature.name, feature.unit or "", *_levels(feature))
    return table


def _levels(feature: Feature) -> list[str]:
    if feature.quantiles is None:
        return ["?"] * 5
    return [f"{feature.quantiles[place]:.4g}" for place in (0, 2, 5, 8, 10)]
