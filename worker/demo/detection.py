"""One detector's scores of all test rows with its verdict: what pictures and tables are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from worker.batch import Bool
from worker.demo.baselines import Calibrated, Float64
from worker.demo.machines import Machines
from worker.demo.scoreboard import Scoreboard
from worker.demo.verdict import Alarms, Verdict, judge


@dataclass(frozen=True, slots=True)
class Detection:
    """A detector's scores in the order of each server's test rows; above 1 is an alarm, NaN is no score."""

    name: str
    score: Mapping[str, Float64]
    raised: Mapping[str, Bool]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Trade:
    """What a detector would have found at some other threshold."""

    threshold: float  # in units of the one that was used
    false_episodes_a_day: float
    incidents_found: int


def by_worker(name: str, board: Scoreboard, machines: Machines) -> Detection:
    """From the records that the worker published; alarms are its own `is_anomaly`."""
    columns = {server: board.scores(server, rows) for server, rows in machines.test.items()}
    score = {server: scores for server, (scores, _) in columns.items()}
    raised = {server: alarms for server, (_, alarms) in columns.items()}
    return Detection(name, score, raised, _verdict(machines, raised))


def by_baseline(baseline: Calibrated, machines: Machines) -> Detection:
    """From a baseline's calibrated scores."""
    raised = {server: _above(score, 1.0) for server, score in baseline.score.items()}
    return Detection(baseline.name, baseline.score, raised, _verdict(machines, raised))


def trades(detection: Detection, machines: Machines, thresholds: Sequence[float]) -> list[Trade]:
    """The same scores judged at each of the thresholds. For looking at, not for choosing one: it uses the labels."""
    judged = []
    for threshold in thresholds:
        raised = {server: _above(score, threshold) for server, score in detection.score.items()}
        verdict = _verdict(machines, raised)
        judged.append(Trade(threshold, verdict.false_episodes_a_day, verdict.incidents_found))
    return judged


def _verdict(machines: Machines, raised: Mapping[str, Bool]) -> Verdict:
    alarms = {server: Alarms(machines.test[server].time_ms, alarm) for server, alarm in raised.items()}
    return judge(alarms, machines.incidents)


def _above(score: Float64, threshold: float) -> Bool:
    with np.errstate(invalid="ignore"):  # NaN is not above
        above: Bool = score > threshold
        return above
