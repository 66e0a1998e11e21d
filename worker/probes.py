"""The worker's pages: what the loop reports goes in; /livez, /readyz, /metrics and perhaps / come out over HTTP.

Read only, bounded requests, a time limit on slow clients, a few connections at a time. It knows no Kafka.
"""

import io
import ipaddress
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from worker.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

log = logging.getLogger(__name__)

STUCK_AFTER_S = 60.0
"""A loop that has not turned for so long is no longer a member of its group either (max.poll.interval.ms)."""

CONNECTIONS = 16
"""The most clients at a time; one more, and the oldest is cut, so that idle clients cannot shut out the kubelet."""

MOST_REQUEST_BYTES = 16_384
"""Of a request's line and headers; what asks for these pages needs a few hundred."""

_CLIENT_TIMEOUT_S = 5.0
_TURN_S = 0.1
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_NOTHING_IS_FETCHED = "default-src 'none'; frame-ancestors 'none'"
_OVERVIEW = "/"
_BY_ADDRESS_ALONE = "This page is shown under an address or as localhost, and under no other name."


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


@dataclass(frozen=True, slots=True)
class Page:
    """What `/` shows."""

    html: str
    security_policy: str  # what a browser may fetch and run for it


class Probes:
    """The HTTP server, in a thread of its own; without `render_page` there is no `/`.

    Raises ConfigError where it cannot listen.
    """

    def __init__(
        self,
        health: Health,
        render_metrics: Callable[[], bytes],
        *,
        render_page: Callable[[], Page] | None = None,
        host: str,
        port: int,
        client_timeout_s: float = _CLIENT_TIMEOUT_S,
    ) -> None:
        handler = _handler(_pages(health, render_metrics, render_page))
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


@dataclass(frozen=True, slots=True)
class _Answer:
    body: bytes
    kind: str = "text/plain"
    good: bool = True
    security_policy: str = _NOTHING_IS_FETCHED


@dataclass(frozen=True, slots=True)
class _Refusal:
    status: HTTPStatus
    reason: str | None = None


def _pages(
    health: Health, render_metrics: Callable[[], bytes], render_page: Callable[[], Page] | None
) -> Mapping[str, Callable[[], _Answer]]:
    def livez() -> _Answer:
        return _Answer(b"alive\n") if health.alive else _Answer(b"the loop does not turn\n", good=False)

    def readyz() -> _Answer:
        return _Answer(b"ready\n") if health.ready else _Answer(b"joining, refilling or ending\n", good=False)

    def metrics() -> _Answer:
        return _Answer(render_metrics(), _PROMETHEUS)

    pages = {"/livez": livez, "/readyz": readyz, "/metrics": metrics}
    if render_page is None:
        return pages

    def overview() -> _Answer:
        page = render_page()
        return _Answer(page.html.encode(), "text/html; charset=utf-8", security_policy=page.security_policy)

    return {**pages, _OVERVIEW: overview}


def _answer_to(path: str, host: str | None, pages: Mapping[str, Callable[[], _Answer]]) -> _Answer | _Refusal:
    page = pages.get(path)
    if page is None:
        return _Refusal(HTTPStatus.NOT_FOUND)
    if path == _OVERVIEW and not _is_address(host):
        return _Refusal(HTTPStatus.MISDIRECTED_REQUEST, _BY_ADDRESS_ALONE)
    return page()


def _is_address(host: str | None) -> bool:
    """Whether a request names an address, or localhost, or nothing.

    Any other name may be an outsider's who lets it lead here, so that their own page may read ours in the browser of
    somebody whom we answer (DNS rebinding).
    """
    try:
        name = urlsplit(f"//{host}").hostname if host else "localhost"
        return name == "localhost" or bool(ipaddress.ip_address(name or ""))
    except ValueError:
        return False


class _Bounded(io.RawIOBase):
    """A client's bytes, up to a limit; then HTTPException, as the base class raises for a header that is too long."""

    def __init__(self, stream: io.RawIOBase, limit: int) -> None:
        self._stream = stream
        self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        count = self._stream.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise HTTPException("request too long")
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


def _handler(pages: Mapping[str, Callable[[], _Answer]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers GET and HEAD of the pages; everything else is refused."""

        server_version = "anomaly-worker"
        sys_version = ""

        def setup(self) -> None:
            super().setup()
            whole = self.connection.makefile("rb", buffering=0)
            self.rfile = io.BufferedReader(_Bounded(whole, MOST_REQUEST_BYTES), 1024)

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except HTTPException:  # in the very first line, which the base class does not expect
                self.command, self.requestline, self.request_version = "", "", "HTTP/1.0"
                self.close_connection = True
                self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            answer = _answer_to(self.path.partition("?")[0], self.headers.get("Host"), pages)
            if isinstance(answer, _Refusal):
                self.send_error(answer.status, explain=answer.reason)
                return
            self.send_response(HTTPStatus.OK if answer.good else HTTPStatus.SERVICE_UNAVAILABLE)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            self.send_header("Content-Security-Policy", answer.security_policy)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if with_body:
                self.wfile.write(answer.body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
            """No line a request."""

    return Handler
