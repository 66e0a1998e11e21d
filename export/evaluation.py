"""The composition: an artifact and labelled files become figures about its scores. Prints nothing, imports no torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from export.alarm_rate import covered_by, kept_promise, saw_incident
from export.artifact import read_artifact, refuse_overwriting
from export.baseline_ground import Ground, ground_of_labelled, ground_of_training
from export.baselines import fit_baselines
from export.dataset import Dataset, open_dataset
from export.errors import ExportError, UsageError
from export.evaluation_report import Evaluation
from export.event_time import UNITS
from export.labelled import LabelledRows, read_labelled, with_label
from export.scoring import Network, RowScores, score_rows
from export.verdict import AVERAGE_PRECISION, Judged, Rules, Verdict, is_volume, judge, known_metrics
from export.windows import Windows, every_window
from export.worst_incidents import worst_incidents
from export.z_score import z_score
from schemas.artifact import ELAPSED
from schemas.manifest import Manifest

_PROMISES = 40  # as many points make a smooth curve

VUS_WINDOW = 100
"""Rows, the same for every model, so that models compare; 0 where each event is judged by itself."""


class Watch(Protocol):
    """Told how far the work is."""

    def stage(self, name: str) -> None:
        """A new stage begins."""
        ...

    def rows(self, done: int, total: int | None) -> None:
        """Rows done in this stage."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """Every option of `anomaly-export evaluate`; None = the default that the page tells."""

    model: Path
    data: tuple[Path, ...]
    label: str
    training_data: tuple[Path, ...] = ()
    entity: str | None = None
    timestamp: str | None = None
    timestamp_unit: str | None = None
    features: tuple[str, ...] | None = None
    metrics: tuple[str, ...]
    vus_window: int | None = None
    threshold: float = 1.0
    false_positive_rate: float = 0.001
    prior: float | None = None
    episode_gap_s: float = 3600.0
    json: Path | None = None
    report: Path | None = None


def evaluate(config: EvaluationConfig, watch: Watch) -> Evaluation:
    """Scores every row as the worker would, and judges the scores by the labels.

    Raises:
        ExportError: see the classes in export.errors.
    """
    _require_sense(config)
    content, manifest = read_artifact(config.model)
    network = Network(content, manifest)
    dataset = _dataset(config, manifest)
    if ELAPSED in network.inputs and dataset.columns.timestamp is None:
        raise UsageError("This model needs to know the time between events: name their column by --timestamp.")
    watch.stage("reading")
    rows = read_labelled(dataset, watch.rows)
    watch.stage("scoring")
    scores = score_rows(network, manifest, rows, watch.rows)
    _require_finite(scores, rows)
    rules = _rules(config, manifest)
    ground = _ground(config, manifest, rows, watch)
    windows = every_window(rows.sample, window=manifest.window, max_gap_ms=manifest.max_gap_ms)
    baselines = _baseline_scores(ground, manifest, rows, windows, watch)
    candidates = _candidates(config, manifest, scores, baselines)
    judged = _judged(candidates, rows, scores.warming, _touched(candidates, rows.label, windows.length))
    return Evaluation(
        manifest=manifest,
        threshold=config.threshold,
        rules=rules,
        entities=rows.entities,
        has_times=rows.sample.event_time_ms is not None,
        baselines_learned_from=ground.told if "PCA" in baselines else None,
        verdicts=_verdicts(judged, rows, rules, watch),
        judged=judged,
        slices=rows.slices(),
        kept_promises=_kept_promises(judged["causal"], manifest),
        worst_incidents=worst_incidents(network, manifest, rows, scores.causal, judged["causal"].alarm),
    )


def _require_sense(config: EvaluationConfig) -> None:
    known_metrics(config.metrics)
    for option, holds, rule in (
        ("--vus-window", config.vus_window is None or config.vus_window >= 0, "0 or more rows"),
        ("--false-positive-rate", 0 <= config.false_positive_rate <= 1, "between 0 and 1"),
        ("--prior", config.prior is None or 0 < config.prior < 1, "between 0 and 1, without these"),
        ("--episode-gap", 0 <= config.episode_gap_s < float("inf"), "0 or more seconds"),
        ("--threshold", np.isfinite(config.threshold), "a finite number"),
    ):
        if not holds:
            raise UsageError(f"{option} must be {rule}.")
    if config.timestamp_unit not in {None, *UNITS}:
        raise UsageError(f"--timestamp-unit {config.timestamp_unit}: give {', '.join(UNITS)}.")
    for option, output in (("--report", config.report), ("--json", config.json)):
        if output is not None:
            refuse_overwriting(option, output, [config.model, *config.data, *config.training_data])
            if not output.parent.is_dir():
                raise UsageError(f"{option} {output}: the folder {output.parent} does not exist; create it first.")


def _dataset(config: EvaluationConfig, manifest: Manifest) -> Dataset:
    features = config.features or manifest.feature_names
    if len(features) != len(manifest.features):
        raise UsageError(
            f"--features names {len(features)} columns, but the model reads {len(manifest.features)}: "
            f"{', '.join(manifest.feature_names)}."
        )
    dataset = open_dataset(config.data, config, features=with_label(features, config.label))
    if manifest.max_gap_s is not None and dataset.columns.timestamp is None:
        raise UsageError(
            f"This model cuts its windows where more than {manifest.max_gap_s:g} s pass between two events: "
            "name the column of times by --timestamp."
        )
    return dataset


def _require_finite(scores: RowScores, rows: LabelledRows) -> None:
    broken = np.flatnonzero(~np.isfinite(scores.causal) | ~np.isfinite(scores.revised))
    if len(broken):
        first = int(broken[0])
        name = rows.entities[rows.sample.entity[first]]
        place = f"row {rows.sample.position[first] + 1}{f' of {name!r}' if name else ''}"
        raise ExportError(f"The model gives no finite score for {len(broken):,} of the rows, the first being {place}.")


def _rules(config: EvaluationConfig, manifest: Manifest) -> Rules:
    by_kind = VUS_WINDOW if _judges_series(manifest) else 0
    return Rules(
        metrics=config.metrics,
        yardstick=_yardstick(config.metrics, of_series=_judges_series(manifest)),
        vus_window=by_kind if config.vus_window is None else config.vus_window,
        vus_window_as_given=config.vus_window is not None,
        false_positive_rate=config.false_positive_rate,
        prior=config.prior,
        episode_gap_ms=round(config.episode_gap_s * 1000),
    )


def _judges_series(manifest: Manifest) -> bool:
    """Of the other kinds each event is judged by itself, though its window may hold the past it is judged beside."""
    return manifest.kind == "sensor" and manifest.window > 1


def _yardstick(metrics: tuple[str, ...], *, of_series: bool) -> str:
    """The first metric; but where there are no series, a volume under rows side by side decides nothing."""
    if not of_series and is_volume(metrics[0]) and AVERAGE_PRECISION in metrics:
        return AVERAGE_PRECISION
    return metrics[0]


def _ground(config: EvaluationConfig, manifest: Manifest, rows: LabelledRows, watch: Watch) -> Ground:
    if not config.training_data:
        return ground_of_labelled(rows, manifest)
    watch.stage("reading the training data")
    training = open_dataset(config.training_data, config, features=manifest.feature_names, named_by="--training-data")
    return ground_of_training(training, manifest, watch.rows)


def _baseline_scores(
    ground: Ground, manifest: Manifest, rows: LabelledRows, windows: Windows, watch: Watch
) -> dict[str, NDArray[np.float64]]:
    """Of every row, by the baseline's name; those that can be fitted."""
    plain = z_score(rows.sample.features, manifest.features)
    scores = {} if plain is None else {"z-score": plain}
    watch.stage("fitting baselines")
    fitted = fit_baselines(ground.windows, ground.rows)
    if fitted is not None:
        watch.stage("scoring by baselines")
        scores |= fitted.score(windows, watch.rows)
    return scores


