"""An evaluation becomes drawings for a page: scores over time, precision-recall, calibration, trade-off.

Each comes with what it shows in words. Nothing is computed here but what the eye needs: of very many rows the highest
of each few.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import NDArray

from export.evaluation_report import Evaluation, percent, touched_by_incidents
from export.ranking import precision_recall
from export.runs import runs_of
from export.verdict import Judged
from schemas.drawing import drawing, plain, svg
from schemas.html_page import COLOURS

MOST_ENTITIES = 8
"""With a row of their own in the drawing of scores; those with the most incidents come first."""

_MOST_POINTS = 1500  # of a row: more would lie on one pixel
_LINEAR_TO = 10.0  # beyond, scores above 1 are drawn on a logarithmic scale: far out they reach hundreds
_LARGE, _SMALL = (
    (12.0, 1.15),
    (4.6, 3.4),
)  # inches; a small one is as wide as a phone
_DASHES = (0, (4, 3))
_LINES = {
    "causal": (COLOURS.right, "-", 1.6),
    "revised": (COLOURS.right, (0, (4, 2)), 1.2),
    "z-score": (COLOURS.score, "-", 1.0),
    "PCA": (COLOURS.third, "-", 1.0),
    "prototypes": (COLOURS.third, (0, (1, 1.5)), 1.4),
}

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Plot:
    """An SVG element, and the sentence below it."""

    drawing: str
    caption: str


def scores_plot(evaluation: Evaluation) -> Plot:
    """The causal score of each entity, its incidents as bands, its alarms as marks."""
    judged = evaluation.judged["causal"]
    shown = _shown_entities(evaluation)
    highest = float(max(judged.score[evaluation.slices[place]].max() for place in shown))
    incidents = evaluation.verdicts["causal"].overall.incidents
    words = (
        f"Scores over time of {len(shown)} of {len(evaluation.entities)} entities: {incidents.found} of "
        f"{incidents.incidents} incidents raised an alarm, {incidents.false_episodes} episodes of alarms were false."
    )
    with drawing("scores"):
        figure = Figure(figsize=(_LARGE[0], 0.9 + _LARGE[1] * len(shown)), layout="constrained")
        rows: list[Axes] = list(
            figure.subplots(len(shown), 1, sharex=evaluation.has_times, sharey=True, squeeze=False)[:, 0]
        )
        for axes, place in zip(rows, shown, strict=True):
            _draw_entity(axes, judged.of(evaluation.slices[place]), threshold=evaluation.threshold)
            name = evaluation.entities[place]
            _score_axis(axes, highest)
            axes.set_ylabel(_shortened(name), rotation=0, ha="right", va="center", color=COLOURS.ink, weight="bold")
        _time_axis(rows, has_times=evaluation.has_times)
        figure.legend(
            handles=_score_legend(), loc="outside lower center", ncols=6, frameon=False, labelcolor=COLOURS.ink
        )
        return Plot(svg(figure, alternative=words), _scores_caption(evaluation, len(shown), highest))


def precision_recall_plot(evaluation: Evaluation) -> Plot | None:
    """A curve a score; None without rows of both kinds."""
    judged = evaluation.judged
    label = judged["causal"].label
    if not label.any() or label.all():
        return None
    with drawing("precision-recall"):
        figure, axes = _small()
        for name, of in judged.items():
            recall, precision = precision_recall(of.label, of.score)
            colour, dashes, width = _LINES[name]
            places = _spread(len(recall))
            axes.plot(
                np.r_[0.0, recall[places]],
                np.r_[precision[0], precision[places]],
                color=colour,
                linestyle=dashes,
                linewidth=width,
                label=name,
            )
        alarms = evaluation.verdicts["causal"].overall.alarms
        at = ""
        if alarms.precision is not None and alarms.recall is not None:
            at = f" At the threshold in use: {alarms.precision:.2f} at {alarms.recall:.2f}."
            axes.plot(alarms.recall, alarms.precision, "o", color=COLOURS.right, markersize=6)
        axes.axhline(label.mean(), color=COLOURS.muted, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall of rows", ylabel="precision of rows")
        _finish(axes, "Precision and recall of rows")
        axes.legend(frameon=False, labelcolor=COLOURS.ink, loc="upper right")
        return Plot(
            svg(figure, alternative=f"Precision against recall for {', '.join(judged)}.{at}"),
            "Each row counts by itself, nothing is point-adjusted. Dot: the threshold in use; dotted line: chance."
            + at,
        )


def calibration_plot(evaluation: Evaluation) -> Plot | None:
    """Realised against promised share of false alarms, for every threshold; None without normal rows."""
    if not evaluation.kept_promises:
        return None
    promised, realised = map(np.array, zip(*evaluation.kept_promises, strict=True))
    lowest = float(promised.min())
    with drawing("calibration"):
        figure, axes = _small()
        axes.plot([lowest, 1], [lowest, 1], color=COLOURS.ink, linewidth=0.8, linestyle=_DASHES, label="as promised")
        axes.fill_between([lowest, 1], [lowest / 2, 0.5], [lowest * 2, 2], color=COLOURS.rule, linewidth=0)
        axes.plot(promised, np.maximum(realised, lowest / 3), color=COLOURS.right, linewidth=1.6, label="realised")
        in_use = evaluation.verdicts["causal"].overall.alarms.false_alarm_rate
        if in_use is not None:
            axes.plot(evaluation.promised, max(in_use, lowest / 3), "o", color=COLOURS.right, markersize=6)
        axes.set(xscale="log", yscale="log", xlim=(lowest, 1), ylim=(lowest / 3, 1.2))
        axes.set(xlabel="promised share of false alarms", ylabel="realised")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda share, _: percent(share)))
            axis.set_minor_locator(NullLocator())
        _finish(axes, "Promised and realised false alarms")
        axes.legend(frameon=False, labelcolor=COLOURS.ink, loc="upper left")
        words = f"Promised {percent(evaluation.promised)} at the threshold in use, realised {percent(in_use)}."
        return Plot(
            svg(figure, alternative=f"Realised against promised share of false alarms. {words}"),
            f"Of normal rows, warming ones aside, at every threshold. Band: half to double. {words}",
        )


def drift_plot(evaluation: Evaluation) -> Plot | None:
    """The realised share of false alarms in each tenth, and that clear of incidents; None without normal rows."""
    alarms = evaluation.verdicts["causal"].overall.alarms
    rates = [rate for rate in alarms.false_alarm_rate_over_time if rate is not None]
    if not rates:
        return None
    with_clear = touched_by_incidents(evaluation)
    with drawing("drift"):
        figure, axes = _small()
        _bars(axes, alarms.false_alarm_rate_over_time, "all normal rows" if with_clear else None, COLOURS.right_band)
        if with_clear:
            _bars(axes, alarms.clear_rate_over_time, "clear of incidents", COLOURS.right, width=0.4)
        axes.axhline(evaluation.promised, color=COLOURS.ink, linewidth=0.8, linestyle=_DASHES, label="promised")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: percent(share)))
        whose = "the time" if evaluation.has_times else "each entity's rows"
        axes.set(xlabel=f"tenth of {whose}, oldest first", ylabel="false alarms")
        clear = [rate for rate in alarms.clear_rate_over_time if rate is not None]
        axes.set_ylim(0, (1.6 if with_clear else 1.25) * max(*rates, *clear, evaluation.promised))
        _finish(axes, "False alarms as time goes on")
        axes.legend(frameon=False, labelcolor=COLOURS.ink, loc="upper left")
        words = (
            f"From {percent(min(rates))} to {percent(max(rates))}, where {percent(evaluation.promised)} were promised."
        )
        if with_clear and clear:
            words += f" Clear of incidents from {percent(min(clear))} to {percent(max(clear))}."
        return Plot(
            svg(figure, alternative=f"Share of false alarms in each tenth of {whose}. {words}"),
            f"A threshold is frozen with its file, the world is not. Bars: {evaluation.tenths}. {words}",
        )


def _bars(axes: Axes, rates: Sequence[float | None], label: str | None, colour: str, *, width: float = 0.8) -> None:
    place = np.arange(1, len(rates) + 1)
    height = [rate or 0.0 for rate in rates]
    axes.bar(place, height, width=width, color=colour, edgecolor=COLOURS.right, label=label)
    axes.set_xticks(place)


def trade_off_plot(points: Sequence[tuple[int, float]]) -> Plot | None:
    """Error on held-back windows against bottleneck; None without points."""
    if not points:
        return None
    size, error = map(np.array, zip(*points, strict=True))
    with drawing("trade-off"):
        figure, axes = _small()
        axes.plot(size, error, "o-", color=COLOURS.right, linewidth=1.4, markersize=5)
        axes.set_xscale("log", base=2)
        axes.set_xticks(size, [f"{each}" for each in size])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel="bottleneck", ylabel="error on held-back windows", ylim=(0, 1.1 * float(error.max())))
        _finish(axes, "What a wider bottleneck gains")
        best = int(error.argmin())
        words = f"From {error[0]:.3g} at {size[0]} to {error[best]:.3g} at {size[best]}; 1 is the error of the mean."
        return Plot(svg(figure, alternative=f"Error against bottleneck. {words}"), f"As training tried them. {words}")


def _shown_entities(evaluation: Evaluation) -> list[int]:
    """Places of at most MOST_ENTITIES, in the order of the data."""
    figures = evaluation.verdicts["causal"].entities
    by_incidents = np.argsort([-of.incidents.incidents for of in figures], kind="stable")
    return sorted(by_incidents[:MOST_ENTITIES].tolist())


def _draw_entity(axes: Axes, judged: Judged, *, threshold: float) -> None:
    x = np.arange(len(judged.label)) if judged.time_ms is None else judged.time_ms.astype("datetime64[ms]")
    begin, end = runs_of(judged.label)
    for first, last in zip(begin.tolist(), end.tolist(), strict=True):
        found = judged.alarm[first : last + 1].any()
        band = COLOURS.right_band if found else COLOURS.wrong_band
        # Short incidents would be thinner than a pixel: a line of the same colour keeps them visible.
        axes.axvspan(x[first], x[last], facecolor=band, edgecolor=band, linewidth=2)
    places = _highest(judged.score)
    axes.plot(x[places], judged.score[places], color=COLOURS.score, linewidth=0.7)
    axes.axhline(threshold, color=COLOURS.ink, linewidth=0.8, linestyle=_DASHES)
    for inside, mark, colour, size in ((True, ".", COLOURS.right, 4), (False, "x", COLOURS.wrong, 4)):
        raised = np.flatnonzero(judged.alarm & (judged.label == inside))
        kept = raised[_highest(judged.score[raised])]
        axes.plot(x[kept], judged.score[kept], mark, color=colour, markersize=size)
    plain(axes)


def _score_axis(axes: Axes, highest: float) -> None:
    """From 0, linear as long as that shows a score of 1; of every row of the drawing, since they share it."""
    if highest > _LINEAR_TO:
        axes.set_yscale("symlog", linthresh=1.0, linscale=1.0)
        ticks = [0.0, 1.0, *(10.0**power for power in range(1, 1 + int(np.log10(highest))))]
        axes.set_yticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, max(highest, 1.0) * 1.15)


def _time_axis(rows: Sequence[Axes], *, has_times: bool) -> None:
    if has_times:
        locator = AutoDateLocator(tz=UTC)  # type: ignore[no-untyped-call]  # matplotlib leaves it untyped
        rows[-1].xaxis.set_major_locator(locator)
        rows[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]  # see above
    for axes in rows:
        axes.margins(x=0)
    rows[-1].set_xlabel("time (UTC)" if has_times else "row", color=COLOURS.muted)
    rows[-1].tick_params(axis="x", pad=8)  # away from the 0 of the other axis


def _scores_caption(evaluation: Evaluation, shown: int, highest: float) -> str:
    left_out = len(evaluation.entities) - shown
    thinned = max(rows.stop - rows.start for rows in evaluation.slices) > _MOST_POINTS
    sentences = ["The score that is published with each event."]
    if highest > _LINEAR_TO:
        sentences.append("Above 1 the scale is logarithmic.")
    if thinned:
        sentences.append("Of neighbouring rows the highest is drawn.")
    if left_out:
        sentences.append(f"The {shown} entities with the most incidents; {left_out:,} more are in the table below.")
    return " ".join(sentences)


def _score_legend() -> list[Line2D | Patch]:
    return [
        Line2D([], [], color=COLOURS.score, linewidth=1.2, label="score"),
        Line2D([], [], color=COLOURS.ink, linewidth=0.8, linestyle=_DASHES, label="threshold"),
        Patch(facecolor=COLOURS.right_band, label="incident, found"),
        Patch(facecolor=COLOURS.wrong_band, label="incident, missed"),
        Line2D([], [], color=COLOURS.right, marker=".", linestyle="", label="alarm in an incident"),
        Line2D([], [], color=COLOURS.wrong, marker="x", markersize=5, linestyle="", label="false alarm"),
    ]


def _small() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SMALL, layout="constrained")
    return figure, figure.subplots()


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, color=COLOURS.ink, loc="left", fontsize=10, weight="bold")
    axes.xaxis.label.set_color(COLOURS.ink)
    axes.yaxis.label.set_color(COLOURS.ink)
    plain(axes)


def _highest(score: Float64) -> NDArray[np.int64]:
    """Places, in order: all, or of very many the highest in each of equal pieces."""
    if len(score) <= _MOST_POINTS:
        return np.arange(len(score))
    pieces = np.array_split(np.arange(len(score)), _MOST_POINTS)
    return np.array([piece[score[piece].argmax()] for piece in pieces], dtype=np.int64)


def _spread(count: int) -> NDArray[np.int64]:
    """Places of a curve's points, enough for the eye."""
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).astype(np.int64))


def _shortened(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"
