"""Draws the scores of every server over time, and what other thresholds would have found: as PNG and as SVG.

One drawing serves both.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from schemas.drawing import drawing, plain, svg
from schemas.html_page import COLOURS
from worker.batch import Int64
from worker.demo.detection import Detection, Trade, trades
from worker.demo.machines import Machines, moment
from worker.demo.story import Told, line
from worker.demo.verdict import DAY_MS, HOW_FAIR, Found

THRESHOLDS = np.geomspace(0.5, 4.0, 60).tolist()
"""What the trade-off is drawn over, in units of the threshold that was used."""

TOO_MANY_A_DAY = 3.0
"""False episodes a server and day beyond which nobody would keep a detector: the trade-off ends there."""

_CIRCLE = {"boxstyle": "circle,pad=0.25", "facecolor": COLOURS.ink, "edgecolor": "none"}


def write_png(
    path: Path, detections: Sequence[Detection], machines: Machines, story: Sequence[Told], *, title: str
) -> None:
    """The whole picture. The first detection is the one whose scores are shown."""
    with drawing():
        figure = Figure(figsize=(14, 13), facecolor=COLOURS.paper, layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=(10, 3.6), squeeze=False)[:, 0]
        above.suptitle(title, color=COLOURS.ink, fontsize=13, x=0.012, ha="left", weight="bold")
        draw_scores(above, detections[0], machines, story)
        left, right = below.subfigures(1, 2, width_ratios=(1, 1.1), squeeze=False)[0]
        draw_trades(left, detections, machines)
        draw_counts(right, detections, story)
        figure.savefig(path, dpi=110)


def scores_svg(detection: Detection, machines: Machines, story: Sequence[Told]) -> str:
    """The scores of every server, to be put into a page."""
    with drawing("scores"):
        figure = Figure(figsize=(12, 9.5), layout="constrained")
        draw_scores(figure, detection, machines, story)
        return svg(figure)


def trades_svg(detections: Sequence[Detection], machines: Machines) -> str:
    """The trade-off, to be put into a page."""
    with drawing("trades"):
        figure = Figure(figsize=(7, 3.6), layout="constrained")
        draw_trades(figure, detections, machines)
        return svg(figure)


def draw_scores(figure: Figure | SubFigure, detection: Detection, machines: Machines, story: Sequence[Told]) -> None:
    """A row a server: the score, the threshold, the incidents as bands, the alarms as marks."""
    numbered = {told.found: number for number, told in enumerate(story, 1)}
    rows = figure.subplots(len(machines.servers), 1, sharex=True, sharey=True)
    highest = max(float(np.nanmax(score)) for score in detection.score.values())
    for axes, server in zip(rows, machines.servers, strict=True):
        _draw_bands(axes, detection, server, numbered, top=highest * 1.12)
        _draw_server(axes, detection, machines, server)
        axes.set_ylim(0, highest * 1.15)
        axes.set_ylabel(server, rotation=0, ha="right", va="center", color=COLOURS.ink, weight="bold")
        plain(axes)
    time = _days(next(iter(machines.test.values())).time_ms)
    days = range(int(time[0]), int(time[-1]) + 1)
    rows[-1].tick_params(axis="x", pad=8)  # away from the 0 of the other axis
    rows[-1].set_xlim(time[0], time[-1])
    rows[-1].set_xticks(days, [moment(day * DAY_MS)[:6] for day in days])
    figure.legend(handles=_legend(), loc="outside lower center", ncols=6, frameon=False, labelcolor=COLOURS.ink)


def _draw_server(axes: Axes, detection: Detection, machines: Machines, server: str) -> None:
    time = _days(machines.test[server].time_ms)
    score, raised = detection.score[server], detection.raised[server]
    inside = np.zeros(len(time), dtype=np.bool_)
    for found in detection.verdict.found:
        if found.incident.server == server:
            time_ms = machines.test[server].time_ms
            inside |= (time_ms >= found.incident.first_ms) & (time_ms <= found.incident.last_ms)
    axes.plot(time, score, color=COLOURS.score, linewidth=0.7)
    axes.axhline(1.0, color=COLOURS.ink, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(time[raised & inside], score[raised & inside], ".", color=COLOURS.right, markersize=4)
    axes.plot(time[raised & ~inside], score[raised & ~inside], "x", color=COLOURS.wrong, markersize=4)


def _draw_bands(axes: Axes, detection: Detection, server: str, numbered: Mapping[Found, int], *, top: float) -> None:
    for found in detection.verdict.found:
        if found.incident.server != server:
            continue
        first, last = _days(np.array([found.incident.first_ms, found.incident.last_ms]))
        band = COLOURS.right_band if found.first_alarm_ms is not None else COLOURS.wrong_band
        # Short incidents would be thinner than a pixel: a line of the same colour keeps them visible.
        axes.axvspan(first, last, facecolor=band, edgecolor=band, linewidth=2)
        if found in numbered:
            axes.text(last + 0.12, top * 0.88, str(numbered[found]), color=COLOURS.paper, fontsize=8, bbox=_CIRCLE)


def draw_trades(figure: Figure | SubFigure, detections: Sequence[Detection], machines: Machines) -> None:
    """A curve a detector: incidents found against false episodes, for every threshold; a dot at the one in use."""
    axes = figure.subplots()
    colours = (COLOURS.right, COLOURS.third, COLOURS.score)  # orange would look like an error
    for detection, colour in zip(detections, colours, strict=True):
        curve = _within(trades(detection, machines, THRESHOLDS))
        false_a_day = [trade.false_episodes_a_day for trade in curve]
        axes.plot(false_a_day, [trade.incidents_found for trade in curve], color=colour, label=detection.name)
        verdict = detection.verdict
        axes.plot(verdict.false_episodes_a_day, verdict.incidents_found, "o", color=colour, markersize=7)
    axes.set_xlim(0, TOO_MANY_A_DAY)
    axes.set_ylim(0, len(machines.incidents))
    axes.set_xlabel("false alarm episodes a server and day", color=COLOURS.ink)
    axes.set_ylabel(f"incidents found, of {len(machines.incidents)}", color=COLOURS.ink)
    axes.set_title("At other thresholds (dot: the one that was used)", color=COLOURS.ink, loc="left", fontsize=10)
    axes.legend(frameon=False, labelcolor=COLOURS.ink, loc="lower right")
    plain(axes)


def draw_counts(figure: SubFigure, detections: Sequence[Detection], story: Sequence[Told]) -> None:
    """The verdicts as a table, below them the numbered incidents, and what the labels were used for."""
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title("At the threshold that was used", color=COLOURS.ink, loc="left", fontsize=10)
    cells = [[detection.name, *counts(detection)] for detection in detections]
    table = axes.table(cells, colLabels=["", *COUNT_NAMES], loc="upper left", cellLoc="right", edges="horizontal")
    table.auto_set_font_size(value=False)
    table.set_fontsize(9)
    table.scale(1, 1.9)
    for (_, column), cell in table.get_celld().items():
        cell.set_edgecolor(COLOURS.rule)
        cell.get_text().set_color(COLOURS.ink)
        if column == 0:
            cell.get_text().set_horizontalalignment("left")
    for number, told in enumerate(story, 1):
        axes.text(0.0, 0.44 - 0.17 * (number - 1), str(number), va="top", fontsize=8, color=COLOURS.paper, bbox=_CIRCLE)
        text = "\n".join(wrap(line(told), 100))
        axes.text(0.035, 0.46 - 0.17 * (number - 1), text, va="top", fontsize=9, color=COLOURS.ink)
    axes.text(0.0, -0.06, "\n".join(wrap(HOW_FAIR, 115)), va="top", fontsize=8, color=COLOURS.muted)


COUNT_NAMES = ("incidents found", "false episodes\na server and day", "precision\nof events", "recall\nof events")


def counts(detection: Detection) -> tuple[str, str, str, str]:
    """The verdict in the order of COUNT_NAMES."""
    verdict = detection.verdict
    return (
        f"{verdict.incidents_found} of {len(verdict.found)}",
        f"{verdict.false_episodes_a_day:.2f}",
        f"{verdict.precision:.2f}",
        f"{verdict.recall:.2f}",
    )


def _within(curve: Sequence[Trade]) -> list[Trade]:
    return [trade for trade in curve if trade.false_episodes_a_day <= TOO_MANY_A_DAY]


def _legend() -> list[Line2D | Patch]:
    return [
        Line2D([], [], color=COLOURS.score, linewidth=1.2, label="score of each event"),
        Line2D([], [], color=COLOURS.ink, linewidth=0.8, linestyle=(0, (4, 3)), label="threshold"),
        Patch(facecolor=COLOURS.right_band, label="incident, found"),
        Patch(facecolor=COLOURS.wrong_band, label="incident, missed"),
        Line2D([], [], color=COLOURS.right, marker=".", linestyle="", label="alarm in an incident"),
        Line2D([], [], color=COLOURS.wrong, marker="x", markersize=5, linestyle="", label="alarm outside"),
    ]


def _days(time_ms: Int64) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """In the unit of a matplotlib date axis: days since 1970."""
    days: np.ndarray[tuple[int], np.dtype[np.float64]] = time_ms / DAY_MS
    return days
