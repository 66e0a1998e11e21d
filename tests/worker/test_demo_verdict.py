import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.demo.machines import Incident
from worker.demo.verdict import Alarms, judge, kept_promise

MINUTE_MS = 60_000
STEP_MS = 5 * MINUTE_MS


def alarms_at(*rows: int, events: int = 288) -> Alarms:
    raised = np.zeros(events, dtype=np.bool_)
    raised[list(rows)] = True
    return Alarms(np.arange(events) * STEP_MS, raised)


def incident(first_row: int, last_row: int, server: str = "a") -> Incident:
    return Incident(server, first_row * STEP_MS, last_row * STEP_MS, ())


def test_an_incident_is_found_by_an_alarm_on_its_first_or_its_last_event() -> None:
    for row in (10, 20):
        assert judge({"a": alarms_at(row)}, [incident(10, 20)]).incidents_found == 1


def test_an_alarm_just_before_or_just_after_an_incident_does_not_find_it() -> None:
    for row in (9, 21):
        assert judge({"a": alarms_at(row)}, [incident(10, 20)]).incidents_found == 0


def test_an_alarm_on_another_server_does_not_find_an_incident() -> None:
    verdict = judge({"a": alarms_at(), "b": alarms_at(15)}, [incident(10, 20, "a")])
    assert verdict.incidents_found == 0
    assert verdict.false_episodes == 1


def test_one_alarm_in_a_long_incident_counts_as_one_event_of_recall() -> None:
    verdict = judge({"a": alarms_at(15)}, [incident(10, 19)])
    assert verdict.recall == pytest.approx(0.1)
    assert verdict.precision == 1.0


def test_alarms_outside_incidents_are_counted_among_the_events_outside() -> None:
    verdict = judge({"a": alarms_at(5, 15, events=100)}, [incident(10, 59)])
    assert verdict.false_alarm_share == pytest.approx(1 / 50)


def test_an_alarm_rate_is_told_beside_what_came_of_it() -> None:
    verdict = judge({"a": alarms_at(5, 15, events=100)}, [incident(10, 59)])
    assert kept_promise(verdict, alarm_rate=0.005).startswith(
        "Outside incidents 2.0 % of the events raised an alarm, where the alarm rate is 0.5 %"
    )


def test_alarms_an_hour_apart_are_one_episode_and_later_ones_another() -> None:
    verdict = judge({"a": alarms_at(10, 22, 35)}, [])
    assert [episode.alarms for episode in verdict.episodes] == [2, 1]


def test_an_episode_that_touches_an_incident_is_not_false_though_most_of_its_alarms_are() -> None:
    verdict = judge({"a": alarms_at(20, 21, 22, 23)}, [incident(10, 20)])
    assert verdict.false_episodes == 0
    assert verdict.precision == pytest.approx(0.25)


def test_false_episodes_are_counted_for_each_server_and_day() -> None:
    two_days = {"a": alarms_at(10, 200, events=576), "b": alarms_at(events=576)}
    assert judge(two_days, []).false_episodes_a_day == pytest.approx(2 / 4)


def test_the_delay_is_the_median_over_incidents_that_were_found() -> None:
    verdict = judge({"a": alarms_at(12, 50)}, [incident(10, 20), incident(50, 60), incident(70, 80)])
    assert verdict.median_delay_min == pytest.approx(5)


def test_a_silent_detector_found_nothing_and_has_no_delay() -> None:
    verdict = judge({"a": alarms_at()}, [incident(10, 20)])
    assert (verdict.precision, verdict.recall, verdict.incidents_found, verdict.median_delay_min) == (0, 0, 0, None)


@given(st.lists(st.booleans(), min_size=2, max_size=200), st.lists(st.tuples(st.integers(0, 199), st.integers(0, 20))))
def test_every_alarm_is_true_or_false_and_belongs_to_one_episode(
    raised: list[bool], stretches: list[tuple[int, int]]
) -> None:
    said = Alarms(np.arange(len(raised)) * STEP_MS, np.array(raised))
    verdict = judge({"a": said}, [incident(first, first + length) for first, length in stretches])
    assert verdict.true_alarms + verdict.false_alarms == sum(raised)
    assert sum(episode.alarms for episode in verdict.episodes) == sum(raised)
    assert verdict.false_episodes <= verdict.false_alarms
