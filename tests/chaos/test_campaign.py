"""A campaign of chaos runs counts kills in a file, goes on where it was cut, and ends with the first unclean run."""

import json
import os
import re
import signal
import sys
import threading
from pathlib import Path

import pytest

from tests.broker import CHECKOUT
from tests.chaos import campaign
from tests.chaos.plan import FAULTS, usual_faults
from worker.failpoints import NAMES

PAGE = " ".join((CHECKOUT / "docs" / "reliability.md").read_text(encoding="utf-8").split())


def runs_that_end(monkeypatch: pytest.MonkeyPatch, code: int, *, kills: int = 4) -> None:
    def command(seed: int, **_: object) -> list[str]:
        line = {"seed": seed, "aimed": {"kill": kills}, "witnesses": ["a record lost"] * code}
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


def test_an_unclean_run_ends_it_and_its_seed_is_run_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    runs_that_end(monkeypatch, 1)
    assert campaign.main(["--record", str(path), "--kills", "5"]) == 1
    assert campaign.kills_in(campaign.recorded(path)) == 0
    runs_that_end(monkeypatch, 0)
    assert campaign.main(["--record", str(path), "--kills", "5"]) == 0
    assert [(run["seed"], campaign.is_clean(run)) for run in campaign.recorded(path)] == [
        *[(1_000, False), (1_000, True), (1_001, True)],
    ]


def test_a_run_that_breaks_off_ends_it_too_and_leaves_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    monkeypatch.setattr(campaign, "command", lambda seed, **_: [sys.executable, "-c", "raise SystemExit(9)"])
    assert campaign.main(["--record", str(path), "--kills", "5"]) == 1
    (told,) = campaign.recorded(path)
    assert (told["seed"], told["broke_off"], campaign.is_clean(told)) == (1_000, 9, False)
    runs_that_end(monkeypatch, 0)
    assert campaign.main(["--record", str(path), "--kills", "4"]) == 0
    assert [run["seed"] for run in campaign.recorded(path)] == [1_000, 1_000]


def test_one_run_in_three_is_unhurried() -> None:
    brisk = ["--brisk" in campaign.command(seed, minutes=1, kills=1) for seed in range(1_000, 1_024)]
    assert brisk.count(False) == 8
    assert len({seed % len(campaign.KINDS) for seed, is_brisk in enumerate(brisk, start=1_000) if not is_brisk}) == 8


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


def test_the_page_tells_what_the_lines_of_the_clean_runs_come_to() -> None:
    runs = [run for run in campaign.recorded(CHECKOUT / "docs" / "chaos-runs.jsonl") if campaign.is_clean(run)]
    kills, zombies = campaign.kills_in(runs), sum(run["aimed"]["stop"] for run in runs)
    events = sum(run["events"] for run in runs)
    assert f"{len(runs)} runs, {kills:,} aimed kills, {zombies} zombies, {events:,} events" in PAGE
    for name in NAMES:
        assert f"`{name}` {sum(run['kills'][name] for run in runs)}" in PAGE


def test_the_page_tells_of_every_failpoint_and_of_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (CHECKOUT / "docs" / "reliability.md").read_text(), re.MULTILINE)
    assert tuple(rows) == NAMES


def test_a_broker_that_is_alone_is_not_killed_unless_asked_for() -> None:
    assert "broker killed" not in usual_faults(1)
    assert set(usual_faults(3)) == set(FAULTS) > set(usual_faults(1))
