"""The composition: a TrainingConfig becomes a file, and a report of what it is worth. Prints nothing."""

import importlib.metadata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.artifact import sealed_artifact, write_file
from export.calibration import PValueCurve, fit_curve
from export.columns import require_short_names
from export.cross_fitting import joined, left_out_scores
from export.dataset import Dataset, Survey, open_dataset
from export.detector import Detector as UntrainedDetector
from export.detector import Fitted, raw_scores
from export.errors import DataError, UsageError
from export.families import FAMILIES, Family, baseline, either, make_detector
from export.golden import golden_inputs, probing_inputs
from export.graph import EntityDetector, ScoredDetector
from export.levels import Levels, fit_levels, one_level, require_levels
from export.onnx_file import to_onnx
from export.parity import BATCHES, check_parity, tolerances, torch_outputs
from export.recommendation import fewest_windows, lets_all_train, recommended, remedy
from export.report import (
    DERIVED,
    FOLDS,
    LEVELS,
    PCA_VALIDATION_ERROR,
    THRESHOLDS,
    VALIDATION_ERROR,
    TrainingReport,
    beside_pca,
    few_windows,
    learnt_label,
    levels_in_words,
    of_entities,
    pastless,
    same_times,
    thresholds_in_words,
    unmoved,
)
from export.search import Space
from export.thresholds import own_curves
from export.time_ranges import time_ranges
from export.training_config import TrainingConfig
from export.windows import Parts, Sample, Windows, cut
from schemas.artifact import verified_digest
from schemas.manifest import (
    QUANTILE_LEVELS,
    Calibration,
    Detector,
    Feature,
    Golden,
    Manifest,
    Tensor,
    TrainingData,
)

_GOLDEN_LEEWAY = 10.0  # other providers round otherwise
_HARDLY_ANY = 0.05  # of the windows: a past that so few have is none to learn from


class Watch(Protocol):
    """Told how far the work is."""

    def stage(self, name: str) -> None:
        """A new stage begins."""
        ...

    def rows(self, done: int, total: int | None) -> None:
        """Rows read in this stage; the total is known from the second pass on."""
        ...

    def epoch(self, done: int, planned: int, error: float) -> None:
        """Epochs trained, and the error on the validation windows."""
        ...

    def trial(self, done: int, planned: int, error: float) -> None:
        """Trials of a search, and the lowest error so far."""
        ...


def train(config: TrainingConfig, watch: Watch, *, families: Mapping[str, Family] = FAMILIES) -> TrainingReport:
    """Trains, checks and writes `config.output`.

    Raises:
        ExportError: see the classes in export.errors; no file was written.
    """
    if config.detector not in families:
        raise UsageError(f"--detector {config.detector}: there is no such family; give {either(families)}.")
    if not config.output.parent.is_dir():
        raise UsageError(
            f"--output {config.output}: the folder {config.output.parent} does not exist; create it first."
        )
    dataset = _dataset(config)
    watch.stage("reading")
    survey = dataset.survey(lambda rows: watch.rows(rows, None))
    asked = config
    config = recommended(asked, survey.rows_of_entity, features=len(dataset.columns.features))
    config = config.with_alarm_rate(survey.events_per_day)
    detector = make_detector(config, dataset.columns.features, families)
    space = None if config.search is None else Space.of(config, dataset.columns.features, families)
    watch.stage("cutting windows")
    sample = _sample(dataset, survey, config, watch)
    parts = _cut(sample, survey, config)
    remarks = (
        *_of_the_rows(config, dataset, parts, entities=len(survey.entities)),
        *_of_the_times(config, dataset, sample),
    )
    del sample  # the windows have a copy of its rows
    levels = _levels(config, dataset, survey, parts)
    levelled = None if levels is None else levels.levelled(parts)
    seen = parts if levelled is None else levelled.parts
    watch.stage("preparing torch")
    with _repeatable(config.threads):
        found = None
        if space is not None:
            watch.stage("searching")
            found = space.search(seen, data_sha256=survey.sha256, on_trial=watch.trial)
            config = found.config
            detector = make_detector(config, dataset.columns.features, families)
        watch.stage("training")
        fitted = detector.fit(seen.training, seen.validation, training_rows=seen.training_rows, on_epoch=watch.epoch)
        if found is not None:
            fitted = replace(fitted, hyperparameters={**fitted.hyperparameters, **found.hyperparameters})
        fitted = _beside_baseline(fitted, baseline(config, dataset.columns.features), seen)
        watch.stage("calibrating")
        fitted, raw = _held_to_unseen(fitted, detector, seen, watch)
        curve = fit_curve(raw, alarm_rate=config.alarm_rate)
        own = _own_curves(config, seen, raw)
        fitted = _told_of_entities(fitted, levels, own, entities=len(survey.entities))
        fitted = replace(fitted, remarks=(*remarks, *fitted.remarks))
        watch.stage("exporting")
        strangers = None if levelled is None else levelled.strangers
        graph = _graph(fitted.module, curve, parts, survey, levels=levels, strangers=strangers, own=own)
        manifest = _manifest(config, dataset, survey, parts=parts, fitted=fitted, curve=curve, family=detector.family)
        content = _checked_file(config, graph, manifest)
    write_file(content, config.output)
    report = _report(asked, dataset, survey, parts=parts, fitted=fitted, manifest=manifest, content=content)
    return report if found is None else replace(report, search=found.report)


