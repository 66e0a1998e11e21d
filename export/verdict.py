"""Labels, scores and alarms of all entities in, every figure about them out: of each entity, and of all together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export import alarm_rate, incidents
from export.alarm_rate import AlarmCounts, count_alarms, parts_of
from export.errors import UsageError
from export.incidents import IncidentCounts, count_incidents
from export.ranking import auroc, average_precision, recall_at, weights_of_prior
from export.vus import volumes

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

VUS_PR, VUS_ROC = "vus-pr", "vus-roc"
AVERAGE_PRECISION = "average-precision"
METRICS = (VUS_PR, VUS_ROC, "auroc", AVERAGE_PRECISION, "recall")

_LONGER_THAN_BUFFER = 10
"""A series is at least so many times as long as its buffer: those of TSB-AD have thousands of rows, their buffers are a
period long, up to about 300. One as long as the series puts every row beside an incident, and every score near 1.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How figures are counted."""

    metrics: tuple[str, ...] = METRICS
    yardstick: str  # the one of the metrics by which the model is held against baselines
    vus_window: int
    vus_window_as_given: bool  # by the user, so of short series too
    false_positive_rate: float
    prior: float | None  # None = as in the data
    episode_gap_ms: int

    def buffer(self, rows: int) -> int:
        """The widest buffer of a series of so many rows."""
        return self.vus_window if self.vus_window_as_given else min(self.vus_window, rows // _LONGER_THAN_BUFFER)


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
    touched: Bool  # the score saw a row of an incident, maybe not this one
    time_ms: NDArray[np.int64] | None

    def of(self, rows: slice) -> "Judged":
        """One entity's."""
        return Judged(
            label=self.label[rows],
            score=self.score[rows],
            alarm=self.alarm[rows],
            warming=self.warming[rows],
            touched=self.touched[rows],
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
    part = parts_of(judged.time_ms, entities)
    for rows in entities:
        each.append(_figures(judged.of(rows), rules, part[rows]))
        on_rows(rows.stop, len(judged.label))
    means = {name: _mean([figures.ranking[name] for figures in each]) for name in rules.metrics if is_volume(name)}
    pooled = _ranking(judged, rules, [name for name in rules.metrics if not is_volume(name)])
    overall = Figures(
        rows=len(judged.label),
        ranking={name: (means | pooled)[name] for name in rules.metrics},
        alarms=alarm_rate.together([figures.alarms for figures in each]),
        incidents=incidents.together([figures.incidents for figures in each]),
    )
    return Verdict(overall=overall, entities=tuple(each))


def _figures(judged: Judged, rules: Rules, part: NDArray[np.int64]) -> Figures:
    return Figures(
        rows=len(judged.label),
        ranking=_ranking(judged, rules, rules.metrics),
        alarms=count_alarms(
            judged.label, judged.alarm, judged.warming, judged.time_ms, part=part, touched=judged.touched
        ),
        incidents=count_incidents(judged.label, judged.alarm, judged.time_ms, gap_ms=rules.episode_gap_ms),
    )


def _ranking(judged: Judged, rules: Rules, names: Sequence[str]) -> dict[str, float | None]:
    label, score = judged.label, judged.score
    if not label.any() or label.all():
        return dict.fromkeys(names)
    weight = None if rules.prior is None else weights_of_prior(label, rules.prior)
    figures: dict[str, float | None] = {
        "auroc": auroc(label, score),
        AVERAGE_PRECISION: average_precision(label, score, weight=weight),
        "recall": recall_at(label, score, false_positive_rate=rules.false_positive_rate),
    }
    if any(map(is_volume, names)):
        volume = volumes(label, score, window=rules.buffer(len(label)))
        figures |= {VUS_PR: volume.pr, VUS_ROC: volume.roc}
    return {name: figures[name] for name in names}


def is_volume(name: str) -> bool:
    """Whether a metric belongs to a series, not to rows that stand alone."""
    return name in {VUS_PR, VUS_ROC}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
