"""Five thousand schedules of whatever may befall workers and brokers: each record is answered once, and rightly."""

import json
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from tests.broker import CHECKOUT
from tests.simulator.__main__ import main, run
from tests.simulator.machine import Simulation
from tests.simulator.portion import Outcome
from tests.simulator.process import Fate
from tests.simulator.test_teeth import built_with, no_replay_on_assignment
from tests.simulator.trace import minimal, replayed

pytestmark = pytest.mark.timeout(900)  # 80 to 120 s of one core, which may be busy with other things
SCHEDULES = 5_000
KINDS = {
    *(
        "produce",
        "fall behind",
        "poll",
        "finish inference",
        "kill",
        "stop",
        "continue",
        "replace",
        "join",
        "leave",
        "expire",
        "rebalance",
    ),
    *("move coordinator", "late arrivals", "delete records", "add partition", "reset offset"),
    *("deliver: refused", "produce: queue full", "consume: killed after", "committed: lost", "commit: refused"),
    *(f"commit_transaction: {fate}" for fate in set(Fate) - {Fate.QUEUE_FULL}),
    *(f"send_offsets_to_transaction: {fate}" for fate in set(Fate) - {Fate.QUEUE_FULL}),
    *("abort_transaction: late", "init_transactions: answer lost"),
}


@pytest.fixture(scope="module")
def outcomes() -> Sequence[Outcome]:
    return list(run(1, SCHEDULES, os.cpu_count() or 1))


def test_whatever_happens_every_record_is_answered_once_and_rightly(outcomes: Sequence[Outcome]) -> None:
    assert [outcome.failure for outcome in outcomes if outcome.failure] == []
    assert sum(outcome.schedules for outcome in outcomes) >= SCHEDULES


def test_everything_that_may_happen_did(outcomes: Sequence[Outcome]) -> None:
    executed: Counter[str] = sum((outcome.executed for outcome in outcomes), Counter())
    assert set(executed) >= KINDS, KINDS - set(executed)


def test_a_run_ends_with_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--schedules", "20", "--seed", "5", "--processes", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["seed"], told["schedules"], told["failures"]) == (5, 20, 0)
    assert sum(told["rules"].values()) == told["steps"] > 100


def test_a_seed_means_the_same_over_several_processes() -> None:
    def told(processes: int) -> dict[str, object]:
        command = [sys.executable, "-m", "tests.simulator", "--schedules", "510", "--seed", "5"]
        ran = subprocess.run(
            [*command, "--processes", str(processes)], capture_output=True, text=True, cwd=CHECKOUT, check=True
        )
        return json.loads(ran.stdout) | {"seconds": 0}

    assert told(2) == told(1)


def test_a_failure_is_told_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    with built_with(no_replay_on_assignment):
        assert main(["--schedules", "60", "--processes", "1"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["failures"] == 1
    assert "seed 1: Broken: a checkpoint above rows that windows need" in said.err
    assert "\nstate.begin(terms=Terms(" in said.err
    assert said.err.count("\nstate.") > 1, "the step that shows it stands there, too"


@pytest.fixture
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("_quiet")
def test_a_minimal_trace_has_no_step_to_spare() -> None:
    begin = "state.begin(terms=Terms(partitions=1), workers=1)"
    trace = [
        begin,
        "state.produce(partition=0, events=2, how='plainly')",
        "state.poll(worker=0, turns=5)",
        "state.poll(worker=0, turns=5)",
        "state.wait(seconds=1.0)",
        "state.kill(worker=0)",
        "state.produce(partition=0, events=6, how='plainly')",
        "state.teardown()",
    ]
    assert replayed(trace, Simulation) is None
    with built_with(no_replay_on_assignment):
        failure = replayed(trace, Simulation)
        assert failure is not None
        shortest = minimal(trace, failure, Simulation)
        assert replayed(shortest, Simulation) is not None
    assert shortest[0] == begin
    assert "state.kill(worker=0)" in shortest
    assert "state.wait(seconds=1.0)" not in shortest
