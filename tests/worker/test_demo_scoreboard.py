import json

import numpy as np

from worker.demo.machines import Rows
from worker.demo.scoreboard import Scoreboard


def record(offset: int, *, server: str = "a", score: float = 0.5, warming: bool = False) -> bytes:
    contribution = {"feature": "x", "share": 0.6, "value": None, "expected": 0.4, "rows_ago": 0}
    return json.dumps(
        {
            "schema_version": 1,
            "id": f"events-0-{offset}",
            "entity": server,
            "event_time": offset * 1000,
            "score": score,
            "is_anomaly": score > 1 and not warming,
            "warming": warming,
            "contributions": [contribution],
            "a_field_of_tomorrow": 1,
        }
    ).encode()


def test_records_are_counted_by_server() -> None:
    board = Scoreboard(["a", "b"])
    board.add([record(0), record(1, score=1.5), record(2, server="b")])
    assert (board.scored, board.alarms) == (3, 1)
    assert [standing.scored for standing in board.standings.values()] == [2, 1]
    assert board.standings["a"].latest_alarm.score == 1.5


def test_a_record_that_comes_again_is_counted_once_and_reported() -> None:
    board = Scoreboard(["a"])
    board.add([record(0, score=1.5), record(0, score=1.5)])
    assert (board.scored, board.alarms, board.repeated) == (1, 1, 1)


def test_scores_come_in_the_order_of_the_rows_with_gaps_where_there_is_none() -> None:
    board = Scoreboard(["a"])
    board.add([record(3, score=1.5), record(1, score=0.25), record(0, score=9, warming=True)])
    rows = Rows(time=[""] * 4, time_ms=np.arange(4) * 1000, values=np.zeros((4, 1), np.float32))
    score, raised = board.scores("a", rows)
    np.testing.assert_array_equal(score, [np.nan, 0.25, np.nan, 1.5])
    assert raised.tolist() == [False, False, False, True]
