"""What is told of the last minute: counts over a minute, few alarms, whatever comes."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from worker.batch import TopicPartition
from worker.metrics import Answered
from worker.recently import LATEST_ALARMS, SPAN_S, Recently

PLACE = TopicPartition("events", 0)


def record(entity: str, *, features: Sequence[str] = ("x",)) -> bytes:
    contributions = [{"feature": name, "share": 1.0, "value": None, "expected": 2.5} for name in features]
    about = {"entity": entity, "event_time": 7, "score": 1.5, "contributions": contributions, "context": {"a": [1, {}]}}
    return json.dumps(about).encode()


def answered(scored: int = 0, *, alarms: Sequence[bytes] = (), **about: object) -> Answered:
    nothing = {
        "skipped": 0,
        "reasons": (),
        "warming": 0,
        "unknown_entities": 0,
        "missing": {},
        "timestamps_ms": np.zeros(0, np.int64),
    }
    return Answered(**nothing | {"scored": scored, "alarms": alarms, "anomalies": len(alarms)} | about)


def tick(recently: Recently, now_s: float, *, lag: int = 0) -> None:
    recently.position(lag={PLACE: lag}, refill_remaining={PLACE: 3}, entities=4, now_s=now_s)


@pytest.fixture
def recently() -> Recently:
    return Recently()


def test_before_anything_happens_there_is_nothing_to_tell(recently: Recently) -> None:
    lately = recently.lately
    assert (lately.span_s, lately.records, lately.alarms, dict(lately.lag)) == (0.0, 0, (), {})


def test_counts_are_of_the_last_minute(recently: Recently) -> None:
    tick(recently, 0.0)
    recently.committed(answered(1000, reasons=["empty"] * 10, skipped=5))
    tick(recently, 10.0, lag=9)
    lately = recently.lately
    assert (lately.span_s, lately.records, lately.scored) == (10.0, 1015, 1000)
    assert (lately.lag, lately.refill_remaining, lately.entities) == ({PLACE: 9}, {PLACE: 3}, 4)
    recently.committed(answered(50))
    tick(recently, 10.0 + SPAN_S)
    assert (recently.lately.span_s, recently.lately.scored) == (SPAN_S, 50)


def test_however_long_it_runs_little_is_kept(recently: Recently) -> None:
    for second in range(1000):
        for _ in range(3):
            recently.committed(answered(100, alarms=[record(f"e-{second}")] * 15))
        tick(recently, float(second))
    assert len(recently._minute) <= SPAN_S + 1
    assert len(recently.lately.alarms) == LATEST_ALARMS
    assert recently._unread == ()


def test_the_newest_alarm_comes_first_with_the_features_that_weigh_most(recently: Recently) -> None:
    recently.committed(answered(2, alarms=[record("first"), record("second", features="abcdefgh")]))
    recently.committed(answered(1, alarms=[record("third")]))
    assert recently.lately.alarms == ()
    tick(recently, 1.0)
    recently.committed(answered(1, alarms=[record("fourth")]))
    tick(recently, 2.0)
    alarms = recently.lately.alarms
    assert [alarm.entity for alarm in alarms] == ["fourth", "third", "second", "first"]
    assert [contribution.feature for contribution in alarms[2].contributions] == list("abcde")
    assert (alarms[0].score, alarms[0].event_time, alarms[0].contributions[0].expected) == (1.5, 7, 2.5)
