"""Counts what a detector found: alarms against labelled incidents, never point-adjusted.

Three questions, three counts. Of single events: precision and recall, each event on its own. Of incidents: one is
found if at least one of its events raised an alarm, not sooner and not later. Of the nerves of whoever is on call:
alarms of one server at most an hour apart are one episode, and an episode that touches no incident is false.
(Point-adjusting, which calls every event of an incident found once one is, lets a random score look good.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from worker.batch import Bool, Int64
from worker.demo.machines import Incident

EPISODE_GAP_MS = 3_600_000
"""Alarms closer than this are one interruption for a person."""

DAY_MS = 86_400_000

HOW_FAIR = (
    "Labels took no part in training or thresholds. But the form of the autoencoder's raw score was chosen on these "
    "very incidents (docs/training.md): on other data it may find less. And PCA here is plain: the exporter's own "
    "(--detector pca) weighs the features and finds about as much as the autoencoder, as that page shows."
)
"""Said wherever the counts are shown."""


@dataclass(frozen=True, slots=True)
class Alarms:
    """What one detector said of one server's events."""

    time_ms: Int64  # (n,) ascending
    raised: Bool  # (n,)


@dataclass(frozen=True, slots=True)
class Episode:
    """Alarms of one server in a row, both ends included."""

    server: str
    first_ms: int
    last_ms: int
    alarms: int
    false: bool


@dataclass(frozen=True, slots=True)
class Found:
    """An incident and its first alarm; None where it was missed."""

    incident: Incident
    first_alarm_ms: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """All counts of one detector over all servers."""

    true_alarms: int  # events
    false_alarms: int
    labelled_events: int
    normal_events: int  # all others
    found: tuple[Found, ...]  # one for each incident
    episodes: tuple[Episode, ...]
    server_days: float

    @property
    def precision(self) -> float:
        """The share of alarms that lie in an incident; 0 where there was no alarm."""
        return self.true_alarms / max(1, self.true_alarms + self.false_alarms)

    @property
    def recall(self) -> float:
        """The share of the incidents' events that raised an alarm."""
        return self.true_alarms / max(1, self.labelled_events)

    @property
    def false_alarm_share(self) -> float:
        """The share of the events outside incidents that raised an alarm: what the alarm rate is a promise about."""
        return self.false_alarms / max(1, self.normal_events)

    @property
    def incidents_found(self) -> int:
        """Incidents with at least one alarm inside."""
        return sum(found.first_alarm_ms is not None for found in self.found)

    @property
    def false_episodes(self) -> int:
        """Episodes that touch no incident."""
        return sum(episode.false for episode in self.episodes)

    @property
    def false_episodes_a_day(self) -> float:
        """For each server."""
        return self.false_episodes / self.server_days

    @property
    def median_delay_min(self) -> float | None:
        """From an incident's first event to its first alarm, of those found; None where none was."""
        delays = [
            found.first_alarm_ms - found.incident.first_ms for found in self.found if found.first_alarm_ms is not None
        ]
        return float(np.median(delays)) / 60_000 if delays else None


def kept_promise(verdict: Verdict, *, alarm_rate: float) -> str:
    """How often normal events raised an alarm beside how often they were meant to, as a sentence."""
    return (
        f"Outside incidents {verdict.false_alarm_share:.1%} of the events raised an alarm, where the alarm rate is "
        f"{alarm_rate:.1%}: an incident stays in the windows for a while after its end, and servers change."
    ).replace("%", " %")


def judge(alarms: Mapping[str, Alarms], incidents: Sequence[Incident]) -> Verdict:
    """Count one detector's alarms of all servers against the incidents."""
    true_alarms = false_alarms = labelled_events = normal_events = 0
    found: list[Found] = []
    episodes: list[Episode] = []
    for server, said in alarms.items():
        own = [incident for incident in incidents if incident.server == server]
        labelled = np.zeros(len(said.time_ms), dtype=np.bool_)
        for incident in own:
            inside = (said.time_ms >= incident.first_ms) & (said.time_ms <= incident.last_ms)
            labelled |= inside
            hits = said.time_ms[inside & said.raised]
            found.append(Found(incident, int(hits[0]) if len(hits) else None))
        true_alarms += int((said.raised & labelled).sum())
        false_alarms += int((said.raised & ~labelled).sum())
        labelled_events += int(labelled.sum())
        normal_events += int((~labelled).sum())
        episodes += episodes_of(server, said, labelled)
    return Verdict(
        true_alarms,
        false_alarms,
        labelled_events,
        normal_events,
        found=tuple(found),
        episodes=tuple(episodes),
        server_days=_server_days(alarms),
    )


def episodes_of(server: str, said: Alarms, labelled: Bool) -> list[Episode]:
    """One server's alarms, joined where they are at most EPISODE_GAP_MS apart."""
    rows = np.flatnonzero(said.raised)
    if not len(rows):
        return []
    breaks = np.flatnonzero(np.diff(said.time_ms[rows]) > EPISODE_GAP_MS) + 1
    return [
        Episode(
            server,
            first_ms=int(said.time_ms[group[0]]),
            last_ms=int(said.time_ms[group[-1]]),
            alarms=len(group),
            false=not labelled[group].any(),
        )
        for group in np.split(rows, breaks)
    ]


def _server_days(alarms: Mapping[str, Alarms]) -> float:
    """Each server's observed time; an event stands for the median step after it."""
    days = 0.0
    for said in alarms.values():
        if len(said.time_ms) > 1:
            days += float(np.median(np.diff(said.time_ms))) * len(said.time_ms) / DAY_MS
    return days
