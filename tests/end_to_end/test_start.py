"""Where a job begins, and what it does where offsets were reset or records deleted."""

from itertools import islice

import pytest
from confluent_kafka import TopicPartition

from tests.end_to_end.conftest import MakeJob
from tests.end_to_end.job import Job, Worker
from tests.end_to_end.stream import FIRST_TIME_MS, events
from tests.log_record import LogRecord
from tests.oracle import Rebuilt


@pytest.fixture
def narrow(make_job: MakeJob, bootstrap: str) -> Job:
    """A job whose records lie in one line: one partition everywhere."""
    return make_job(bootstrap, partitions=(1,), out=1)


def run_to_the_end(job: Job) -> Worker:
    worker = job.start()
    job.wait_until_done()
    worker.stop()
    return worker


def test_latest_begins_at_the_end_with_full_windows(narrow: Job) -> None:
    narrow.set({"start": "latest"})
    stream = events()
    before = narrow.write(list(islice(stream, 200)))
    worker = narrow.start().wait_until_ready()
    narrow.write(list(islice(stream, 200)))
    narrow.wait_until_done()
    worker.stop()
    report = narrow.verify(first={(narrow.inputs[0], 0): len(before)})
    assert report.scored + report.dead == 200


def test_a_later_worker_begins_where_the_first_one_would_have(narrow: Job) -> None:
    """`latest` is resolved once: what comes while nobody works is not passed over."""
    narrow.set({"start": "latest"})
    stream = events()
    before = narrow.write(list(islice(stream, 100)))
    narrow.start().wait_until_ready().stop()
    narrow.write(list(islice(stream, 100)))
    run_to_the_end(narrow)
    report = narrow.verify(first={(narrow.inputs[0], 0): len(before)})
    assert report.scored + report.dead == 100


def test_a_time_begins_at_the_first_record_that_is_not_older(narrow: Job) -> None:
    narrow.write(list(islice(events(), 300)))
    narrow.set({"start": "2023-11-14T22:15:20Z"})  # 120 s after the first second of the stream
    assert FIRST_TIME_MS == 1_700_000_000_000
    run_to_the_end(narrow)
    report = narrow.verify(first={(narrow.inputs[0], 0): 119})
    assert report.scored + report.dead == 181


def test_an_operators_reset_scores_again_with_the_same_windows(narrow: Job) -> None:
    narrow.write(list(islice(events(), 300)))
    run_to_the_end(narrow)
    before = narrow.published()
    narrow.topics.commit(narrow.group, [TopicPartition(narrow.inputs[0], 0, 200)])
    run_to_the_end(narrow)
    report = narrow.verify(since=before, first={(narrow.inputs[0], 0): 200})
    assert report.scored + report.dead == 100


def test_a_reset_behind_an_open_transaction_waits_for_its_end(narrow: Job) -> None:
    topic, stream = narrow.inputs[0], events(bad_share=0.0)
    narrow.write(list(islice(stream, 50)))
    somebody = narrow.topics.begin_transaction([event.to(topic, 0) for event in islice(stream, 20)])
    end = narrow.topics.log_end((topic, 0))
    narrow.topics.commit(narrow.group, [TopicPartition(topic, 0, end)])
    worker = narrow.start()
    worker.wait_until(lambda: "taken up" in worker.log, "the partition is taken up", 20)
    assert worker.page("/readyz")[0] == 503
    somebody.commit_transaction(10)
    worker.wait_until_ready()
    narrow.write(list(islice(stream, 30)))
    narrow.wait_until_done()
    worker.stop()
    assert narrow.verify(first={(topic, 0): end}).scored == 30


def with_a_gap(job: Job) -> list[LogRecord]:
    """A job that has scored 50 records; of the next 50, 30 were deleted before anybody read them. What is left."""
    stream = events(bad_share=0.0)
    scored = job.write(list(islice(stream, 50)))
    run_to_the_end(job)
    missed = job.write(list(islice(stream, 50)))
    job.topics.delete_before(job.inputs[0], 0, 80)
    return [*scored, *missed[30:]]


def test_deleted_records_end_the_worker_with_their_count(narrow: Job) -> None:
    with_a_gap(narrow)
    worker = narrow.start()
    assert worker.exit_code() == 1
    assert f"{narrow.inputs[0]}-0" in worker.last_words
    assert "30" in worker.last_words
    assert narrow.committed() == {(narrow.inputs[0], 0): 50}


def test_deleted_records_are_passed_over_if_told_so_and_windows_say_it(narrow: Job) -> None:
    left = with_a_gap(narrow)
    narrow.set({"on_gap": "continue"})
    run_to_the_end(narrow)
    report = narrow.verify(inputs=left, rebuilt={(narrow.inputs[0], 0): Rebuilt(at=80, available_from=80)})
    assert report.scored == 70


def test_windows_that_lost_rows_to_retention_say_so(narrow: Job) -> None:
    stream = events(bad_share=0.0)
    old = narrow.write(list(islice(stream, 60)))
    run_to_the_end(narrow)
    narrow.topics.delete_before(narrow.inputs[0], 0, 58)
    new = narrow.write(list(islice(stream, 60)))
    run_to_the_end(narrow)
    report = narrow.verify(inputs=[*old, *new], rebuilt={(narrow.inputs[0], 0): Rebuilt(at=60, available_from=58)})
    assert report.scored == 120