def _dataset(config: TrainingConfig) -> Dataset:
    dataset = open_dataset(config.data, config, features=config.columns, ids=config.log_ids, label=config.label)
    if config.max_gap is not None and dataset.columns.timestamp is None:
        raise UsageError("--max-gap needs --timestamp: without times there are no gaps to see.")
    if config.exclude_ranges is not None and dataset.columns.timestamp is None:
        raise UsageError("--exclude-ranges needs --timestamp: without times it cannot be said what lies in them.")
    time_ranges(config.exclude_ranges or ())  # wrong ones are told before anything is read
    require_short_names(dataset.columns.features)
    return dataset


def _sample(dataset: Dataset, survey: Survey, config: TrainingConfig, watch: Watch) -> Sample:
    return dataset.sample(
        survey,
        window=config.window_rows,
        max_windows=config.max_windows,
        on_rows=lambda rows: watch.rows(rows, survey.rows),
    )


def _cut(sample: Sample, survey: Survey, config: TrainingConfig) -> Parts:
    max_gap_ms = None if config.max_gap is None else round(config.max_gap * 1000)
    parts = cut(
        sample,
        window=config.window_rows,
        min_length=config.warm_length,
        max_gap_ms=max_gap_ms,
        excluded_ms=time_ranges(config.exclude_ranges or ()),
        timed="velocities" in config.derivations,
    )
    for name, fewest in fewest_windows(config.window_rows).items():
        found = len(getattr(parts, name))
        if found < fewest:
            raise DataError(
                f"Too few rows: {survey.rows} of {of_entities(len(survey.entities))} make {found} {name} windows where "
                f"{fewest} are needed; {remedy(config, survey.rows_of_entity)}."
            )
    return joined(parts) if lets_all_train(parts) else parts


def _levels(config: TrainingConfig, dataset: Dataset, survey: Survey, parts: Parts) -> Levels | None:
    """What each entity is judged at; None where all are judged at one level."""
    if config.levels == "pooled" or config.event_kind != "sensor":
        return None
    fewest = fewest_windows(config.window_rows)["calibration"]
    levels = fit_levels(parts, survey.entities, dataset.columns.features, window=config.window_rows, fewest=fewest)
    if config.levels == "own":
        return require_levels(levels, window=config.window_rows, fewest=fewest)
    return levels if levels is not None and levels.pay else None


def _own_curves(config: TrainingConfig, seen: Parts, raw: NDArray[np.float32]) -> Mapping[int, PValueCurve]:
    """Of the entities whose scores are held to their own."""
    if config.thresholds == "pooled" or config.event_kind != "sensor":
        return {}
    return own_curves(raw, seen.calibration, seen.entity, alarm_rate=config.alarm_rate)


def _told_of_entities(
    fitted: Fitted, levels: Levels | None, own: Mapping[int, PValueCurve], *, entities: int
) -> Fitted:
    """With what is told of those that are judged by themselves."""
    hyperparameters, remarks = dict(fitted.hyperparameters), list(fitted.remarks)
    if levels is not None:
        hyperparameters[LEVELS] = {"entities": len(levels.names), "saving": round(levels.saving, 3)}
        remarks.append(levels_in_words(len(levels.names), entities, levels.saving))
    if own:
        hyperparameters[THRESHOLDS] = len(own)
        remarks.append(thresholds_in_words(len(own), entities))
    return replace(fitted, hyperparameters=hyperparameters, remarks=tuple(remarks))


class _Graph(NamedTuple):
    """What becomes the file: the module, windows as it takes them, the entities that it knows."""

    module: nn.Module
    windows: Windows
    entities: list[str]


