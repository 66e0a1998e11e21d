"""Every event becomes exactly one score or dead letter, with the right window, whatever happens to the workers.

What came out is judged by the oracle (`tests.oracle`), from the input log alone.
"""

import json
import signal
from collections.abc import Iterator
from itertools import islice

import pytest

from tests.broker import OLD_VERSION, Broker
from tests.end_to_end.conftest import MakeJob
from tests.end_to_end.job import Job
from tests.end_to_end.stream import Stream, events, one_of_each_bad_kind
from tests.log_record import LogRecord


def test_one_worker_answers_every_event(job: Job) -> None:
    written = job.write(list(islice(events(), 3000)))
    job.start().wait_until_ready()
    job.wait_until_done()
    report = job.verify()
    assert report.scored + report.dead == len(written)
    assert report.scored > 2800


def test_every_bad_event_is_a_dead_letter_and_its_neighbours_are_scored(job: Job) -> None:
    written = job.write(list(one_of_each_bad_kind()), partition=0)
    job.start()
    job.wait_until_done()
    report = job.verify()
    assert (report.scored, report.dead) == (len(written) * 2 // 3, len(written) // 3)


def test_windows_go_on_over_a_restart(job: Job) -> None:
    stream = events()
    job.write(list(islice(stream, 1500)))
    first = job.start()
    job.wait_until_done()
    first.stop()
    job.write(list(islice(stream, 1500)))
    job.start()
    job.wait_until_done()
    assert job.verify().scored > 2800


def test_two_input_topics_keep_their_windows_apart(make_job: MakeJob, bootstrap: str) -> None:
    job = make_job(bootstrap, partitions=(4, 2))
    for topic in job.inputs:
        job.write(list(islice(events(), 800)), topic=topic)
    job.start()
    job.wait_until_done()
    assert job.verify().scored > 1500


def test_aborted_records_are_not_there(job: Job) -> None:
    stream = events(bad_share=0.0)
    for number in range(12):
        records = [event.to(job.inputs[0]) for event in islice(stream, 100)]
        job.topics.write_in_transaction(records, commit=number % 3 != 1)
    job.start()
    job.wait_until_done()
    assert job.verify().scored == 800


def test_records_go_where_filters_and_paths_of_the_settings_say(job: Job) -> None:
    job.set(
        {
            "events": {
                "entity": "machine.id",
                "timestamp": "at",
                "timestamp_unit": "iso8601",
                "features": {"x": "reading.x", "y": "reading.y"},
                "where": {"kind": ["reading", "probe"]},
                "tombstone": "skip",
                "required": ["x"],
            }
        }
    )
    at = "2024-01-31T12:00:{:02}.5Z"
    kinds = ("reading", "probe", "log")
    values: list[dict] = [
        {
            "machine": {"id": number % 4},
            "at": at.format(number % 60),
            "kind": kinds[number % 3],
            "reading": {"x": number, "y": None},
        }
        for number in range(300)
    ]
    del values[30]["reading"]["x"]
    records = [LogRecord(job.inputs[0], 1, -1, 5, b"key", json.dumps(value).encode()) for value in values]
    job.topics.write([*records, LogRecord(job.inputs[0], 1, -1, 5, b"key", None)])
    job.start()
    job.wait_until_done()
    report = job.verify()
    assert (report.scored, report.dead, report.skipped) == (199, 1, 101)


def disturbed(job: Job) -> None:
    """Two workers while events stream in; one is killed, one is asked to end, others take over."""
    with Stream(job.topics.bootstrap, job.inputs, a_second=700) as stream:
        killed = job.start(ANOMALY_WORKER_KAFKA__TRANSACTIONAL_ID=f"{job.group}-0")
        killed.wait_until_scored(300)
        stopped = job.start(ANOMALY_WORKER_KAFKA__TRANSACTIONAL_ID=f"{job.group}-1")
        stopped.wait_until_scored(300)
        killed.wait_until_scored(600)
        killed.kill()
        stream.wait_for(500)
        successor = job.start(ANOMALY_WORKER_KAFKA__TRANSACTIONAL_ID=f"{job.group}-0")
        successor.wait_until_scored(300)
        stopped.signal(signal.SIGTERM)
        assert stopped.exit_code() == 0
        stream.wait_for(500)
    job.wait_until_done()


def test_nothing_is_lost_doubled_or_reordered_over_rebalance_kill_and_stop(job: Job) -> None:
    disturbed(job)
    assert job.verify().scored > 2000


def test_nothing_is_lost_with_the_consumer_group_protocol(make_job: MakeJob, bootstrap: str) -> None:
    job = make_job(bootstrap, consumer={"group.protocol": "consumer"})
    disturbed(job)
    assert job.verify().scored > 2000


def test_callbacks_that_crowd_into_a_rebalance_end_no_worker(make_job: MakeJob, bootstrap: str) -> None:
    """The client would abort the process, had the rebalance's callback asked it for topics (see `Planner`)."""
    job = make_job(bootstrap, consumer={"group.protocol": "consumer", "statistics.interval.ms": 1})
    written = job.write(list(islice(events(), 500)))
    first = job.start().wait_until_ready()
    job.start().wait_until_ready()
    first.stop()
    job.wait_until_done()
    report = job.verify()
    assert report.scored + report.dead == len(written)


def test_at_least_once_loses_nothing_and_repeats_the_same(job: Job) -> None:
    job.set({"delivery": "at-least-once"})
    disturbed(job)
    assert job.verify().scored > 2000


@pytest.fixture(scope="module")
def old_broker() -> Iterator[Broker]:
    with Broker(OLD_VERSION) as started:
        yield started


def test_the_same_holds_on_an_older_kafka(make_job: MakeJob, old_broker: Broker) -> None:
    job = make_job(old_broker.bootstrap)
    disturbed(job)
    assert job.verify().scored > 2000
