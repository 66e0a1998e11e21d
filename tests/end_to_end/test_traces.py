"""A worker that is traced: its spans arrive, and a collector that is away costs it nothing."""

import json
import time

from tests.broker import free_port
from tests.end_to_end.job import Job
from tests.log_record import LogRecord
from tests.otlp import collector

TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def write(job: Job, count: int) -> None:
    value = json.dumps({"x": 0, "y": 0}).encode()
    headers = (("traceparent", TRACEPARENT),)
    job.topics.write([LogRecord(job.inputs[0], -1, -1, 1_700_000_000_000, b"a", value, headers)] * count)


def test_each_batch_is_a_span_that_links_to_its_events(job: Job) -> None:
    job.set({"traces": {"enabled": True}})
    write(job, 1000)
    with collector() as heard:
        worker = job.start(**heard.variables)
        job.wait_until_done()
        worker.stop()
    counted = [{one.key: one.value for one in span.attributes} for span in heard.spans]
    assert sum(one["messaging.batch.message_count"].int_value for one in counted) == 1000
    assert {one["messaging.consumer.group.name"].string_value for one in counted} == {job.group}
    assert {link.trace_id.hex() for span in heard.spans for link in span.links} == {"4bf92f3577b34da6a3ce929d0e0e4736"}


def test_a_collector_that_is_away_costs_no_scores_and_no_time(job: Job) -> None:
    job.set({"traces": {"enabled": True}})
    write(job, 100)
    worker = job.start(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}")
    job.wait_until_done()
    began_s = time.monotonic()
    worker.stop()
    assert time.monotonic() - began_s < 10
    assert job.verify().scored == 100
