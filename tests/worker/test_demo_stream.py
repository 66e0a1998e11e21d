import io
import json
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from confluent_kafka import Producer
from rich.console import Console

from worker.demo.cluster import PARTITIONS, embedded_cluster
from worker.demo.machines import Machines, Rows
from worker.demo.scoreboard import Scoreboard
from worker.demo.stream import Player, events
from worker.demo.watch import ScoreReader, watch
from worker.errors import WorkerError


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    with embedded_cluster(["events", "scores", "other", "empty"]) as address:
        yield address


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def machines() -> Machines:
    rows = Rows(
        time=["2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"],
        time_ms=np.array([0, 300_000]),
        values=np.array([[0.49, 1.0], [0.5, 0.0]], np.float32),
    )
    return Machines((), ("cpu", "memory"), train={}, test={"a": rows, "b": rows}, incidents=())


def score_of(event: bytes, *, number: int) -> bytes:
    """What a worker would say."""
    record = {"id": f"events-0-{number}", "entity": json.loads(event)["server"], "event_time": number, "score": 1.5}
    return json.dumps({**record, "is_anomaly": True, "warming": False, "contributions": []}).encode()


def test_events_come_by_time_with_every_server_at_each_moment() -> None:
    played = [(key, json.loads(value)) for key, value in events(machines())]
    assert [(key, event["time"][-9:-1]) for key, event in played] == [
        (b"a", "00:00:00"),
        (b"b", "00:00:00"),
        (b"a", "00:05:00"),
        (b"b", "00:05:00"),
    ]
    assert played[0][1] == {"server": "a", "time": "2026-01-01T00:00:00Z", "cpu": 0.49, "memory": 1.0}


def test_the_embedded_cluster_has_the_topics_that_were_asked_for(bootstrap: str) -> None:
    topics = Producer({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics
    assert {name: len(topic.partitions) for name, topic in topics.items()} == dict.fromkeys(
        ["events", "scores", "other", "empty"], PARTITIONS
    )


def test_a_player_keeps_its_pace(bootstrap: str) -> None:
    clock = Clock()
    source = ((b"key", b"%d" % number) for number in range(1000))
    player = Player(bootstrap, "other", source, events_per_s=100, clock=clock)
    player.turn()
    clock.now_s += 2
    player.turn()
    assert 200 <= player.played <= 210
    assert not player.finished
    clock.now_s += 60
    player.turn()
    assert (player.played, player.finished) == (1000, True)
    assert player.flush(10) == 0


def test_watching_ends_when_every_played_event_is_scored_and_shows_it_in_plain_lines(bootstrap: str) -> None:
    worker = Producer({"bootstrap.servers": bootstrap})
    scores = (score_of(value, number=number) for number, (_, value) in enumerate(events(machines())))
    player = Player(bootstrap, "events", events(machines()), events_per_s=1000)
    board = Scoreboard(["a", "b"])
    output = io.StringIO()

    def score_one() -> None:
        for score in scores:
            worker.produce("scores", score)
            worker.flush()
            return

    with closing(ScoreReader(bootstrap, "scores")) as reader:
        watch(player, reader, board, console=Console(file=output), each_turn=score_one)
    assert board.scored == player.played == 4
    assert "4 events in,      4 scored,    4 alarms" in output.getvalue()


def test_watching_shows_a_table_in_a_terminal(bootstrap: str) -> None:
    player = Player(bootstrap, "empty", iter(()), events_per_s=1000)
    output = io.StringIO()
    with closing(ScoreReader(bootstrap, "empty")) as reader:
        console = Console(file=output, force_terminal=True, width=120)
        watch(player, reader, Scoreboard(["a", "b"]), console=console, each_turn=lambda: None)
    assert "latest score" in output.getvalue()


def test_watching_ends_with_the_worker(bootstrap: str) -> None:
    def worker_died() -> None:
        raise WorkerError("the worker ended")

    player = Player(bootstrap, "other", iter([(b"a", b"event")]), events_per_s=1000)
    with closing(ScoreReader(bootstrap, "empty")) as reader, pytest.raises(WorkerError, match="the worker ended"):
        watch(player, reader, Scoreboard(["a"]), console=Console(file=io.StringIO()), each_turn=worker_died)
