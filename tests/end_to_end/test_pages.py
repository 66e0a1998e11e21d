"""The pages of a worker at work: /livez, /readyz, /metrics."""

from itertools import islice

from tests.artifacts import make_artifact
from tests.end_to_end.job import Job
from tests.end_to_end.stream import Event, events


def test_a_worker_lives_before_it_is_ready_and_is_ready_once_it_has_joined(job: Job) -> None:
    worker = job.start()
    worker.wait_until(lambda: worker.page("/livez")[0] == 200, "it lives", 20)
    worker.wait_until_ready()
    assert worker.page("/livez")[0] == 200
    assert worker.page("/nowhere")[0] == 404


def test_a_member_without_partitions_is_ready(job: Job) -> None:
    job.set({"kafka": {"input_topics": [job.topics.create("one", partitions=1)]}})
    job.start().wait_until_ready()
    job.start().wait_until_ready()


def test_the_metrics_agree_with_what_came_out(job: Job) -> None:
    job.write(list(islice(events(), 1000)))
    worker = job.start()
    job.wait_until_done()
    report = job.verify()
    records = "anomaly_worker_records_total"
    assert worker.metric(records, outcome="scored") == report.scored
    assert worker.metric(records, outcome="dead") == report.dead == worker.metric("anomaly_worker_dead_letters_total")
    assert worker.metric("anomaly_worker_transactions_total", outcome="committed") >= 1
    assert worker.metric("anomaly_worker_model_info", name="z-score") == 1
    # Gauges are set once a second: until then the lag is 0 because nothing has been said yet.
    worker.wait_until(lambda: worker.metric("anomaly_worker_entities") > 10, "it knows entities", 10)
    worker.wait_until(lambda: worker.metric("anomaly_worker_lag") == 0, "its lag is 0", 10)


def test_scores_of_entities_that_the_model_was_not_trained_on_are_counted(job: Job) -> None:
    known = make_artifact(job.folder / "known.onnx", features=("x", "y"), entities=("machine-0", "machine-1"))
    job.set({"model": {"uri": str(known)}})
    written = list(islice(events(bad_share=0.0), 300))
    job.write(written)
    worker = job.start()
    job.wait_until_done()
    strangers = sum(event.key not in {b"machine-0", b"machine-1"} for event in written)
    assert 0 < strangers < len(written)
    assert worker.metric("anomaly_worker_unknown_entities_total") == strangers


def test_the_kafka_clients_tell_of_themselves(job: Job) -> None:
    worker = job.start().wait_until_ready()
    job.write(list(islice(events(), 1000)))
    for client in ("consumer", "producer"):
        received = lambda client=client: worker.metric("anomaly_worker_kafka_received_bytes_total", client=client)  # noqa: E731
        worker.wait_until(lambda heard=received: heard() > 0, f"the {client} has received something", 30)
    assert worker.metric("anomaly_worker_kafka_round_trip_seconds", client="consumer") > 0


def test_people_see_what_it_does_and_its_latest_alarms_where_that_is_wanted(job: Job) -> None:
    without = job.start().wait_until_ready()
    assert without.page("/")[0] == 404
    without.stop()
    job.set({"http": {"page": True}})
    worker = job.start().wait_until_ready()
    job.write([Event(b"press-%d" % number, b'{"x":500,"y":0}', 1_700_000_000_000) for number in range(8)] * 20)
    worker.wait_until(lambda: "press-" in worker.page("/")[1], "alarms are shown", 20)
    status, page = worker.page("/")
    assert status == 200
    assert job.group in page
    assert f"{job.inputs[0]}-" in page
    assert "expected" in page
