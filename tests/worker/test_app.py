"""The worker as a whole, before it has met a broker: what its pages say while it waits, and once it is told to end."""

import threading
from pathlib import Path

import pytest

from tests.artifacts import make_artifact
from tests.least_settings import least_settings
from worker.app import Worker
from worker.probes import STUCK_AFTER_S, Health


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(tmp_path: Path, clock: Clock) -> Worker:
    model = make_artifact(tmp_path / "model.onnx")
    made = Worker(least_settings(model={"uri": str(model)}, inference={"provider": "cpu"}))
    made._health = Health(clock)
    return made


def test_it_lives_while_it_waits_for_brokers_however_long(worker: Worker, clock: Clock) -> None:
    for _ in range(3):
        clock.now_s += STUCK_AFTER_S - 1
        assert not worker._stopped_while_waiting()
        assert worker._health.alive
    assert not worker._health.ready


class HeldByNoHandler(threading.Event):
    """A signal's handler runs in the main thread and sets this: were it waiting here, it might hold the lock."""

    def wait(self, timeout: float | None = None) -> bool:
        assert threading.current_thread() is not threading.main_thread()
        return super().wait(timeout)


def test_a_signal_never_waits_for_the_thread_that_it_interrupts(worker: Worker) -> None:
    worker._stopping = HeldByNoHandler()
    worker._thread = threading.Thread(target=lambda: worker._pause(30))
    worker._thread.start()
    threading.Timer(0.3, worker.stop).start()
    worker._wait()
    assert not worker._thread.is_alive()


def test_told_to_end_it_waits_no_longer_and_is_not_ready(worker: Worker) -> None:
    worker._health.turned(ready=True)
    worker.stop()
    assert worker._stopped_while_waiting()
    worker._health.turned(ready=True)
    assert not worker._health.ready
