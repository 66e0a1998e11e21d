"""Brokers that hang or die under a worker at work, and a worker that is told twice to end."""

import signal
import time
from collections.abc import Iterator

import pytest

from tests.broker import TO_BE_KILLED, Broker
from tests.end_to_end.conftest import MakeJob
from tests.end_to_end.stream import Stream


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    """A broker of one's own, to be ill-treated."""
    with Broker(properties=TO_BE_KILLED) as started:
        yield started


def test_an_outage_is_ridden_out(own_broker: Broker, make_job: MakeJob) -> None:
    job = make_job(own_broker.bootstrap)
    with Stream(own_broker.bootstrap, job.inputs, a_second=400) as stream:
        worker = job.start()
        worker.wait_until_scored(300)
        own_broker.pause()
        stream.wait_for(1600)
        own_broker.resume()
        worker.wait_until_scored(1500)
        own_broker.kill()
        stream.wait_for(400)
        own_broker.start()
        stream.wait_for(400)
    job.wait_until_done()
    worker.stop()
    assert job.verify().scored > 2500


def test_a_second_signal_ends_a_worker_at_once(own_broker: Broker, make_job: MakeJob) -> None:
    job = make_job(own_broker.bootstrap)
    with Stream(own_broker.bootstrap, job.inputs, a_second=400):
        worker = job.start()
        worker.wait_until_scored(300)
        own_broker.pause()  # so that it cannot finish what it has begun
        worker.signal(signal.SIGTERM)
        worker.wait_until(lambda: worker.page("/readyz")[0] != 200, "it is no longer ready", 5)
        signalled = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.exit_code() != 0
        assert time.monotonic() - signalled < 2
        own_broker.resume()


def test_a_worker_ends_in_time_although_the_brokers_are_gone(own_broker: Broker, make_job: MakeJob) -> None:
    job = make_job(own_broker.bootstrap)
    with Stream(own_broker.bootstrap, job.inputs, a_second=400):
        worker = job.start()
        worker.wait_until_scored(300)
        own_broker.pause()
        worker.stop()
        own_broker.resume()
