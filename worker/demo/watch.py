"""Plays the stream and reads the scores beside each other, with a live table for people and plain lines for pipes."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from rich.console import Console
from rich.live import Live
from rich.table import Table

from worker.demo.scoreboard import Scoreboard, Standing
from worker.demo.stream import Player
from worker.errors import WorkerError

STALLED_S = 30.0
"""Without a new score for this long, something is broken."""

PLAIN_LINE_EVERY_S = 2.0


class ScoreReader:
    """Reads the score topic from its beginning, committed records only; owns the consumer."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "anomaly-worker-demo-viewer",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",  # or it would see records of aborted transactions
                "fetch.wait.max.ms": 50,
                "log_level": 0,
            }
        )
        partitions = self._consumer.list_topics(topic, timeout=10).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])

    def read(self, timeout_s: float) -> list[bytes]:
        """The values that have come."""
        messages = self._consumer.consume(2000, timeout_s)
        return [value for message in messages if message.error() is None and (value := message.value()) is not None]

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()


def watch(
    player: Player,
    reader: ScoreReader,
    board: Scoreboard,
    *,
    console: Console,
    each_turn: Callable[[], None],
) -> None:
    """Until every played event is scored. `each_turn` is called often and may raise. Raises WorkerError on a stall."""
    progress_s = time.monotonic()
    with _display(console, player, board) as refresh:
        while not (player.finished and board.scored >= player.played):
            each_turn()
            player.turn()
            before = board.scored
            board.add(reader.read(0.05))
            now_s = time.monotonic()
            progress_s = now_s if board.scored > before else progress_s
            if now_s - progress_s > STALLED_S:
                raise WorkerError(
                    f"no score has come for {STALLED_S:.0f} s: {board.scored:,} of {player.played:,} events are scored"
                )
            refresh()


@contextmanager
def _display(console: Console, player: Player, board: Scoreboard) -> Iterator[Callable[[], None]]:
    if console.is_terminal:
        with Live(console=console, refresh_per_second=10) as live:
            yield lambda: live.update(table(player.played, board))
            live.update(table(player.played, board), refresh=True)
    else:
        yield _PlainLines(console, player, board)
        console.print(_line(player, board))


class _PlainLines:
    """A line now and then, where there is no terminal to redraw."""

    def __init__(self, console: Console, player: Player, board: Scoreboard) -> None:
        self._console, self._player, self._board = console, player, board
        self._next_s = 0.0

    def __call__(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + PLAIN_LINE_EVERY_S
            self._console.print(_line(self._player, self._board))


def _line(player: Player, board: Scoreboard) -> str:
    return f"  {player.played:>6,} events in, {board.scored:>6,} scored, {board.alarms:>4,} alarms"


def table(played: int, board: Scoreboard) -> Table:
    """The six servers so far. Every server gets the same share of the stream."""
    view = Table(title=f"{played:,} events in, {board.scored:,} scored", title_justify="left")
    view.add_column("server")
    for column in ("events", "scored", "alarms", "latest score"):
        view.add_column(column, justify="right")
    view.add_column("latest alarm")
    for server, standing in board.standings.items():
        view.add_row(server, *_cells(played // len(board.standings), standing))
    return view


def _cells(played: int, standing: Standing) -> Sequence[str]:
    latest = standing.latest
    score = "" if latest is None else f"[bold red]{latest.score:.2f}[/]" if latest.is_anomaly else f"{latest.score:.2f}"
    return (f"{played:,}", f"{standing.scored:,}", f"{standing.alarms:,}", score, _latest_alarm(standing))


def _latest_alarm(standing: Standing) -> str:
    alarm = standing.latest_alarm
    if alarm is None or not alarm.contributions:
        return ""
    top = alarm.contributions[0]
    if top.value is None or top.expected is None:
        return top.feature
    return f"{top.feature}: {top.value:.2f}, expected {top.expected:.2f}"