def _graph(
    module: nn.Module,
    curve: PValueCurve,
    parts: Parts,
    survey: Survey,
    *,
    levels: Levels | None,
    strangers: Windows | None,
    own: Mapping[int, PValueCurve],
) -> _Graph:
    """One that knows no entity unless some are judged by themselves; then unknown ones have the first curve."""
    if levels is None and not own:
        return _Graph(ScoredDetector(module, curve), parts.calibration, [])
    curves = [curve]
    if strangers is not None:
        curves.insert(0, fit_curve(raw_scores(module, strangers), alarm_rate=curve.alarm_rate))
    known = levels or one_level(survey.entities, list(own), parts.training_rows.shape[1])
    curve_of = np.full(len(known.names) + 1, len(curves) - 1)
    curve_of[0] = 0
    for one, curve_of_one in own.items():
        curve_of[known.place[one]] = len(curves)
        curves.append(curve_of_one)
    detector = EntityDetector(module, known.level, known.scale, curve_of, curves)
    return _Graph(detector, known.seen(parts.calibration, parts.entity), list(known.names))


def _held_to_unseen(
    fitted: Fitted, detector: UntrainedDetector, parts: Parts, watch: Watch
) -> tuple[Fitted, NDArray[np.float32]]:
    """What is told of the detector, and raw scores (m,) of windows that it, or others like it, had not seen."""
    if not parts.folds:
        return fitted, raw_scores(fitted.module, parts.calibration)
    told = replace(fitted, hyperparameters={**fitted.hyperparameters, FOLDS: parts.folds})
    return told, left_out_scores(detector, parts, watch.epoch)


def _beside_baseline(fitted: Fitted, plain: UntrainedDetector | None, parts: Parts) -> Fitted:
    """With the errors of both on the validation windows, and a remark where the detector is not the better one."""
    if plain is None:
        return fitted
    other = plain.fit(parts.training, parts.validation, training_rows=parts.training_rows, on_epoch=_silently)
    errors = {
        VALIDATION_ERROR: round(fitted.validation_error, 6),
        PCA_VALIDATION_ERROR: round(other.validation_error, 6),
    }
    remark = beside_pca(errors)
    return replace(
        fitted,
        hyperparameters={**fitted.hyperparameters, **errors},
        remarks=fitted.remarks if remark is None else (*fitted.remarks, remark),
    )


def _silently(done: int, planned: int, error: float) -> None:
    """The baseline takes a second."""


