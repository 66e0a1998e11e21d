"""Tells three incidents in a line each: the clearest, the shortest that was found, and the longest missed."""

from collections.abc import Iterable
from dataclasses import dataclass

from worker.demo.machines import Incident, moment
from worker.demo.scoreboard import Scoreboard, Scored
from worker.demo.verdict import Found, Verdict


@dataclass(frozen=True, slots=True)
class Told:
    """An incident and the most telling score record within it; None where nothing was scored in it."""

    found: Found
    peak: Scored | None

    @property
    def incident(self) -> Incident:
        """The labelled stretch."""
        return self.found.incident

    @property
    def delay_min(self) -> float | None:
        """From the incident's first event to the first alarm; None where it was missed."""
        alarm_ms = self.found.first_alarm_ms
        return None if alarm_ms is None else (alarm_ms - self.incident.first_ms) / 60_000

    @property
    def blamed(self) -> str | None:
        """The feature with the largest share in the highest score."""
        return self.peak.contributions[0].feature if self.peak and self.peak.contributions else None

    @property
    def agrees(self) -> bool:
        """Whether the experts hold that feature responsible too."""
        return self.blamed in self.incident.metrics


def tell(verdict: Verdict, board: Scoreboard) -> list[Told]:
    """Every incident with the highest score within it."""
    return [Told(found, _peak(board, found.incident)) for found in verdict.found]


def three(told: Iterable[Told]) -> list[Told]:
    """Two that were found and one that was missed, as far as there are such."""
    rest = list(told)
    chosen: list[Told] = []
    found = [one for one in rest if one.delay_min is not None and one.peak]
    missed = [one for one in rest if one.delay_min is None]
    if found:
        chosen.append(max(found, key=_height))
        others = [one for one in found if one.incident.server != chosen[0].incident.server]
        chosen += [min(others, key=_length)] if others else []
    if missed:
        chosen.append(max(missed, key=_length))
    return chosen


def line(told: Told) -> str:
    """When, whether and how soon, which feature, its value and the expected one."""
    incident = told.incident
    first, last = moment(incident.first_ms), moment(incident.last_ms)
    same_day = first[:6] == last[:6]
    when = f"{incident.server}, {first} to {last[-5:] if same_day else last}"
    if told.delay_min is None:
        outcome = "missed"
    elif told.delay_min == 0:
        outcome = "alarm at its first event"
    else:
        outcome = f"alarm after {told.delay_min:.0f} min"
    return f"{when}: {outcome}{_cause(told)}."


def _cause(told: Told) -> str:
    if told.peak is None or not told.peak.contributions:
        return ", not explained"
    top = told.peak.contributions[0]
    value = "missing" if top.value is None else f"{top.value:.2f}"
    expected = "" if top.expected is None else f" where {top.expected:.2f} was expected"
    experts = "the experts blame it too" if told.agrees else "the experts blame others"
    return f"; highest score {told.peak.score:.2f}, led by {top.feature}: {value}{expected} ({experts})"


def _peak(board: Scoreboard, incident: Incident) -> Scored | None:
    by_time = board.standings[incident.server].by_time
    inside = [
        record
        for time_ms, record in by_time.items()
        if incident.first_ms <= time_ms <= incident.last_ms and not record.warming
    ]
    return max(inside, key=lambda record: record.score, default=None)


def _height(told: Told) -> float:
    return told.peak.score if told.peak else 0.0


def _length(told: Told) -> int:
    return told.incident.last_ms - told.incident.first_ms
