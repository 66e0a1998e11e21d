"""Writes the report: one HTML file that needs nothing else, in light and dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from schemas.html_page import html_page
from worker.demo.detection import Detection
from worker.demo.machines import Machines, moment
from worker.demo.picture import COUNT_NAMES, counts, scores_svg, trades_svg
from worker.demo.story import Told, line
from worker.demo.verdict import HOW_FAIR, kept_promise

_STYLE = """
.trades > svg { max-width: 46rem; min-width: 30rem; }
"""

_SOURCE = (
    "Data: six servers of the Application Server Dataset (InterFusion, KDD 2021), MIT licence; see "
    "examples/machines in the repository."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that the page tells."""

    title: str
    run: str  # what ran, in a sentence
    detections: Sequence[Detection]  # the worker's first
    machines: Machines
    alarm_rate: float
    told: Sequence[Told]  # every incident
    story: Sequence[Told]  # the three
    next_commands: str


def page(report: Report) -> str:
    """The HTML."""
    ours = report.detections[0]
    sections = [
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="muted">{escape(report.run)}</p>',
        f'<div class="wide">{scores_svg(ours, report.machines, report.story)}</div>',
        "<h2>Three incidents</h2>",
        "<ol>" + "".join(f"<li>{escape(line(told))}</li>" for told in report.story) + "</ol>",
        "<h2>Beside two plain detectors</h2>",
        f'<div class="wide">{_comparison(report.detections)}</div>',
        _how_it_was_counted(report),
        f'<div class="wide trades">{trades_svg(report.detections, report.machines)}</div>',
        f"<h2>All {len(report.told)} incidents</h2>",
        f'<div class="wide">{_incidents(report.told)}</div>',
        "<h2>On a topic of your own</h2>",
        f"<pre>{escape(report.next_commands)}</pre>",
        f'<p class="muted">{_SOURCE}</p>',
    ]
    return html_page(report.title, sections, style=_STYLE)


def _comparison(detections: Sequence[Detection]) -> str:
    head = "".join(f'<th class="number">{name.replace(chr(10), "<br>")}</th>' for name in COUNT_NAMES)
    rows = "".join(
        f"<tr><td>{escape(detection.name)}</td>"
        + "".join(f'<td class="number">{count}</td>' for count in counts(detection))
        + "</tr>"
        for detection in detections
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _how_it_was_counted(report: Report) -> str:
    verdict = report.detections[0].verdict
    delay = "" if verdict.median_delay_min is None else f" (half of them within {verdict.median_delay_min:.0f} min)"
    named = [told for told in report.told if told.delay_min is not None]
    agreeing = sum(told.agrees for told in named)
    return (
        "<ul><li>An incident is found if at least one of its own events raised an alarm"
        f"{delay}; an alarm before it or after it does not count.</li>"
        "<li>Alarms of one server at most an hour apart are one episode; it is false if it touches no incident.</li>"
        "<li>Precision and recall are of single events, each on its own. Nothing is point-adjusted.</li>"
        "<li>All three learned from the same unlabelled rows, and set their thresholds on the same held-back end of "
        "them at the same alarm rate.</li>"
        f"<li>{HOW_FAIR}</li>"
        f"<li>{kept_promise(verdict, alarm_rate=report.alarm_rate)}</li>"
        f"<li>In {agreeing} of {len(named)} found incidents the metric that the autoencoder blames is one that the "
        "experts blame.</li></ul>"
    )


def _incidents(told: Sequence[Told]) -> str:
    head = "<tr><th>server</th><th>from</th><th>to</th><th>outcome</th><th>highest score</th><th>blamed</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{''.join(_incident(one) for one in told)}</tbody></table>"


def _incident(told: Told) -> str:
    found = told.delay_min is not None
    outcome = f"found after {told.delay_min:.0f} min" if found else "missed"
    cells = (
        f"<td>{escape(told.incident.server)}</td>"
        f"<td>{moment(told.incident.first_ms)}</td><td>{moment(told.incident.last_ms)}</td>"
        f'<td class="{"found" if found else "missed"}">{outcome}</td>'
        f'<td class="number">{f"{told.peak.score:.2f}" if told.peak else "none"}</td>'
        f"<td>{escape(told.blamed or '')}{' (experts too)' if told.agrees else ''}</td>"
    )
    return f"<tr>{cells}</tr>"
