"""Incidents, delays, episodes and rates of alarms, on rows that can be counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export import alarm_rate
from export.alarm_rate import AlarmCounts, covered_by, observed_days, parts_of, saw_incident
from export.incidents import count_incidents, together
from worker.demo.machines import Incident
from worker.demo.verdict import Alarms, judge

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


def rows(text: str) -> np.ndarray:
    """`..X` = two rows that are not, one that is."""
    return np.array([letter == "X" for letter in text])


def count_alarms(
    label: np.ndarray, alarm: np.ndarray, warming: np.ndarray, time_ms: np.ndarray | None, *, window: int = 1
) -> AlarmCounts:
    """Of one entity whose windows hold up to so many rows."""
    length = np.minimum(np.arange(len(label)) + 1, window)
    part, touched = parts_of(time_ms, [slice(0, len(label))]), saw_incident(label, length)
    return alarm_rate.count_alarms(label, alarm, warming, time_ms, part=part, touched=touched)


def test_an_incident_is_found_by_an_alarm_inside_and_by_no_other() -> None:
    label, alarm = rows(".XX..XXX..XX"), rows("X..X..XX....")
    counts = count_incidents(label, alarm, None)
    assert (counts.incidents, counts.found, counts.recall) == (3, 1, 1 / 3)
    assert counts.delay_rows == (1,)
    assert counts.delay_ms is None
    assert counts.median_delay_s is None


def test_without_times_an_episode_is_alarms_in_consecutive_rows() -> None:
    counts = count_incidents(rows("...XX......"), rows("XX.XX.X.XXX"), None)
    assert (counts.episodes, counts.false_episodes, counts.precision) == (4, 3, 0.25)


def test_with_times_alarms_at_most_an_hour_apart_are_one_episode() -> None:
    times = np.array([0, 60, 121, 122]) * MINUTE_MS
    counts = count_incidents(rows("...."), rows("XXXX"), times)
    assert (counts.episodes, counts.false_episodes) == (2, 2)
    assert count_incidents(rows("...."), rows("XXXX"), times, gap_ms=61 * MINUTE_MS).episodes == 1


def test_an_episode_that_touches_an_incident_is_not_false() -> None:
    counts = count_incidents(rows("...X"), rows("XXXX"), np.arange(4) * MINUTE_MS)
    assert (counts.episodes, counts.false_episodes, counts.precision) == (1, 0, 1.0)


def test_a_delay_is_the_time_from_the_first_row_to_the_first_alarm() -> None:
    counts = count_incidents(rows(".XXX.XX"), rows("...X.X."), np.array([0, 5, 10, 20, 25, 30, 40]) * MINUTE_MS)
    assert counts.delay_ms == (15 * MINUTE_MS, 0)
    assert (counts.median_delay_s, counts.median_delay_rows) == (450.0, 1.0)


def test_where_there_is_nothing_no_share_is_told() -> None:
    counts = count_incidents(rows("..."), rows("..."), None)
    assert (counts.recall, counts.precision, counts.median_delay_rows) == (None, None, None)


def test_counts_of_entities_add_up() -> None:
    one = count_incidents(rows(".X."), rows(".XX"), np.arange(3) * MINUTE_MS)
    other = count_incidents(rows("X.."), rows("..X"), np.arange(3) * MINUTE_MS)
    both = together([one, other])
    assert (both.incidents, both.found, both.episodes, both.false_episodes, both.delay_ms) == (2, 1, 2, 1, (0,))


@given(data=st.data(), size=st.integers(1, 40))
def test_the_counts_are_those_of_the_demo(data: st.DataObject, size: int) -> None:
    label, alarm = (np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size))) for _ in range(2))
    times = np.cumsum(data.draw(st.lists(st.integers(1, 100), min_size=size, max_size=size))) * MINUTE_MS
    padded = np.r_[False, label, False]
    begins, ends = np.flatnonzero(padded[1:-1] & ~padded[:-2]), np.flatnonzero(padded[1:-1] & ~padded[2:])
    known = [Incident("s", int(times[begin]), int(times[end]), ()) for begin, end in zip(begins, ends, strict=True)]
    wanted = judge({"s": Alarms(times, alarm)}, known)
    counts = count_incidents(label, alarm, times)
    alarms = count_alarms(label, alarm, np.zeros(size, dtype=np.bool_), times)
    assert (counts.incidents, counts.found) == (len(known), wanted.incidents_found)
    assert (counts.episodes, counts.false_episodes) == (len(wanted.episodes), wanted.false_episodes)
    assert (alarms.true_alarms, sum(alarms.false_alarms)) == (wanted.true_alarms, wanted.false_alarms)
    assert alarms.entity_days == pytest.approx(wanted.server_days)
    median_min = None if counts.median_delay_s is None else counts.median_delay_s / 60
    assert median_min == pytest.approx(wanted.median_delay_min)


def test_the_false_alarm_rate_is_told_in_all_and_for_each_tenth() -> None:
    alarm = np.zeros(100, dtype=np.bool_)
    alarm[[5, 95, 96, 99]] = True
    label = np.zeros(100, dtype=np.bool_)
    label[[80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 99]] = True
    counts = count_alarms(label, alarm, np.zeros(100, dtype=np.bool_), np.arange(100) * HOUR_MS)
    assert counts.false_alarm_rate == 3 / 89
    assert counts.false_alarm_rate_over_time == (0.1, *[0.0] * 7, None, 2 / 9)
    assert (counts.precision, counts.recall) == (0.25, 1 / 11)
    assert counts.alarms_a_day == pytest.approx(4 * 24 / 100)


def test_tenths_are_of_the_time_of_all_entities_together() -> None:
    """A busy day of one entity, and ten days of another: the first day is the first tenth of both."""
    busy, calm = np.arange(24) * HOUR_MS, np.arange(10) * 24 * HOUR_MS + HOUR_MS
    entities = [slice(0, 24), slice(24, 34)]
    part = parts_of(np.r_[busy, calm], entities)
    assert part[entities[0]].max() <= 1
    assert part[entities[1]].tolist() == list(range(10))
    assert parts_of(None, entities)[entities[0]].tolist() == sorted(10 * place // 24 for place in range(24))


def test_rows_of_one_moment_are_all_in_the_first_tenth() -> None:
    assert parts_of(np.array([7, 7]), [slice(0, 2)]).tolist() == [0, 0]


def test_alarms_while_windows_still_hold_an_incident_are_told_apart() -> None:
    label, alarm = rows("....XX........"), rows("....XXXXX....X")
    counts = count_alarms(label, alarm, rows("." * 14), None, window=4)
    assert counts.false_alarm_rate == 4 / 12
    assert (sum(counts.clear_rows), counts.clear_rate) == (9, 1 / 9)
    assert counts.clear_rate_over_time[-1] == counts.false_alarm_rate_over_time[-1] == 1.0
    alone = count_alarms(label, alarm, rows("." * 14), None, window=1)
    assert alone.clear_rate == alone.false_alarm_rate


def test_a_window_that_is_cut_holds_no_incident_before_the_cut() -> None:
    length = np.array([1, 2, 3, 1, 2, 3])
    assert saw_incident(rows(".X...."), length).tolist() == rows(".XX...").tolist()
    assert saw_incident(rows("......"), length).tolist() == rows("......").tolist()


def test_windows_cover_the_rows_before_their_last() -> None:
    assert covered_by(rows("...XX.."), np.array([1, 2, 3, 3, 2, 3, 3])).tolist() == rows(".XXXX..").tolist()
    assert covered_by(rows("......."), np.ones(7, dtype=np.int64)).tolist() == rows(".......").tolist()


def test_warming_rows_are_no_part_of_the_promise() -> None:
    none, warming = rows("..........")[:4], rows("XX..")
    assert sum(count_alarms(none, none, warming, None).normal_rows) == 2


def test_rates_of_entities_add_up_part_by_part() -> None:
    one = count_alarms(rows("." * 10), rows("X" + "." * 9), rows("." * 10), np.arange(10) * HOUR_MS)
    both = alarm_rate.together([one, one])
    assert both.false_alarm_rate_over_time[0] == 1.0
    assert both.entity_days == pytest.approx(20 / 24)
    assert alarm_rate.together([one, count_alarms(rows("."), rows("."), rows("."), None)]).alarms_a_day is None


def test_one_row_tells_nothing_of_how_long_an_entity_was_observed() -> None:
    assert observed_days(np.array([5])) == 0.0
    assert count_alarms(rows("."), rows("X"), rows("."), np.array([5])).alarms_a_day is None
