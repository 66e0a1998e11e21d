"""The worker's pages: what the loop reports goes in, /livez, /readyz and /metrics come out over HTTP.

Read only, bounded requests, a time limit on slow clients. It knows no Kafka.
"""

import logging
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from worker.errors import ConfigError

log = logging.getLogger(__name__)

STUCK_AFTER_S = 60.0
"""A loop that has not turned for so long is no longer a member of its group either (max.poll.interval.ms)."""

_CLIENT_TIMEOUT_S = 5.0
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """What the loop says of itself; written by the loop, read by the pages."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turned_s = clock()
        self.ready = False

    def turned(self, *, ready: bool) -> None:
        """The loop turns, and is ready or not."""
        self._turned_s = self._clock()
        self.ready = ready

    @property
    def alive(self) -> bool:
        """Whether the loop turned lately."""
        return self._clock() - self._turned_s < STUCK_AFTER_S


class Probes:
    """The HTTP server, in a thread of its own. Raises ConfigError where it cannot listen."""

    def __init__(self, health: Health, render_metrics: Callable[[], bytes], *, host: str, port: int) -> None:
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(health, render_metrics))
        except OSError as error:
            raise ConfigError(
                f"http: cannot listen on {host}:{port} ({error.strerror or error}): choose another http.port, or null."
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)

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

        timeout = _CLIENT_TIMEOUT_S
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
