"""Traces by OpenTelemetry, where they are wanted: each committed batch becomes a span with links to its events' traces.

Where spans go and how many, OpenTelemetry's own variables say (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER, ...).
The packages are an extra, and are loaded where traces are wanted alone.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from worker.batch import Records
from worker.bounded import beside
from worker.errors import ConfigError
from worker.metrics import Answered

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Link

MOST_LINKS = 32
"""Nothing shows a span with thousands: so many records of a batch, evenly spread, are asked for theirs."""

_LAST_SPANS_S = 2.0


@dataclass(frozen=True, slots=True)
class Traced:
    """What a span is made of once its batch is committed."""

    began_ns: int
    links: "tuple[Link, ...]"
    topics: frozenset[str]
    partitions: frozenset[int]
    records: int


class Traces(Protocol):
    """What the corridor tells: a batch when it begins, and when it is committed."""

    def begin(self, records: Records) -> Traced | None:
        """A batch is to be processed."""

    def committed(self, traced: Traced | None, answered: Answered) -> None:
        """Its answers are out for good."""

    def close(self) -> None:
        """Nothing follows."""


class Untraced:
    """Nobody asked for traces."""

    def begin(self, records: Records) -> None:
        """Nothing is kept."""

    def committed(self, traced: Traced | None, answered: Answered) -> None:
        """Nothing is told."""

    def close(self) -> None:
        """Nothing waits."""


class OpenTelemetry:
    """One span a batch, by the semantic conventions of messaging.

    `processor` takes the spans; where it is not given, they go out by OTLP over HTTP. Raises ConfigError where the
    packages are missing.
    """

    def __init__(self, *, group_id: str, version: str, processor: "SpanProcessor | None" = None) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError("traces.enabled needs the extra `otel`: pip install 'anomaly-worker[otel]'.") from error
        ours = Resource({"service.name": "anomaly-worker", "service.version": version})
        self._provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("anomaly-worker", version)
        self._group_id = group_id

    def begin(self, records: Records) -> Traced:
        """Look at few of its records' headers."""
        used = [records.partitions[place] for place in np.unique(records.partition).tolist()]
        return Traced(
            began_ns=time.time_ns(),
            links=tuple(_links(records)),
            topics=frozenset(partition.topic for partition in used),
            partitions=frozenset(partition.partition for partition in used),
            records=len(records),
        )

    def committed(self, traced: Traced | None, answered: Answered) -> None:
        """The span, from then to now."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - an extra

        if traced is None:
            return
        name = f"process {next(iter(traced.topics))}" if len(traced.topics) == 1 else "process"
        span = self._tracer.start_span(
            name,
            kind=SpanKind.CONSUMER,
            links=traced.links,
            start_time=traced.began_ns,
            attributes={**self._about(traced), **_outcome(answered)},
        )
        span.end()

    def close(self) -> None:
        """Send what waits, within two seconds: a collector that is away does not hold up the end."""
        flushed = beside(lambda: self._provider.force_flush(int(1000 * _LAST_SPANS_S)))
        try:
            flushed.result(_LAST_SPANS_S)
        except TimeoutError:
            return

    def _about(self, traced: Traced) -> Mapping[str, str | int]:
        """https://opentelemetry.io/docs/specs/semconv/messaging/kafka/."""
        about: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": self._group_id,
            "messaging.batch.message_count": traced.records,
        }
        if len(traced.topics) == 1:
            about["messaging.destination.name"] = next(iter(traced.topics))
            if len(traced.partitions) == 1:
                about["messaging.destination.partition.id"] = str(next(iter(traced.partitions)))
        return about


def _outcome(answered: Answered) -> Mapping[str, int]:
    return {
        "anomaly_worker.scored": answered.scored,
        "anomaly_worker.dead_letters": len(answered.reasons),
        "anomaly_worker.skipped": answered.skipped,
        "anomaly_worker.anomalies": answered.anomalies,
    }


def _links(records: Records) -> "Iterator[Link]":
    from opentelemetry import trace  # noqa: PLC0415 - an extra
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    propagator = TraceContextTextMapPropagator()
    for row in np.linspace(0, len(records) - 1, min(MOST_LINKS, len(records))).astype(int).tolist():
        carried = _text_headers(records, row)
        if "traceparent" in carried:
            context = trace.get_current_span(propagator.extract(carried)).get_span_context()
            if context.is_valid:
                yield trace.Link(context)


def _text_headers(records: Records, row: int) -> dict[str, str]:
    """W3C trace context, where it is ASCII as it must be."""
    return {
        name: value.decode()
        for name, value in records.headers(row)
        if name in {"traceparent", "tracestate"} and value is not None and value.isascii()
    }
