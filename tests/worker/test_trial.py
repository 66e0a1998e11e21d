"""A trial tells records that kill from those that do not, and blames none for what came from outside."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.artifacts import make_artifact
from worker import trial as trial_module
from worker.batch import Windows
from worker.detector import Detector, ExplainRule
from worker.model_store import load_artifact
from worker.trial import Trial, TrialError


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    path = make_artifact(
        tmp_path_factory.mktemp("model") / "m.onnx",
        window=1,
        crash_above=5e7,
        hang_above=1e6,
        with_elapsed=True,
        entities=("m1",),
    )
    rule = ExplainRule(when="anomalies", threshold=1.0)
    return Detector(load_artifact(str(path), sha256=None), provider="cpu", threads=1, explain=rule)


def windows(*values: float) -> Windows:
    count = len(values)
    return Windows(
        values=np.repeat(np.array(values, np.float32), 2).reshape(count, 1, 2),
        elapsed=np.zeros((count, 1), np.float32),
        length=np.ones(count, np.int64),
        first_offset=np.zeros(count, np.int64),
        truncated=np.zeros(count, np.bool_),
        digest=np.zeros(count, np.uint64),
    )


def test_windows_that_are_scored_kill_nobody(detector: Detector) -> None:
    with Trial(detector) as trial:
        assert not trial.kills(windows(0.0, 9.0), ["m1", "m2"])
        child = trial._child
        assert not trial.kills(windows(1.0), ["m1"])
        assert trial._child is child


def test_a_window_that_ends_the_runtime_kills_and_the_next_trial_has_a_new_process(detector: Detector) -> None:
    with Trial(detector, patience_s=5.0) as trial:
        assert trial.kills(windows(0.0, 9_999.0, 1.0), ["m1", "m1", "m2"])
        assert not trial.kills(windows(0.0, 1.0), ["m1", "m2"])


def test_a_window_that_never_comes_back_kills(detector: Detector) -> None:
    with Trial(detector, patience_s=1.0) as trial:
        assert trial.kills(windows(2_000.0), ["m2"])
        assert not trial.kills(windows(0.0), ["m2"])


@pytest.fixture
def sent_to_child(monkeypatch: pytest.MonkeyPatch) -> Callable[[signal.Signals], list[int]]:
    """Sends a signal to the child, as if from outside, each time that a request is on its way."""

    def arrange(number: signal.Signals) -> list[int]:
        struck: list[int] = []
        send = trial_module._send

        def strike(child: object, frame: bytes) -> None:
            if len(struck) % 2:
                os.kill(child.pid, signal.SIGSTOP)  # else it might answer first
            send(child, frame)
            if len(struck) % 2:
                os.kill(child.pid, number)
                os.kill(child.pid, signal.SIGCONT)
            struck.append(child.pid)

        monkeypatch.setattr(trial_module, "_send", strike)
        return struck

    return arrange


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_is_killed_from_outside_proves_nothing(
    detector: Detector, number: signal.Signals, sent_to_child: Callable[[signal.Signals], list[int]]
) -> None:
    struck = sent_to_child(number)  # recipe and request of each of the children
    with Trial(detector) as trial, pytest.raises(TrialError, match="ended from outside"):
        trial.kills(windows(0.0), ["m1"])
    assert len(set(struck)) == 3


def test_a_child_that_does_not_start_proves_nothing(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_module, "_COMMAND", ("false",))
    with Trial(detector) as trial, pytest.raises(TrialError, match="did not start"):
        trial.kills(windows(0.0), ["m1"])


def test_a_trial_that_is_closed_ends_its_process_and_starts_no_other(detector: Detector) -> None:
    trial = Trial(detector, patience_s=60.0)
    caught: list[BaseException] = []

    def wait_for_verdict() -> None:
        try:
            trial.kills(windows(2_000.0), ["m2"])
        except TrialError as error:
            caught.append(error)

    waiting = threading.Thread(target=wait_for_verdict)
    waiting.start()
    deadline = time.monotonic() + 20
    while trial._child is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(1.0)
    trial.close()
    waiting.join(5.0)
    assert not waiting.is_alive()
    assert len(caught) == 1
    assert trial._child is None


def test_a_child_ends_with_its_parent_even_out_of_an_endless_call(detector: Detector, tmp_path: Path) -> None:
    trial = Trial(detector)
    assert not trial.kills(windows(0.0), ["m1"])
    child = trial._child
    assert child is not None
    trial_module._send(child, trial_module._request(windows(2_000.0), ["m1"]))
    time.sleep(0.5)
    assert child.poll() is None
    child.stdin.close()  # what the end of the parent does
    assert child.wait(5.0) == 0
    trial.close()
