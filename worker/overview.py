"""The page `/`, for people: what runs, how fast, how far behind, the latest alarms. It fetches and runs nothing."""

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from schemas.html_page import html_page, page_style
from worker.batch import TopicPartition
from worker.probes import Health, Page
from worker.recently import Alarm, Contribution, Lately

_PARTITIONS_SHOWN = 50
_NAME_CHARACTERS = 80
_REFRESH_S = 5

_STYLE = """
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 1rem 2rem;
  margin: 1.25rem 0; }
.facts b { display: block; font-size: 1.6rem; font-weight: 600; line-height: 1.2;
  font-variant-numeric: tabular-nums; } .facts span { color: var(--muted); font-size: .9rem; }
.state { display: inline-block; padding: 0 .6rem; border-radius: 1rem; font-size: .9rem; vertical-align: .2rem;
  margin-left: .5rem; font-weight: 400; }
.state.good { background: var(--right-band); color: var(--right); }
.state.bad { background: var(--wrong-band); color: var(--wrong); }
.entity { font-weight: 600; overflow-wrap: anywhere; }
.reasons { list-style: none; margin: 0; padding: 0; max-width: none; }
.reasons li { display: grid; grid-template-columns: 5rem 3rem 1fr; gap: .6rem; }
.bar { width: 100%; height: .6rem; display: block; margin-top: .5rem; }
.when { white-space: nowrap; } .alarms .why { width: 50%; } .alarms .number { padding-right: 2rem; }
.bar rect { fill: var(--wrong); } .bar .whole { fill: var(--rule); }
table { width: 100%; } .about th { width: 9rem; color: var(--muted); font-weight: 400; } td { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  .alarms tr { display: grid; grid-template-columns: 1fr auto; padding: .6rem 0; border-bottom: 1px solid var(--rule); }
  .alarms td, .alarms .number { border: 0; padding: .1rem 0; }
  .alarms .entity { padding-right: 1rem; } .alarms thead { display: none; }
  .alarms .why { grid-column: 1 / -1; width: auto; } .alarms .when { grid-column: 1 / -1; color: var(--muted); }
  .reasons li { grid-template-columns: 4rem 2.5rem 1fr; }
}
"""

_STYLE_DIGEST = base64.b64encode(hashlib.sha256(page_style(_STYLE).encode()).digest()).decode()

SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""A browser may apply this one style, and fetch, run, send and embed nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What does not change while a worker runs."""

    version: str
    model: str  # name, version, digest
    detector: str  # its family and window
    alarm_rate: float
    threshold: float
    provider: str
    group: str
    inputs: Sequence[str]
    output: str
    dead_letters: str
    delivery: str


class Overview:
    """Renders the page anew each time it is asked for."""

    def __init__(self, about: About, health: Health, lately: Callable[[], Lately]) -> None:
        self._about = about
        self._health = health
        self._lately = lately

    def __call__(self) -> Page:
        """The page as things stand."""
        lately = self._lately()
        sections = [*self._head(lately), *_alarms(lately.alarms), *_partitions(lately), *self._what_runs()]
        title = f"{self._about.group}: anomaly-worker"
        head = f'<meta http-equiv="refresh" content="{_REFRESH_S}">\n'
        return Page(html_page(title, sections, style=_STYLE, head=head), SECURITY_POLICY)

    def _head(self, lately: Lately) -> Iterator[str]:
        state = ("good", "ready") if self._health.ready else ("bad", "joining, refilling or ending")
        yield f'<h1>{_name(self._about.group)}<span class="state {state[0]}">{state[1]}</span></h1>'
        lag = sum(lately.lag.values())
        facts = [
            (_rate(lately), "events a second, of the last minute"),
            (f"{lag:,}", f"events behind, in {_counted(len(lately.lag), 'partition')}"),
            (
                f"{lately.anomalies:,}",
                f"alarms in the last minute{_share(lately)}; promised {_percent(self._about.alarm_rate)}",
            ),
            (f"{lately.entities:,}", "entities with a window"),
        ]
        yield '<div class="facts">'
        yield from (f"<div><b>{figure}</b><span>{escape(meaning)}</span></div>" for figure, meaning in facts)
        yield "</div>"

    def _what_runs(self) -> Iterator[str]:
        about = self._about
        rows = [
            ("model", about.model),
            ("detector", about.detector),
            ("alarm above", f"a score of {about.threshold:g}"),
            ("runs on", about.provider),
            ("reads", ", ".join(about.inputs)),
            ("scores to", about.output),
            ("dead letters to", about.dead_letters),
            ("delivery", about.delivery),
            ("version", about.version),
        ]
        yield '<h2>What runs</h2>\n<table class="about">'
        yield from (f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in rows)
        yield "</table>"


def _alarms(alarms: Sequence[Alarm]) -> Iterator[str]:
    yield "<h2>Latest alarms</h2>"
    if not alarms:
        yield '<p class="muted">None since this worker started.</p>'
        return
    yield '<table class="alarms"><thead><tr><th>event time (UTC)</th><th>entity</th>'
    yield '<th class="number">score</th><th>why</th></tr></thead><tbody>'
    for alarm in alarms:
        reasons = "".join(map(_reason, alarm.contributions))
        why = f'<ul class="reasons">{reasons}</ul>' if reasons else '<span class="muted">not explained</span>'
        yield (
            f'<tr><td class="when">{_time(alarm.event_time)}</td><td class="entity">{_name(alarm.entity)}</td>'
            f'<td class="number">{alarm.score:.2f}</td><td class="why">{why}</td></tr>'
        )
    yield "</tbody></table>"


def _reason(contribution: Contribution) -> str:
    share = min(max(contribution.share, 0.0), 1.0)
    bar = (
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="whole" width="100" height="6"/><rect width="{100 * share:.0f}" height="6"/></svg>'
    )
    told = f"{_name(contribution.feature)} {_number(contribution.value)}, expected {_number(contribution.expected)}"
    return f"<li>{bar}<span>{share:.0%}</span><span>{told}</span></li>"


def _partitions(lately: Lately) -> Iterator[str]:
    yield "<h2>Partitions</h2>"
    if not lately.lag:
        yield '<p class="muted">None: other workers of the group have them, or the worker is still joining.</p>'
        return
    behind = sorted(lately.lag, key=lambda partition: (-lately.lag[partition], partition))
    yield '<table><thead><tr><th>partition</th><th class="number">behind</th>'
    yield '<th class="number">to refill</th></tr></thead><tbody>'
    for partition in behind[:_PARTITIONS_SHOWN]:
        yield (
            f'<tr><td>{_place(partition)}</td><td class="number">{lately.lag[partition]:,}</td>'
            f'<td class="number">{lately.refill_remaining.get(partition, 0):,}</td></tr>'
        )
    yield "</tbody></table>"
    if len(behind) > _PARTITIONS_SHOWN:
        yield f'<p class="muted">And {len(behind) - _PARTITIONS_SHOWN} that are no further behind.</p>'


def _place(partition: TopicPartition) -> str:
    return f"{escape(partition.topic)}-{partition.partition}"


def _name(name: str) -> str:
    """Names are others' bytes: shortened, escaped, and kept from turning the text around them."""
    short = name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 1]}…"
    return f"<bdi>{escape(short)}</bdi>"


def _rate(lately: Lately) -> str:
    return f"{lately.records / lately.span_s:,.0f}" if lately.span_s else "?"


def _share(lately: Lately) -> str:
    return f", {_percent(lately.anomalies / lately.scored)} of the scores" if lately.scored else ""


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _number(value: float | None) -> str:
    return "missing" if value is None else f"{value:.4g}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _time(epoch_ms: int) -> str:
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
