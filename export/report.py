"""What `train` tells when it is done, as text. Knows no torch and no files."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

VALIDATION_ERROR, PCA_VALIDATION_ERROR = "validation_error", "pca_validation_error"
"""Under these names a manifest's hyperparameters tell how well held-back windows are rebuilt, and by PCA."""
FOLDS = "calibration_folds"
"""Under this name they tell how many others were trained to calibrate by, where no windows were held back for it."""
CURVE = "curve"
"""Under this name they tell, round by round: epoch, training and validation error."""
LEVELS = "levels"
"""Under this name they tell how many entities are judged at a level of their own, and what that saves."""
THRESHOLDS = "thresholds"
"""Under this name they tell how many entities' scores are held to their own."""
DERIVED = "derived"
"""Under this name they tell the inputs that are made of an event's past."""
LABEL_NAMES = frozenset(
    {
        *("label", "labels", "anomaly", "anomalous", "is_anomaly", "outlier", "is_outlier", "fraud", "is_fraud"),
        *("attack", "is_attack", "incident", "class", "target", "y"),
    }
)
"""As public sets of data call their labels. Measurements have some of these names too, but seldom hold just 0 and 1."""
_ENOUGH_WINDOWS = 100  # to calibrate on, whatever the alarm rate
_POINTS_SHOWN = 6
_BAR = 40  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchReport:
    """What a search for knobs came to; errors are of a noise to be removed from held-back windows."""

    trials: int
    error_of_defaults: float
    error: float
    knobs: Mapping[str, int | float]  # {} = the defaults
    trade_off: tuple[tuple[int, float], ...]  # bottleneck, and the lowest error with it
    study: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What was trained on what, and what its alarm rate means."""

    output: Path
    file_bytes: int
    digest: str
    files: int
    rows: int
    entities: int
    features: tuple[str, ...]
    left_out: tuple[str, ...]
    family: str
    window: int
    chosen: tuple[str, ...]  # of detector, window and derived inputs those that were not asked for
    derived: tuple[str, ...]
    start_ms: int | None
    end_ms: int | None
    timestamp_unit: str
    events_per_day: float | None
    windows: tuple[int, int, int]  # training, validation, calibration
    folds: int  # 0 = the last are held back; else they are those of training, each left out by one of so many detectors
    training_error: float
    validation_error: float
    curve: tuple[tuple[int, float, float], ...]  # epoch, training and validation error
    alarm_rate: float
    min_length: int
    parity_batches: tuple[int, ...]
    remarks: tuple[str, ...]
    search: SearchReport | None = None


def beside_pca(hyperparameters: Mapping[str, object]) -> str | None:
    """A sentence where the detector rebuilds held-back windows no better than PCA does; None where it is better."""
    error, pca = (hyperparameters.get(name) for name in (VALIDATION_ERROR, PCA_VALIDATION_ERROR))
    if not isinstance(error, int | float) or not isinstance(pca, int | float) or error < pca:
        return None
    return (
        f"it does not beat PCA: held-back windows are rebuilt with an error of {error:.3f}, by as many principal "
        f"components with {pca:.3f}; --detector pca is simpler, or train on more data or for more --epochs. "
        "Rebuilding is not finding, though: which of the two finds more anomalies is told by anomaly-export evaluate, "
        "with labels."
    )


def learnt_label(name: str, values: Iterable[float]) -> str | None:
    """A sentence about a feature that is called like a column of labels and holds nothing but 0 and 1, else None.

    `values` are looked at only where the name makes one ask.
    """
    if name.lower() not in LABEL_NAMES or not all(value in {0.0, 1.0} or math.isnan(value) for value in values):
        return None
    return (
        f"{name} holds nothing but 0 and 1 and is learnt as a feature: if it is a column of labels, train with --label "
        f"{name}, or every event must have it, and evaluate cannot judge by it."
    )


def unmoved() -> str:
    """A sentence about data in which nothing happens."""
    return (
        "no feature moves in the training rows: any other value will be an anomaly, and nothing else; are these the "
        "columns to learn (--features)?"
    )


def pastless() -> str:
    """A sentence about windows that are hardly ever longer than an event."""
    return (
        "hardly any window holds more than one event, so none is judged by its past: if entities do have one row each, "
        "--kind tabular judges each event by itself; else see --entity, and --max-gap."
    )


def same_times(rows: int, *, of_all: bool) -> tuple[str, ...]:
    """A sentence about so many rows, of all or of those that were kept, whose times say nothing of their order."""
    if rows == 0:
        return ()
    told = f"{rows:,} rows have" if rows > 1 else "1 row has"
    at_least = "" if of_all else "at least "
    return (f"{at_least}{told} the time of the entity's row before: these count in the order of the file.",)


def listed(names: Sequence[str]) -> str:
    """At least one, with "and" before the last."""
    *some, last = names
    return f"{', '.join(some)} and {last}" if some else last


def of_entities(entities: int) -> str:
    """Whose rows they are."""
    return "one entity" if entities == 1 else f"{entities:,} entities"


def calibrated_on(windows: int, folds: int) -> str:
    """How many windows the p-value was calibrated on, and how it was seen to that no detector knew them."""
    if not folds:
        return f"{windows:,} held-back windows"
    return f"{windows:,} windows of the training, each scored by one of {folds} other detectors, trained without it"


def few_windows(*, windows: int, alarm_rate: float) -> tuple[str, ...]:
    """A sentence where among so many calibration windows next to none is as rare as the rate; () elsewhere."""
    if windows >= max(_ENOUGH_WINDOWS, 1 / alarm_rate):
        return ()
    remark = (
        f"{windows:,} calibration windows are few for an alarm rate of {alarm_rate:g}: p-values below "
        f"{1 / windows:.2g} are extrapolated by an exponential tail."
    )
    return (remark,)


def levels_in_words(having: int, entities: int, saving: float) -> str:
    """A sentence about entities that are judged at their own level; `saving` in nats a value."""
    times = math.exp(saving)
    likely = f"{times:.2g}" if times < 10 else f"{times:,.0f}"
    which = (
        "each entity is judged at its own"
        if having == entities
        else f"{having:,} of {entities:,} entities are judged each at their own"
    )
    return (
        f"{which} usual level and scale, by which held-back values are {likely} times as likely as by those of all; "
        "entities that are unknown are judged by those (train --levels pooled: all of them)."
    )


def thresholds_in_words(having: int, entities: int) -> str:
    """A sentence about entities that have enough scores to hold theirs to."""
    which = "each entity has" if having == entities else f"{having:,} of {entities:,} entities have"
    return f"{which} held-back windows enough for a threshold of its own (train --thresholds pooled: one for all)."


def curve_in_words(curve: Sequence[tuple[int, float, float]]) -> str:
    """A few points of it, the first, the best and the last among them."""
    best = min(range(len(curve)), key=lambda place: curve[place][2])
    step = -(-len(curve) // _POINTS_SHOWN)
    places = sorted({*range(0, len(curve), step), best, len(curve) - 1})
    points = (f"{curve[place][0]}: {curve[place][1]:.3g} / {curve[place][2]:.3g}" for place in places)
    return f"epoch: training / validation loss {', '.join(points)}; the weights of epoch {curve[best][0]} were kept"


def search_in_words(search: SearchReport) -> str:
    """What was found, and where all that was tried is kept."""
    knobs = " ".join(f"--{name.replace('_', '-')} {value:.3g}" for name, value in search.knobs.items())
    found = f"error {search.error:.3g} with {knobs}" if knobs else "nothing better than the defaults"
    return (
        f"{_count(search.trials, 'trial')}: {found} (defaults: {search.error_of_defaults:.3g}); kept in {search.study}"
    )


def trade_off_in_bars(points: Sequence[tuple[int, float]]) -> str:
    """A line a bottleneck: its size, its error, and a bar as long as the error."""
    sizes = max(len(str(size)) for size, _ in points)
    highest = max(error for _, error in points)
    lines = (f"{size:>{sizes}}  {error:<7.3g} {'━' * round(_BAR * error / highest)}" for size, error in points)
    return "\n".join(["bottleneck, error", *lines])


def day(time_ms: int) -> str:
    """A date and time for people, UTC to the minute."""
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")


def alarm_sentence(*, alarm_rate: float, events_per_day: float | None, entities: int) -> str:
    """What an alarm rate means at the data's own event rate."""
    share = f"one normal event in {1 / alarm_rate:,.0f} scores above 1"
    if events_per_day is None:
        return f"{share} (how many a day that is cannot be said: there are no timestamps, or all are the same)"
    alarms = alarm_rate * events_per_day
    number = f"{alarms:,.0f}" if alarms >= 10 else f"{alarms:.2g}"
    together = "" if entities == 1 else f", all {entities:,} entities together"
    return f"{share}: about {number} a day at {events_per_day:,.0f} events a day{together}; they often come in runs"


