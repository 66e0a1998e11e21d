"""Failpoints: nothing unless armed, refused where unknown, and each action as it says."""

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.least_settings import least_settings
from worker import failpoints
from worker.errors import ConfigError
from worker.failpoints import NAMES, VARIABLE, FailpointError, arm, reach

WORKER = Path(failpoints.__file__).parent


@pytest.fixture(autouse=True)
def unarmed_again() -> Iterator[None]:
    yield
    arm({})


def test_nothing_happens_unless_armed() -> None:
    for name in NAMES:
        reach(name, lambda: pytest.fail("done although nothing is armed"))


def test_unarmed_a_thousand_of_them_cost_less_than_a_batch_of_events() -> None:
    """A turn reaches about ten; a batch of 4,096 events takes 10 ms and more."""

    def once() -> float:
        began = time.perf_counter()
        for _ in range(1000):
            reach("after_poll")
        return time.perf_counter() - began

    assert min(once() for _ in range(20)) < 0.005


def test_every_name_is_reached_at_one_place_or_once_for_each_kind_of_sink() -> None:
    reached = re.findall(r'\breach\("(\w+)"', "".join(path.read_text() for path in WORKER.glob("*.py")))
    assert set(reached) == set(NAMES)
    assert {name for name in reached if reached.count(name) > 1} == {"flushed", "committed"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nowhere:kill:1", "no failpoint 'nowhere'"),
        ("staged:explode:1", "one of kill"),
        ("staged:stop:1", "stop=SECONDS"),
        ("staged:kill=3:1", "one of kill"),
        ("staged:kill:0", "above 0"),
        ("staged:kill:1.5", "at most 1"),
        ("staged:kill", "NAME:ACTION:PROBABILITY"),
        ("staged:kill:1,", "''"),
    ],
)
def test_what_is_unknown_is_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        arm({VARIABLE: text})


def test_it_says_loudly_that_it_is_armed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        arm({VARIABLE: "staged:raise:1"})
    assert "FAILPOINTS ARE ARMED (staged:raise:1)" in caplog.text


def test_what_comes_first_is_done_where_it_strikes() -> None:
    arm({VARIABLE: "flushed:raise:1"})
    done: list[str] = []
    reach("staged", lambda: done.append("elsewhere"))
    with pytest.raises(FailpointError, match="flushed"):
        reach("flushed", lambda: done.append("here"))
    assert done == ["here"]
    reach("flushed")  # once a process


def test_a_delay_comes_again_and_again() -> None:
    arm({VARIABLE: "staged:delay=0.02:1"})
    began = time.perf_counter()
    reach("staged")
    reach("staged")
    assert time.perf_counter() - began >= 0.04


def struck(seed: int) -> list[bool]:
    arm({VARIABLE: f"seed={seed},staged:delay=0:0.3"})
    struck: list[bool] = []
    for _ in range(50):
        before = len(struck)
        reach("staged", lambda: struck.append(True))
        if len(struck) == before:
            struck.append(False)
    return struck


def test_the_seed_decides_when_it_strikes() -> None:
    assert struck(7) == struck(7) != struck(8)
    assert 5 < sum(struck(7)) < 25


def run(text: str, code: str) -> subprocess.CompletedProcess[str]:
    program = f"from worker.failpoints import *; import time; arm({{VARIABLE: {text!r}}}); {code}"
    return subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=30)


def test_a_worker_that_is_told_of_an_unknown_failpoint_does_not_start(tmp_path: Path) -> None:
    settings = least_settings().model_dump(mode="json", exclude_defaults=True)
    config = tmp_path / "worker.yaml"
    config.write_text(json.dumps(settings))
    code = f"import sys; from worker.cli import main; sys.exit(main(['run', '--config', {str(config)!r}]))"
    environment = {**os.environ, VARIABLE: "nowhere:kill:1"}
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert "there is no failpoint 'nowhere'" in done.stderr


def test_a_kill_is_a_sigkill() -> None:
    assert run("staged:kill:1", "reach('staged'); print('alive')").returncode == -9


def test_a_kill_within_a_commit_comes_while_the_process_goes_on() -> None:
    """Within a wide time, in which this seed draws a late moment: a busy machine has seconds to print one word."""
    code = (
        "from worker import failpoints; failpoints._WITHIN_ENDTXN_S = 4; reach('in_commit'); print('alive', flush=True)"
    )
    done = run("seed=1,in_commit:kill:1", f"{code}; time.sleep(25)")
    assert (done.returncode, done.stdout) == (-9, "alive\n")


def test_a_kill_within_a_commit_does_not_wait_for_its_end() -> None:
    assert failpoints._WITHIN_ENDTXN_S <= 0.01
    assert run("in_commit:kill:1", "reach('in_commit'); time.sleep(25)").returncode == -9


def test_a_stopped_process_goes_on_after_its_time() -> None:
    code = "a = time.monotonic(); reach('staged'); print(time.monotonic() - a)"
    done = run("staged:stop=0.5:1", code)
    assert done.returncode == 0
    assert 0.4 < float(done.stdout) < 5