def _candidates(
    config: EvaluationConfig, manifest: Manifest, scores: RowScores, baselines: Mapping[str, NDArray[np.float64]]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Every score and the alarms that it raises, by its name, causal first."""
    alarm = (scores.causal > config.threshold) & ~scores.warming
    candidates = {"causal": (scores.causal, alarm)}
    if _judges_series(manifest):  # what later windows say is about later events where each is judged by itself
        candidates["revised"] = (scores.revised, (scores.revised > config.threshold) & ~scores.warming)
    return candidates | {name: (score, _as_many(score, alarm, scores.warming)) for name, score in baselines.items()}


def _touched(names: Iterable[str], label: NDArray[np.bool_], length: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """By a score's name, where it has seen a row of an incident; `length` is that of the window of each row."""
    by_window = saw_incident(label, length)
    others = {
        "revised": covered_by(by_window, length),  # by later windows too
        "z-score": label,  # of a row it sees no other
    }
    return {name: others.get(name, by_window) for name in names}


def _judged(
    candidates: Mapping[str, tuple[NDArray[np.float64], NDArray[np.bool_]]],
    rows: LabelledRows,
    warming: NDArray[np.bool_],
    touched: Mapping[str, NDArray[np.bool_]],
) -> dict[str, Judged]:
    return {
        name: Judged(
            label=rows.label,
            score=score,
            alarm=alarm,
            warming=warming,
            touched=touched[name],
            time_ms=rows.sample.event_time_ms,
        )
        for name, (score, alarm) in candidates.items()
    }


def _verdicts(judged: Mapping[str, Judged], rows: LabelledRows, rules: Rules, watch: Watch) -> dict[str, Verdict]:
    verdicts = {}
    for name, of in judged.items():
        watch.stage(f"judging {name}")
        verdicts[name] = judge(of, rows.slices(), rules, watch.rows)
    return verdicts


def _kept_promises(judged: Judged, manifest: Manifest) -> list[tuple[float, float]]:
    """At thresholds from half of the normal rows down to a single one of them."""
    normal = judged.score[~judged.label & ~judged.warming]
    if len(normal) == 0:
        return []
    promised = np.geomspace(0.5, min(0.5, 1 / len(normal)), _PROMISES)
    realised = kept_promise(normal, manifest.alarm_rate, promised)
    return list(zip(promised.tolist(), realised.tolist(), strict=True))


def _as_many(score: NDArray[np.float64], alarm: NDArray[np.bool_], warming: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Alarms of the highest scores, as many as another score raised: a baseline without calibration, judged fairly."""
    able = np.sort(score[~warming])[::-1]
    wanted = int(alarm.sum())
    raised = score > able[wanted] if wanted < len(able) else np.ones(len(score), dtype=np.bool_)
    return np.asarray(raised & ~warming)