def print_report(report: TrainingReport, console: Console) -> None:
    """The report as aligned lines."""
    table = Table.grid(padding=(0, 2))
    for name, text in _lines(report):
        table.add_row(name, text)
    console.print(table, highlight=False, markup=False)


def _lines(report: TrainingReport) -> list[tuple[str, str]]:
    training, validation, calibration = report.windows
    span = ""
    if report.start_ms is not None and report.end_ms is not None:
        span = f", {day(report.start_ms)} to {day(report.end_ms)} (times read as {report.timestamp_unit})"
    return [
        (
            "data",
            f"{_count(report.files, 'file')}, {_count(report.rows, 'row')}, {_count(report.entities, 'entity')}{span}",
        ),
        ("features", f"{len(report.features)}: {', '.join(report.features)}"),
        *([("left out", ", ".join(report.left_out))] if report.left_out else []),
        ("detector", _detector(report)),
        *([("derived", ", ".join(report.derived))] if report.derived else []),
        ("windows", f"{training:,} training, {validation:,} validation, {calibration:,} calibration"),
        *_searched(report.search),
        (
            "error",
            (
                f"{report.training_error:.3f} training, {report.validation_error:.3f} validation"
                " (1 = no better than answering with the mean)"
            ),
        ),
        *([("curve", curve_in_words(report.curve))] if report.curve else []),
        (
            "alarms",
            alarm_sentence(
                alarm_rate=report.alarm_rate, events_per_day=report.events_per_day, entities=report.entities
            ),
        ),
        *([("calibrated", f"on {calibrated_on(calibration, report.folds)}")] if report.folds else []),
        ("parity", f"ONNX Runtime agrees with PyTorch at batch sizes {', '.join(map(str, report.parity_batches))}"),
        ("written", f"{report.output} ({report.file_bytes / 1000:,.0f} kB), digest {report.digest[:12]}"),
        *(("note", remark) for remark in report.remarks),
    ]


def _detector(report: TrainingReport) -> str:
    """What it is, and what of it nobody asked for."""
    what = f"{report.family}, window {_count(report.window, 'row')}"
    if not report.chosen:
        return what
    return f"{what} ({listed(report.chosen)} chosen by kind and data; docs/quality.md tells the rules)"


def _searched(search: SearchReport | None) -> Iterator[tuple[str, str]]:
    if search is not None:
        yield "search", search_in_words(search)
        if search.trade_off:
            yield "trade-off", trade_off_in_bars(search.trade_off)


def _count(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