@contextmanager
def _repeatable(threads: int) -> Iterator[None]:
    """Equal results for equal inputs; torch's settings are put back afterwards."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(mode=before[1])


def _checked_file(config: TrainingConfig, graph: _Graph, manifest: Manifest) -> bytes:
    """The sealed file, once ONNX Runtime was seen to agree with PyTorch about it. Raises ParityError otherwise."""
    module, windows = graph.module, graph.windows
    probes = probing_inputs(windows, min_length=config.warm_length, seed=config.seed)
    golden = golden_inputs(windows, min_length=config.warm_length)
    outputs = torch_outputs(module, golden)
    complete = manifest.model_copy(
        update={
            "entities": graph.entities,
            "golden": Golden(
                inputs={name: Tensor.of(value) for name, value in golden.items()},
                outputs={name: Tensor.of(value) for name, value in outputs.items()},
                tolerances=tolerances(outputs, leeway=_GOLDEN_LEEWAY),
            ),
        }
    )
    content = sealed_artifact(to_onnx(module, {name: values[:8] for name, values in probes.items()}), complete)
    check_parity(content, module, probes)
    return content


def _manifest(
    config: TrainingConfig,
    dataset: Dataset,
    survey: Survey,
    *,
    parts: Parts,
    fitted: Fitted,
    curve: PValueCurve,
    family: str,
) -> Manifest:
    """All but the golden windows and the known entities, which need the finished module."""
    return Manifest(
        name=config.artifact_name,
        version=config.version,
        kind=config.event_kind,
        features=_features(dataset.columns.features, parts.training_rows),
        window=config.window_rows,
        min_length=config.warm_length,
        max_gap_s=config.max_gap,
        alarm_rate=config.alarm_rate,
        calibration=Calibration(
            windows=curve.windows,
            threshold=curve.threshold,
            tail_start=curve.tail_start,
            tail_scale=curve.tail_scale,
        ),
        detector=Detector(family=family, hyperparameters=fitted.hyperparameters),
        training=TrainingData(
            sha256=survey.sha256,
            rows=survey.rows,
            entities=len(survey.entities),
            start_ms=survey.start_ms,
            end_ms=survey.end_ms,
        ),
        versions={name: importlib.metadata.version(name) for name in ("torch", "onnx", "anomaly-worker")},
        golden=Golden(inputs={}, outputs={}, tolerances={}),
        events_per_day=survey.events_per_day,
    )


def _features(names: tuple[str, ...], rows: NDArray[np.float32]) -> list[Feature]:
    quantiles = np.nanquantile(rows, QUANTILE_LEVELS, axis=0).T.astype(np.float64)
    return [Feature(name=name, quantiles=list(levels)) for name, levels in zip(names, quantiles.tolist(), strict=True)]


def _report(
    asked: TrainingConfig,
    dataset: Dataset,
    survey: Survey,
    *,
    parts: Parts,
    fitted: Fitted,
    manifest: Manifest,
    content: bytes,
) -> TrainingReport:
    """What was asked for and what came of it."""
    derived = manifest.detector.hyperparameters.get(DERIVED)
    return TrainingReport(
        output=asked.output,
        file_bytes=len(content),
        digest=verified_digest(content),
        files=len(dataset.tables),
        rows=survey.rows,
        entities=len(survey.entities),
        features=dataset.columns.features,
        left_out=dataset.columns.left_out,
        family=manifest.detector.family,
        window=manifest.window,
        chosen=_chosen(asked, derived=derived is not None),
        derived=tuple(map(str, derived)) if isinstance(derived, list) else (),
        start_ms=survey.start_ms,
        end_ms=survey.end_ms,
        events_per_day=survey.events_per_day,
        windows=(len(parts.training), len(parts.validation), len(parts.calibration)),
        folds=parts.folds,
        training_error=fitted.training_error,
        validation_error=fitted.validation_error,
        curve=fitted.curve,
        alarm_rate=manifest.alarm_rate,
        timestamp_unit=dataset.columns.timestamp_unit,
        min_length=manifest.min_length,
        parity_batches=BATCHES,
        remarks=(
            *few_windows(windows=manifest.calibration.windows, alarm_rate=manifest.alarm_rate),
            *fitted.remarks,
        ),
    )


def _chosen(asked: TrainingConfig, *, derived: bool) -> tuple[str, ...]:
    """What nobody asked for."""
    left_open = {
        "detector": asked.detector == "auto",
        "window": asked.window is None,
        "derived inputs": derived and asked.derive is None,
    }
    return tuple(name for name, is_open in left_open.items() if is_open)


def _of_the_rows(config: TrainingConfig, dataset: Dataset, parts: Parts, *, entities: int) -> Iterator[str]:
    """What makes one ask whether these are the rows and columns that were meant."""
    names, rows = dataset.columns.features, parts.training_rows
    yield from _excluded(config, parts)
    if config.columns is None:
        yield from _labels(names, rows)
    yield from _rising(names, rows, entities)
    if (np.fmax.reduce(rows) == np.fmin.reduce(rows)).all():
        yield unmoved()
    if config.event_kind == "sensor" and np.mean(parts.training.length > 1) < _HARDLY_ANY:
        yield pastless()


def _labels(names: tuple[str, ...], rows: NDArray[np.float32]) -> Iterator[str]:
    for name, values in zip(names, rows.T, strict=True):
        told = learnt_label(name, values.flat)
        if told is not None:
            yield told


def _of_the_times(config: TrainingConfig, dataset: Dataset, sample: Sample) -> tuple[str, ...]:
    """What is told of rows whose order the times leave open, where their order counts and no log tells it."""
    if sample.event_time_ms is None or config.window_rows == 1 or dataset.columns.in_log_order:
        return ()
    order = np.argsort(sample.entity, kind="stable")
    neighbours = (np.diff(sample.entity[order]) == 0) & (np.diff(sample.position[order]) == 1)
    repeated = neighbours & (np.diff(sample.event_time_ms[order]) == 0)
    return same_times(int(repeated.sum()), of_all=len(order) == int(sample.rows_of_entity.sum()))


def _excluded(config: TrainingConfig, parts: Parts) -> tuple[str, ...]:
    if config.exclude_ranges is None:
        return ()
    if parts.excluded_rows == 0:
        return ("no row lies in --exclude-ranges: are they in UTC, as the data are taken to be?",)
    return (f"{parts.excluded_rows:,} rows in --exclude-ranges were not learnt from.",)


def _rising(names: tuple[str, ...], rows: NDArray[np.float32], entities: int) -> Iterator[str]:
    """A remark for each feature that hardly ever falls but where one entity's rows (r, F) end and the next begin."""
    steps = np.diff(rows, axis=0)
    # Ten rises an entity, not one a row: as float32 a time of now in milliseconds moves only every two minutes.
    rising = ((steps < 0).sum(axis=0) < entities) & ((steps > 0).sum(axis=0) >= 10 * entities)
    for name in np.array(names)[rising]:
        yield (
            f"{name} only rises, like a time or a counter: tomorrow's values will all be new to the detector; "
            "name it as --timestamp, or leave it out by --features."
        )
