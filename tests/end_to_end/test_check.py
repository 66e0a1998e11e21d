"""`check` on a real broker: what it finds, what it needs, and that it changes nothing."""

import json
import time
from io import StringIO
from itertools import islice

import pytest
from confluent_kafka import TopicPartition
from rich.console import Console

from tests.broker import free_port
from tests.end_to_end.conftest import MakeJob
from tests.end_to_end.job import Job
from tests.end_to_end.stream import Event, events
from tests.rights import RIGHTS, grant, subject
from worker.check import examine
from worker.check_report import Report, as_json, print_report
from worker.errors import ArtifactError, BrokerError, ConfigError, ExitCode
from worker.kafka_log import KafkaLog


def normal_events(count: int) -> list[Event]:
    """Nothing that the model finds remarkable."""
    return [event for event in islice(events(bad_share=0.0), 2 * count) if _is_small(event)][:count]


def _is_small(event: Event) -> bool:
    value = json.loads(event.value or b"{}")
    return all(abs(value.get(name) or 0.0) < 2.0 for name in ("x", "y"))


def checked(job: Job, *, sample: int = 2000) -> Report:
    return examine(job.settings, sample_records=sample)


def printed(report: Report) -> str:
    text = StringIO()
    print_report(report, Console(file=text, highlight=False, soft_wrap=True))
    return text.getvalue()


def subjects(report: Report, level: str = "problem") -> list[str]:
    return [finding.subject for finding in report.findings if finding.level == level]


@pytest.fixture
def healthy(make_job: MakeJob, bootstrap: str) -> Job:
    """A job that needs no change."""
    job = make_job(bootstrap, partitions=(2,), out=2)
    job.write(normal_events(600))
    return job


def test_a_healthy_job_needs_no_change_and_none_happens(healthy: Job) -> None:
    report = checked(healthy)
    assert report.findings == []
    assert report.exit_code == ExitCode.DONE
    assert report.sample is not None
    assert (report.sample.records, report.sample.valid) == (600, 600)
    assert report.sample.entities >= 12
    assert "Nothing needs to change." in printed(report)
    assert healthy.committed() == {}
    assert healthy.topics.read(healthy.scores, healthy.dead) == []


def test_the_report_is_also_json(healthy: Job) -> None:
    report = json.loads(as_json(checked(healthy)))
    assert report["sample"]["records"] == 600
    assert report["estimate"]["promised_alarms_a_day"] == pytest.approx(0.001 * report["sample"]["per_day"])
    assert report["findings"] == []


def test_a_sample_is_the_newest_of_each_partition(healthy: Job) -> None:
    sample = checked(healthy, sample=50).sample
    assert sample is not None
    assert sample.records == 50
    assert len(sample.partitions) == 2


def test_missing_topics_are_problems_and_end_in_exit_code_1(healthy: Job) -> None:
    healthy.set({"kafka": {"output_topic": "no-scores", "dead_letter_topic": "no-dead-letters"}})
    report = checked(healthy)
    assert subjects(report) == ["topics", "topics"]
    assert report.exit_code == ExitCode.FAILED
    assert "create it with 2 partitions" in printed(report)


def test_without_any_input_topic_the_rest_is_still_told(healthy: Job) -> None:
    healthy.set({"kafka": {"input_topics": ["no-events"]}})
    report = checked(healthy)
    assert report.sample is None
    assert "there is no topic 'no-events'" in printed(report)


def test_a_compacted_input_topic_is_a_problem(healthy: Job) -> None:
    healthy.set({"kafka": {"input_topics": [healthy.topics.create("compacted", config={"cleanup.policy": "compact"})]}})
    assert any("is compacted" in finding.sentence for finding in checked(healthy).findings)


def test_an_empty_topic_is_told(make_job: MakeJob, bootstrap: str) -> None:
    report = checked(make_job(bootstrap))
    assert [finding.sentence for finding in report.findings] == ["the input topics are empty: nothing could be tried"]
    assert report.exit_code == ExitCode.DONE


def test_an_entity_in_several_partitions_is_a_problem(healthy: Job) -> None:
    for partition in range(2):
        healthy.write([Event(b"stray", b'{"x":1,"y":1}', 1_700_000_000_000)], partition=partition)
    report = checked(healthy)
    assert subjects(report) == ["partitions"]
    assert "'stray'" in printed(report)


def test_another_schema_is_a_problem_that_names_the_field_meant(healthy: Job) -> None:
    for partition in range(2):
        healthy.write([Event(b"%d" % partition, b'{"X":1,"y":1}', 1_700_000_000_000)] * 1000, partition=partition)
    text = printed(checked(healthy, sample=500))
    assert "feature 'x' is missing in 100% of the events" in text
    assert "set events.features: {x: X}" in text


def test_records_deleted_unread_are_a_problem(healthy: Job) -> None:
    healthy.topics.commit(healthy.group, [TopicPartition(healthy.inputs[0], 0, 1)])
    healthy.topics.delete_before(healthy.inputs[0], 0, 50)
    report = checked(healthy)
    assert subjects(report) == ["group"]
    assert "49 records" in printed(report)


def test_settings_and_artifacts_that_do_not_fit_end_before_the_brokers_are_asked(healthy: Job) -> None:
    healthy.set({"kafka": {"bootstrap_servers": "127.0.0.1:1"}, "events": {"required": ["z"]}})
    with pytest.raises(ConfigError, match=r"events.required: the model has no feature 'z'"):
        checked(healthy)
    healthy.model.write_bytes(healthy.model.read_bytes()[:-10])
    with pytest.raises(ArtifactError):
        checked(healthy)


def test_a_broker_out_of_reach_is_told_in_time(healthy: Job) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    healthy.set({"kafka": {"bootstrap_servers": nobody, "start_timeout_s": 1.0}})
    started = time.monotonic()
    with pytest.raises(BrokerError, match=r"No broker answered within 1 s: .*bootstrap_servers"):
        checked(healthy)
    assert time.monotonic() - started < 8


# --- rights


def test_the_five_rights_of_a_worker_are_enough_for_check(guarded_job: Job) -> None:
    grant(guarded_job, RIGHTS)
    report = checked(guarded_job)
    assert subjects(report) == []


@pytest.mark.parametrize("missing", RIGHTS)
def test_each_missing_right_is_a_problem_of_its_own(guarded_job: Job, missing: str) -> None:
    grant(guarded_job, [right for right in RIGHTS if right != missing])
    report = checked(guarded_job)
    assert len(subjects(report)) == 1, printed(report)
    assert subject(guarded_job, missing) in printed(report)


def test_a_wrong_password_is_told(guarded_job: Job) -> None:
    guarded_job.set({"kafka": {"properties": {"sasl.password": "wrong"}, "start_timeout_s": 2}})
    with pytest.raises(BrokerError, match=r"sasl\.password"), KafkaLog(guarded_job.settings) as log:
        log.partition_counts()
