"""A record that kills the worker's process is found, put aside, and the rest is scored; kills from outside accuse none.

The model is one that ends the runtime, by a trapped integer division, for values beyond anything in training.
"""

import json
import signal
from collections.abc import Iterator
from itertools import islice

import pytest

from schemas.checkpoint import Checkpoint
from tests.artifacts import make_artifact
from tests.end_to_end.job import Job, Worker
from tests.end_to_end.stream import Event, events

SLOW_TURNS = 2_000_000
DEADLY = json.dumps({"x": 99_999, "y": 0}).encode()


@pytest.fixture
def deadly_job(job: Job) -> Job:
    """The job with a model that some values kill."""
    make_artifact(job.model, features=("x", "y"), window=6, min_length=3, crash_above=1e6)
    return job


def with_deadly(count: int, place: int) -> Iterator[Event]:
    """Good events of a few machines, one of which is deadly."""
    for number, event in enumerate(islice(events(seed=8, bad_share=0.0), count)):
        yield event._replace(value=DEADLY) if number == place else event


def attempts(job: Job) -> int:
    """As recorded in partition 0."""
    place = job.topics.committed(job.group, job.inputs[0]).get(0)
    checkpoint = Checkpoint.decode(place.metadata) if place else None
    return checkpoint.attempts if checkpoint else 0


def died(worker: Worker) -> None:
    """By itself, as a segmentation fault would end it."""
    assert worker.exit_code(40.0) == -signal.SIGFPE


def test_a_record_that_kills_three_workers_is_a_dead_letter_and_its_neighbours_are_scored(deadly_job: Job) -> None:
    job = deadly_job
    job.write(list(with_deadly(200, 120)), partition=0)
    for death in range(3):
        died(job.start())
        assert attempts(job) == death + 1
    fourth = job.start()
    job.wait_until_done()
    assert "offset 120 of" in fourth.log
    crashed = {(job.inputs[0], 0, 120)}
    report = job.verify(crashed=crashed)
    assert (report.scored, report.dead, report.repeated) == (199, 1, 0)
    fourth.wait_until(lambda: attempts(job) == 0, "the attempts are forgotten", 10.0)
    fourth.stop()
    job.write(list(islice(events(seed=9, bad_share=0.0), 100)), partition=0)
    fifth = job.start()  # fills its windows without that record
    job.wait_until_done()
    assert job.verify(crashed=crashed).scored == 299
    fifth.stop()


def test_a_record_that_kills_workers_amid_a_stream_is_found_where_it_lies(deadly_job: Job) -> None:
    job = deadly_job
    job.set({"batch": {"max_events": 40}})
    job.write(list(with_deadly(600, 333)), partition=0)
    workers = 0
    while workers < 12:
        workers += 1
        worker = job.start()
        try:
            worker.wait_until(lambda: job.committed().get((job.inputs[0], 0), 0) >= 600, "all is done", 40.0)
        except AssertionError:
            died(worker)
        else:
            break
    report = job.verify(crashed={(job.inputs[0], 0, 333)})
    assert (report.scored, report.dead, report.repeated) == (599, 1, 0)


def test_a_worker_that_is_killed_three_times_from_outside_convicts_nobody(job: Job) -> None:
    """The record is innocent, though each of the workers is killed while it scores it: it takes some seconds."""
    make_artifact(job.model, features=("x", "y"), window=6, min_length=3, hang_above=2e7, hang_turns=SLOW_TURNS)
    job.write(list(with_deadly(200, 120)), partition=0)
    for kill in range(3):
        worker = job.start()
        worker.wait_until(lambda count=kill + 1: attempts(job) == count, "its attempt is recorded", 40.0)
        worker.kill()
        assert job.committed()[job.inputs[0], 0] == 0
    fourth = job.start()
    job.wait_until_done()
    report = job.verify()
    assert (report.scored, report.dead, report.repeated) == (200, 0, 0)
    assert "first tried in a process of their own" in fourth.log
    assert "kills the model's runtime" not in fourth.log
    fourth.stop()
