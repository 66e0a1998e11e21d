from worker.demo.machines import Incident, epoch_ms
from worker.demo.scoreboard import Scored
from worker.demo.story import Told, line, three
from worker.demo.verdict import Found
from worker.recently import Contribution

START_MS = epoch_ms("2026-02-02T15:00:00Z")
MINUTE_MS = 60_000


def told(server: str = "a", *, minutes: int = 60, alarm_after: int | None = None, peak: float = 0.9) -> Told:
    incident = Incident(server, START_MS, START_MS + minutes * MINUTE_MS, ("cpu",))
    alarm_ms = None if alarm_after is None else START_MS + alarm_after * MINUTE_MS
    contributions = [Contribution("cpu", 0.7, 0.97, 0.41)]
    scored = Scored("id", server, START_MS, peak, peak > 1, warming=False, contributions=contributions)
    return Told(Found(incident, alarm_ms), scored)


def test_a_found_incident_is_told_with_when_which_feature_value_and_expected() -> None:
    assert line(told(alarm_after=25, peak=2.5)) == (
        "a, 02 Feb 15:00 to 16:00: alarm after 25 min; highest score 2.50, led by cpu: 0.97 where 0.41 was "
        "expected (the experts blame it too)."
    )


def test_a_missed_incident_says_so_and_how_near_it_came() -> None:
    text = line(told(minutes=1440, peak=0.9))
    assert text.startswith("a, 02 Feb 15:00 to 03 Feb 15:00: missed; highest score 0.90, led by cpu")


def test_a_feature_that_the_experts_do_not_name_is_not_called_right() -> None:
    incident = Incident("a", START_MS, START_MS, ("memory",))
    assert "the experts blame others" in line(Told(Found(incident, START_MS), told(peak=2).peak))


def test_an_incident_without_an_explained_score_is_still_told() -> None:
    assert line(Told(told().found, None)) == "a, 02 Feb 15:00 to 16:00: missed, not explained."


def test_three_are_the_clearest_the_shortest_of_another_server_and_the_longest_missed() -> None:
    clearest = told("a", alarm_after=5, peak=3)
    shortest = told("b", alarm_after=5, peak=2, minutes=10)
    longest_missed = told("a", minutes=600)
    rest = [told("a", alarm_after=0, peak=1.5, minutes=5), told("b", alarm_after=0, peak=1.1), told("b", minutes=30)]
    assert three([*rest, longest_missed, shortest, clearest]) == [clearest, shortest, longest_missed]


def test_where_nothing_was_missed_only_found_incidents_are_told() -> None:
    assert three([told(alarm_after=5, peak=2)]) == [told(alarm_after=5, peak=2)]
    assert three([]) == []
