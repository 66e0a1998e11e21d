"""A collector of spans for tests: OTLP over HTTP on the loopback."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.http_server import Handler, serving

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """Where it listens, and what came."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.spans: list[Span] = []

    def take(self, body: bytes) -> None:
        """Keep the spans of a request."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans

    @property
    def variables(self) -> dict[str, str]:
        """What a program must be told to send here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.address, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """Takes spans while the block is entered."""

    class Taking(Handler):
        def do_POST(self) -> None:
            taking.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

    with serving(Taking) as port:
        taking = Collector(f"http://127.0.0.1:{port}")
        yield taking
