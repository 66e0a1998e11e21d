import json

from tests.demo_kafka import count
from tests.log_record import LogRecord


def event(offset: int) -> LogRecord:
    return LogRecord("events", 0, offset, 0, b"a", b"{}")


def score(offset: int) -> LogRecord:
    return LogRecord("scores", 0, offset, 0, b"a", json.dumps({"id": f"events-0-{offset}"}).encode())


def dead(offset: int) -> LogRecord:
    place = {"topic": b"events", "partition": b"0", "offset": str(offset).encode()}
    headers = tuple((f"__streams.errors.{name}", value) for name, value in place.items())
    return LogRecord("dead", 0, offset, 0, b"a", b"", headers)


def test_an_answer_for_every_event_is_neither_lost_nor_doubled() -> None:
    tally = count([event(0), event(1)], [score(0)], [dead(1)])
    assert str(tally) == "events in 2   scored 1   dead 1   lost 0   doubled 0"


def test_an_event_without_an_answer_is_lost() -> None:
    assert count([event(0), event(1)], [score(1)], []).lost == 1


def test_an_event_that_is_answered_twice_is_doubled_also_when_one_answer_is_a_dead_letter() -> None:
    assert count([event(0)], [score(0), score(0)], [dead(0)]).doubled == 2
