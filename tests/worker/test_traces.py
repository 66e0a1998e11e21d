"""Spans as the SDK hands them out, and a worker on a bus that is traced."""

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from tests.otlp import collector
from tests.worker.test_recently import answered
from worker.batch import Headers, Records, TopicPartition
from worker.errors import ConfigError
from worker.traces import MOST_LINKS, OpenTelemetry, Untraced

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT: Headers = [("traceparent", f"00-{TRACE}-{SPAN}-01".encode()), ("other", b"\xff")]
EVENTS = [TopicPartition("events", 0), TopicPartition("events", 1), TopicPartition("more", 1)]


def records(headers: Sequence[Headers], *, places: Sequence[int] = (0,)) -> Records:
    count = len(headers)
    return Records(
        partitions=EVENTS,
        partition=np.resize(np.array(places, np.int64), count),
        offset=np.arange(count),
        timestamp=np.zeros(count, np.int64),
        key=[b"secret-key"] * count,
        value=[b"secret-value"] * count,
        headers=lambda row: headers[row],
    )


class Bench:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.traces = OpenTelemetry(group_id="g", version="1.2", processor=SimpleSpanProcessor(self.exporter))

    def span(self, batch: Records, **about: object) -> ReadableSpan:
        self.traces.committed(self.traces.begin(batch), answered(**about))
        (span,) = self.exporter.get_finished_spans()
        return span


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_batch_is_one_span_by_the_conventions_of_messaging(bench: Bench) -> None:
    span = bench.span(records([PARENT, [], []]), scored=2, reasons=["empty"], alarms=[b"{}"])
    assert (span.name, span.kind) == ("process events", SpanKind.CONSUMER)
    assert dict(span.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "g",
        "messaging.batch.message_count": 3,
        "messaging.destination.name": "events",
        "messaging.destination.partition.id": "0",
        "anomaly_worker.scored": 2,
        "anomaly_worker.dead_letters": 1,
        "anomaly_worker.skipped": 0,
        "anomaly_worker.anomalies": 1,
    }
    assert span.resource.attributes["service.name"] == "anomaly-worker"
    assert span.end_time is not None
    assert span.start_time is not None
    assert span.end_time >= span.start_time
    assert "secret" not in span.to_json()


def test_it_links_to_the_traces_of_its_records(bench: Bench) -> None:
    (link,) = bench.span(records([[], PARENT, []])).links
    assert f"{link.context.trace_id:032x}-{link.context.span_id:016x}" == f"{TRACE}-{SPAN}"
    assert link.context.is_remote


def test_however_many_records_there_are_few_are_asked(bench: Bench) -> None:
    asked: list[int] = []
    batch = records([PARENT] * 4096)

    def headers(row: int) -> Headers:
        asked.append(row)
        return PARENT

    span = bench.span(Records(**{name: getattr(batch, name) for name in batch.__slots__} | {"headers": headers}))
    assert len(span.links) == len(asked) == MOST_LINKS
    assert (asked[0], asked[-1]) == (0, 4095)


@pytest.mark.parametrize("header", [b"", b"00", b"\xff\x00", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01", None])
def test_what_is_no_trace_context_is_passed_over(bench: Bench, header: bytes | None) -> None:
    assert not bench.span(records([[("traceparent", header)]])).links


def test_of_several_partitions_or_topics_none_is_named(bench: Bench) -> None:
    attributes = bench.span(records([[], []], places=[0, 1])).attributes or {}
    assert attributes["messaging.destination.name"] == "events"
    assert "messaging.destination.partition.id" not in attributes
    bench.exporter.clear()
    span = bench.span(records([[], []], places=[1, 2]))
    assert span.name == "process"
    assert "messaging.destination.name" not in (span.attributes or {})


def test_the_variables_name_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "presses")
    assert Bench().span(records([[]])).resource.attributes["service.name"] == "presses"


def test_spans_go_out_by_otlp(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as heard:
        for name, value in heard.variables.items():
            monkeypatch.setenv(name, value)
        traces = OpenTelemetry(group_id="g", version="1.2")
        traces.committed(traces.begin(records([PARENT])), answered(1))
        traces.close()
    (span,) = heard.spans
    assert (span.name, len(span.links)) == ("process events", 1)


def test_nobody_asked_means_nothing_is_kept() -> None:
    untraced = Untraced()
    assert untraced.begin(records([PARENT])) is None
    untraced.committed(None, answered(1))
    untraced.close()


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"pip install 'anomaly-worker\[otel\]'"):
        OpenTelemetry(group_id="g", version="1.2")


def test_a_worker_loads_neither_extra_unless_it_is_asked_to() -> None:
    program = "import sys, worker.app\nprint([n for n in ('opentelemetry', 'cryptography') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
