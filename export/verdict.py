"""Labels, scores and alarms of all entities in, every figure about them out: of each entity, and of all together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export import alarm_rate, incidents
from export.alarm_rate import AlarmCounts, count_alarms
from export.errors import UsageError
from export.incidents import IncidentCounts, count_incidents
from export.ranking import auroc, average_precision, recall_at, weights_of_prior
from export.vus import volumes

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

VUS_PR, VUS_ROC = "vus-pr", "vus-roc"
METRICS = (VUS_PR, VUS_ROC, "auroc", "average-precision", "recall")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How figures are counted."""

    metrics: tuple[str, ...] = METRICS
    vus_window: int
    false_positive_rate: float
    prior: float | None  # None = as in the data
    episode_gap_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All figures of one score, on one entity or on all."""

    rows: int
    ranking: Mapping[str, float | None]  # metric -> value; None without rows of both kinds
    alarms: AlarmCounts
    incidents: IncidentCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One score's figures. Of all entities together the VUS is the mean of theirs: it belongs to a series."""

    overall: Figures
    entities: tuple[Figures, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is judged: columns of all rows, the entities one after the other, each in order."""

    label: Bool
    score: Float64
    alarm: Bool
    warming: Bool
    time_ms: NDArray[np.int64] | None

    def of(self, rows: slice) -> "Judged":
        """One entity's."""
        return Judged(
            label=self.label[rows],
            score=self.score[rows],
            alarm=self.alarm[rows],
            warming=self.warming[rows],
            time_ms=None if self.time_ms is None else self.time_ms[rows],
        )


def known_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The names, once each is known. Raises UsageError otherwise, and for what makes a random score look good."""
    for name in names:
        if "adjust" in name.lower() or {"pa", "f1"} <= set(name.lower().replace("_", "-").split("-")):
            raise UsageError(
                f"--metric {name} is not computed: once one row of an incident is found, point-adjusting counts all of "
                "them as found, so that a random score reaches 0.73 (TSB-AD, NeurIPS 2024); take vus-pr, and the "
                "incidents found."
            )
        if name not in METRICS:
            raise UsageError(f"--metric {name}: there is no such metric; give {', '.join(METRICS)}.")
    return tuple(dict.fromkeys(names))


def judge(
    judged: Judged, entities: Sequence[slice], rules: Rules, on_rows: Callable[[int, int | None], None]
) -> Verdict:
    """All figures; `entities` are the rows of each, and `on_rows` is told how many of all are done."""
    each = []
    for rows in entities:
        each.append(_figures(judged.of(rows), rules))
        on_rows(rows.stop, len(judged.label))
    means = {name: _mean([figures.ranking[name] for figures in each]) for name in rules.metrics if _is_volume(name)}
    pooled = _ranking(judged, rules, [name for name in rules.metrics if not _is_volume(name)])
    overall = Figures(
        rows=len(judged.label),
        ranking={name: (means | pooled)[name] for name in rules.metrics},
        alarms=alarm_rate.together([figures.alarms for figures in each]),
        incidents=incidents.together([figures.incidents for figures in each]),
    )
    return Verdict(overall=overall, entities=tuple(each))


def _figures(judged: Judged, rules: Rules) -> Figures:
    return Figures(
        rows=len(judged.label),
        ranking=_ranking(judged, rules, rules.metrics),
        alarms=count_alarms(judged.label, judged.alarm, judged.warming, judged.time_ms),
        incidents=count_incidents(judged.label, judged.alarm, judged.time_ms, gap_ms=rules.episode_gap_ms),
    )


def _ranking(judged: Judged, rules: Rules, names: Sequence[str]) -> dict[str, float | None]:
    label, score = judged.label, judged.score
    if not label.any() or label.all():
        return dict.fromkeys(names)
    weight = None if rules.prior is None else weights_of_prior(label, rules.prior)
    figures: dict[str, float | None] = {
        "auroc": auroc(label, score),
        "average-precision": average_precision(label, score, weight=weight),
        "recall": recall_at(label, score, false_positive_rate=rules.false_positive_rate),
    }
    if any(map(_is_volume, names)):
        volume = volumes(label, score, window=rules.vus_window)
        figures |= {VUS_PR: volume.pr, VUS_ROC: volume.roc}
    return {name: figures[name] for name in names}


def _is_volume(name: str) -> bool:
    return name in {VUS_PR, VUS_ROC}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
