"""The worker's pages: what the loop reports goes in, /livez, /readyz and /metrics come out over HTTP.

Read only, bounded requests, a time limit on slow clients, a few connections at a time. It knows no Kafka.
"""

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from worker.errors import ConfigError

log = logging.getLogger(__name__)

STUCK_AFTER_S = 60.0
"""A loop that has not turned for so long is no longer a member of its group either (max.poll.interval.ms)."""

CONNECTIONS = 16
"""The most clients at a time; one more, and the oldest is cut, so that idle clients cannot shut out the kubelet."""

_CLIENT_TIMEOUT_S = 5.0
_TURN_S = 0.1
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """What the loop says of itself, and that it was told to end; read by the pages."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turned_s = clock()
        self._ready = False
        self._ending = False

    def turned(self, *, ready: bool) -> None:
        """The loop turns, and is ready or not."""
        self._turned_s = self._clock()
        self._ready = ready

    def end(self) -> None:
        """It was told to end: it is not ready any more, also while a call to silent brokers still blocks the loop."""
        self._ending = True

    @property
    def ready(self) -> bool:
        """Whether it works, with its windows filled."""
        return self._ready and not self._ending

    @property
    def alive(self) -> bool:
        """Whether the loop turned lately."""
        return self._clock() - self._turned_s < STUCK_AFTER_S


class Probes:
    """The HTTP server, in a thread of its own. Raises ConfigError where it cannot listen."""

    def __init__(
        self,
        health: Health,
        render_metrics: Callable[[], bytes],
        *,
        host: str,
        port: int,
        client_timeout_s: float = _CLIENT_TIMEOUT_S,
    ) -> None:
        handler = _handler(health, render_metrics)
        try:
            self._server = _Server(host, port, handler, client_timeout_s=client_timeout_s)
        except OSError as error:
            raise ConfigError(
                f"http: cannot listen on {host}:{port} ({error.strerror or error}): choose another http.port, or null."
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_TURN_S,), name="probes", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """A thread a client, few clients at a time, each for a limited time however slowly it sends or reads."""

    daemon_threads = True
    request_queue_size = 64  # with the base class's 5, a burst of clients lets the kubelet wait for seconds

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler], *, client_timeout_s: float) -> None:
        self._client_timeout_s = client_timeout_s
        self._since_s: dict[socket.socket, float] = {}  # the oldest first
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        """Bind; the base class would also look its own name up, which can take long and is used nowhere."""
        TCPServer.server_bind(self)
        self.server_port = int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class
        """Let a client in, at the cost of the oldest where all places are taken."""
        oldest = list(self._since_s)
        for overdue in oldest[: max(0, len(oldest) + 1 - CONNECTIONS)]:
            self._cut(overdue)
        self._since_s[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Between clients and in every turn without one: cut those that have had their time."""
        latest_s = time.monotonic() - self._client_timeout_s
        for request, since_s in list(self._since_s.items()):
            if since_s < latest_s:
                self._cut(request)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as the base class
        """A client's thread is done with it."""
        self._since_s.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as the base class
        """A client that went away is no event; the base class would print a traceback among the log's lines."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("a page could not be answered", exc_info=error)

    def _cut(self, request: socket.socket) -> None:
        """Its thread wakes up at the end of the stream, and closes it."""
        self._since_s.pop(request, None)
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)


def _handler(health: Health, render_metrics: Callable[[], bytes]) -> type[BaseHTTPRequestHandler]:
    def livez() -> tuple[bool, bytes, str]:
        return health.alive, b"alive\n" if health.alive else b"the loop does not turn\n", "text/plain"

    def readyz() -> tuple[bool, bytes, str]:
        return health.ready, b"ready\n" if health.ready else b"joining, refilling or ending\n", "text/plain"

    def metrics() -> tuple[bool, bytes, str]:
        return True, render_metrics(), _PROMETHEUS

    pages = {"/livez": livez, "/readyz": readyz, "/metrics": metrics}

    class Handler(BaseHTTPRequestHandler):
        """Answers GET and HEAD of the three pages; everything else is refused."""

        server_version = "anomaly-worker"
        sys_version = ""

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            page = pages.get(self.path.partition("?")[0])
            if page is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            good, body, kind = page()
            self.send_response(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
            """No line a request."""

    return Handler
