"""The page `/`: whole, fetching nothing, telling what there is, and safe whatever entities are called."""

import base64
import hashlib
import re
from dataclasses import replace

import pytest

from tests.pages import assert_whole_and_fetching_nothing
from worker.batch import TopicPartition
from worker.overview import About, Overview
from worker.probes import Health, Page
from worker.recently import Alarm, Contribution, Lately

ABOUT = About(
    version="1.2.3",
    model="machine version 3 (4be1d0a97c35)",
    detector="ae, 8 features, windows of 32",
    alarm_rate=0.001,
    threshold=1.0,
    provider="cpu: no GPU was found",
    group="machine-anomalies",
    inputs=["machine-events"],
    output="machine-scores",
    dead_letters="machine-dead-letters",
    delivery="exactly-once",
)
ALARM = Alarm(
    "press-7",
    1_700_000_000_000,
    1.834,
    (Contribution("temperature", 0.62, 97.0, 71.2), Contribution("pressure", 0.31, None, 2.9)),
)
LATELY = Lately(
    span_s=60.0,
    records=600_000,
    scored=500_000,
    anomalies=1_000,
    entities=1_234,
    lag={TopicPartition("machine-events", number): 1000 * number for number in range(4)},
    refill_remaining={TopicPartition("machine-events", 2): 77},
    alarms=(ALARM,),
)


@pytest.fixture
def health() -> Health:
    health = Health()
    health.turned(ready=True)
    return health


def page(health: Health, lately: Lately = LATELY) -> Page:
    return Overview(ABOUT, health, lambda: lately)()


def text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL))


def test_it_is_whole_and_fetches_nothing(health: Health) -> None:
    assert_whole_and_fetching_nothing(page(health).html)
    assert " style=" not in page(health).html


def test_a_browser_applies_its_style_and_nothing_else(health: Health) -> None:
    shown = page(health)
    (style,) = re.findall(r"<style>(.*?)</style>", shown.html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    directives = dict(part.strip().split(" ", 1) for part in shown.security_policy.split(";"))
    assert directives.pop("style-src") == f"'sha256-{digest}'"
    assert set(directives.values()) == {"'none'"}


def test_it_tells_how_fast_how_far_behind_and_how_many_alarms(health: Health) -> None:
    told = text(page(health).html)
    assert "10,000 events a second" in told
    assert "6,000 events behind, in 4 partitions" in told
    assert "1,000 alarms in the last minute, 0.2 % of the scores; promised 0.1 %" in told
    assert "1,234 entities" in told
    assert "machine-events-3 3,000 0 machine-events-2 2,000 77" in told


def test_an_alarm_names_its_entity_and_what_it_is_blamed_on(health: Health) -> None:
    told = text(page(health).html)
    assert "2023-11-14 22:13:20 press-7 1.83" in told
    assert "62% temperature 97, expected 71.2" in re.sub(r"\s+,", ",", told)
    assert "31% pressure missing, expected 2.9" in re.sub(r"\s+,", ",", told)


def test_it_tells_what_runs(health: Health) -> None:
    told = text(page(health).html)
    for value in (ABOUT.version, ABOUT.model, ABOUT.provider, ABOUT.output, ABOUT.delivery, "ready"):
        assert value in told


def test_a_worker_that_is_not_ready_says_so(health: Health) -> None:
    health.turned(ready=False)
    assert "joining, refilling or ending" in text(page(health).html)


def test_before_anything_happens_it_says_that(health: Health) -> None:
    nothing = replace(LATELY, span_s=0.0, records=0, scored=0, anomalies=0, lag={}, refill_remaining={}, alarms=())
    told = text(page(health, nothing).html)
    assert "None since this worker started." in told
    assert "still joining" in told
    assert "? events a second" in told


def test_names_are_shown_and_never_obeyed(health: Health) -> None:
    hostile = '<script>alert(1)</script>" onload="x\u202e' + "a" * 500
    alarm = replace_alarm(entity=hostile, feature="<img src=x>")
    shown = page(health, replace(LATELY, alarms=(alarm,))).html
    assert_whole_and_fetching_nothing(shown.replace("&lt;script&gt;", "").replace("&lt;/script&gt;", ""))
    assert "<script" not in shown
    assert "<img" not in shown
    assert "a" * 100 not in shown
    assert "<bdi>&lt;script&gt;" in shown


def replace_alarm(*, entity: str, feature: str) -> Alarm:
    return Alarm(entity, ALARM.event_time, 9.0, (Contribution(feature, 2.0, 1e300, float("-inf")),))


def test_many_partitions_are_cut_where_they_are_least_behind(health: Health) -> None:
    many = {TopicPartition("events", number): number for number in range(1000)}
    told = text(page(health, replace(LATELY, lag=many)).html)
    assert "events-999 999" in told
    assert "events-949 " not in told
    assert "And 950 that are no further behind." in told


def test_a_score_that_is_not_explained_says_so(health: Health) -> None:
    alarm = Alarm("press-7", 0, 2.0, ())
    assert "not explained" in text(page(health, replace(LATELY, alarms=(alarm,))).html)
