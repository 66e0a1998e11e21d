from pathlib import Path

import numpy as np
import pytest

from tests.pages import assert_colours_are_of_the_page, assert_whole_and_fetching_nothing
from worker.demo.baselines import Calibrated
from worker.demo.detection import Detection, by_baseline, trades
from worker.demo.machines import Incident, Machines, Rows, epoch_ms
from worker.demo.page import Report, page
from worker.demo.picture import scores_svg, write_png
from worker.demo.scoreboard import Scored
from worker.demo.story import Told
from worker.demo.verdict import HOW_FAIR
from worker.recently import Contribution

START_MS = epoch_ms("2026-02-01T00:00:00Z")
STEP_MS = 300_000
EVENTS = 600
CAUSE = Contribution("cpu", 1, 0.9, 0.1)


def two_servers() -> Machines:
    time_ms = START_MS + np.arange(EVENTS) * STEP_MS
    rows = Rows(time=[""] * EVENTS, time_ms=time_ms, values=np.zeros((EVENTS, 1), np.float32))
    incidents = (
        Incident("a", int(time_ms[100]), int(time_ms[120]), ("cpu",)),
        Incident("b", int(time_ms[300]), int(time_ms[310]), ("cpu",)),
    )
    return Machines((), ("cpu",), train={}, test={"a": rows, "b": rows}, incidents=incidents)


@pytest.fixture
def machines() -> Machines:
    return two_servers()


def detection(machines: Machines, name: str = "detector") -> Detection:
    """Finds the incident of server a and misses that of b."""
    score = np.full(EVENTS, 0.2)
    score[:15] = np.nan
    found = score.copy()
    found[105:130] = 2.0
    return by_baseline(Calibrated(name, {"a": found, "b": score}), machines)


def report(machines: Machines) -> Report:
    detections = [detection(machines, name) for name in ("autoencoder", "PCA", "<z>")]
    peak = Scored("id", "a", START_MS, 2.0, is_anomaly=True, warming=False, contributions=[CAUSE])
    told = [Told(found, peak) for found in detections[0].verdict.found]
    return Report(
        title="A & B",
        run="ran",
        detections=detections,
        machines=machines,
        alarm_rate=0.005,
        told=told,
        story=told,
        next_commands="a > b",
    )


def test_the_page_is_whole_and_fetches_nothing(machines: Machines) -> None:
    assert_whole_and_fetching_nothing(page(report(machines)))


def test_the_page_tells_found_and_missed_and_escapes_names(machines: Machines) -> None:
    text = page(report(machines))
    assert "A &amp; B" in text
    assert "&lt;z&gt;" in text
    assert "found after 25 min" in text
    assert ">missed<" in text
    assert "1 of 2" in text


def test_the_page_says_what_the_labels_were_used_for_and_how_often_normal_events_raised_an_alarm(
    machines: Machines,
) -> None:
    text = page(report(machines))
    assert HOW_FAIR in text
    assert "Outside incidents 0.8 % of the events raised an alarm, where the alarm rate is 0.5 %" in text


def test_every_colour_of_the_drawings_is_one_that_the_page_defines_for_light_and_dark(machines: Machines) -> None:
    assert_colours_are_of_the_page(page(report(machines)))


def test_the_same_scores_give_the_same_drawing(machines: Machines) -> None:
    assert scores_svg(detection(machines), machines, []) == scores_svg(detection(machines), machines, [])


def test_the_picture_is_a_png(machines: Machines, tmp_path: Path) -> None:
    path = tmp_path / "report.png"
    whole = report(machines)
    write_png(path, whole.detections, machines, whole.story, title="title")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_higher_threshold_finds_no_more_incidents(machines: Machines) -> None:
    found = [trade.incidents_found for trade in trades(detection(machines), machines, [0.1, 1.0, 3.0])]
    assert found == [2, 1, 0]
