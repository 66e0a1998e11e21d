"""A campaign of chaos runs counts kills in a file, goes on where it was cut, and ends with the first unclean run."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from tests.chaos import campaign


def runs_that_end(monkeypatch: pytest.MonkeyPatch, code: int, *, kills: int = 4) -> None:
    def command(seed: int, **_: object) -> list[str]:
        line = {"seed": seed, "aimed": {"kill": kills}, "witnesses": []}
        return [sys.executable, "-c", f"print({json.dumps(line)!r}); raise SystemExit({code})"]

    monkeypatch.setattr(campaign, "command", command)


def test_runs_follow_until_the_kills_are_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text('{"seed": 7, "aimed": {"kill": 100}}\n')  # a run by hand
    runs_that_end(monkeypatch, 0)
    assert campaign.main(["--record", str(path), "--kills", "5"]) == 0
    assert [run["seed"] for run in campaign.recorded(path)] == [1_000, 1_001]
    assert campaign.main(["--record", str(path), "--kills", "9"]) == 0
    assert [run["seed"] for run in campaign.recorded(path)] == [1_000, 1_001, 1_002]


def test_an_unclean_run_ends_it_and_is_not_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    runs_that_end(monkeypatch, 1)
    assert campaign.main(["--record", str(path), "--kills", "5"]) == 1
    assert campaign.recorded(path) == []


def test_several_run_at_once_with_seeds_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    runs_that_end(monkeypatch, 0)
    assert campaign.main(["--record", str(path), "--kills", "16", "--at-once", "3"]) == 0
    seeds = sorted(int(str(run["seed"])) for run in campaign.recorded(path))
    assert seeds == list(range(1_000, 1_000 + len(seeds)))
    assert campaign.kills_in(campaign.recorded(path)) >= 16


def test_sigterm_ends_the_runs_that_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(campaign, "command", lambda *_, **__: sleeping)
    threading.Timer(1.0, os.kill, [os.getpid(), signal.SIGTERM]).start()
    assert campaign.main(["--record", str(path), "--kills", "5", "--at-once", "2"]) == 1
    assert campaign.recorded(path) == []


def test_a_broker_that_is_alone_is_not_killed() -> None:
    alone, three = (campaign.command(seed, minutes=1, kills=1) for seed in (1_000, 1_003))
    assert alone[alone.index("--without") + 1] == "broker killed"
    assert three[three.index("--brokers") + 1] == "3"
    assert "--without" not in three
