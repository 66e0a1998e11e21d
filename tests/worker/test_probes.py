"""The worker's pages over real HTTP on a free loopback port, and clients that misbehave."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from worker.errors import ConfigError
from worker.probes import CONNECTIONS, MOST_REQUEST_BYTES, STUCK_AFTER_S, Health, Page, Probes

PAGE = b"some_metric 1.0\n"


class HandClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def health(clock: HandClock) -> Health:
    return Health(clock)


@pytest.fixture
def serve() -> Iterator[Callable[..., Probes]]:
    with ExitStack() as running:

        def serve(health: Health, render: Callable[[], bytes] = lambda: PAGE, **options: object) -> Probes:
            probes = Probes(health, render, **{"host": "127.0.0.1", "port": 0} | options)
            probes.start()
            running.callback(probes.close)
            return probes

        yield serve


@pytest.fixture
def probes(health: Health, serve: Callable[..., Probes]) -> Probes:
    return serve(health)


def connect(probes: Probes, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, probes.port), timeout=5)


def answer(probes: Probes, request: bytes, host: str = "127.0.0.1") -> bytes:
    """All that comes back."""
    with connect(probes, host) as client:
        client.sendall(request)
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    parts = []
    try:
        while part := client.recv(65_536):
            parts.append(part)
    except ConnectionResetError:  # it left a part of what was sent unread
        pass
    return b"".join(parts)


def ask(probes: Probes, path: str, verb: str = "GET", *, named: str = "localhost") -> tuple[int, dict[str, str], bytes]:
    """Status, headers, body."""
    request = f"{verb} {path} HTTP/1.1\r\nHost: {named}\r\n\r\n"
    head, _, body = answer(probes, request.encode()).partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


def status(probes: Probes, path: str, verb: str = "GET") -> int:
    return ask(probes, path, verb)[0]


# --- pages


def test_it_lives_as_long_as_the_loop_turns(probes: Probes, health: Health, clock: HandClock) -> None:
    assert status(probes, "/livez") == 200
    clock.now_s += STUCK_AFTER_S
    assert status(probes, "/livez") == 503
    health.turned(ready=False)
    assert status(probes, "/livez") == 200


def test_it_is_ready_when_the_loop_says_so(probes: Probes, health: Health) -> None:
    assert status(probes, "/readyz") == 503
    health.turned(ready=True)
    assert status(probes, "/readyz") == 200
    health.turned(ready=False)
    assert status(probes, "/readyz") == 503


def test_told_to_end_it_is_not_ready_whatever_the_loop_still_says(probes: Probes, health: Health) -> None:
    health.turned(ready=True)
    health.end()
    assert status(probes, "/readyz") == 503
    health.turned(ready=True)
    assert (status(probes, "/readyz"), status(probes, "/livez")) == (503, 200)


def test_metrics_are_served_as_prometheus_reads_them(probes: Probes) -> None:
    code, headers, body = ask(probes, "/metrics")
    assert (code, body) == (200, PAGE)
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["Content-Length"] == str(len(PAGE))


def test_a_query_changes_nothing(probes: Probes) -> None:
    assert ask(probes, "/metrics?name[]=up")[2] == PAGE


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_head_is_get_without_the_body(probes: Probes, path: str) -> None:
    got, headed = ask(probes, path), ask(probes, path, "HEAD")
    assert headed[0] == got[0]
    assert headed[1]["Content-Length"] == got[1]["Content-Length"] == str(len(got[2]))
    assert headed[2] == b""


@pytest.mark.parametrize("path", ["/", "/nowhere", "/livez/", "/metrics/../livez", "/%6civez", "//livez/x", "*"])
def test_there_are_no_other_pages(probes: Probes, path: str) -> None:
    assert status(probes, path) == 404


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get"])
def test_nothing_can_be_done_but_read(probes: Probes, verb: str) -> None:
    assert status(probes, "/metrics", verb) in {405, 501}


def test_the_page_is_there_where_it_is_wanted(health: Health, serve: Callable[..., Probes]) -> None:
    probes = serve(health, render_page=lambda: Page("<p>\u00fc</p>", "default-src 'self'"))
    code, headers, body = ask(probes, "/")
    assert (code, body.decode()) == (200, "<p>\u00fc</p>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"] == "default-src 'self'"
    assert status(probes, "/livez") == 200


@pytest.mark.parametrize("named", ["localhost:8080", "LOCALHOST", "127.0.0.1:8080", "10.0.3.7", "[::1]:8080", ""])
def test_the_page_is_shown_under_an_address(health: Health, serve: Callable[..., Probes], named: str) -> None:
    probes = serve(health, render_page=lambda: Page("<p>1</p>", ""))
    assert ask(probes, "/", named=named)[0] == 200


@pytest.mark.parametrize("named", ["evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example", "[", ":80"])
def test_the_page_is_not_shown_under_a_name_that_an_outsider_may_lead_here(
    health: Health, serve: Callable[..., Probes], named: str
) -> None:
    probes = serve(health, render_page=lambda: Page("<p>1</p>", ""))
    code, _, body = ask(probes, "/", named=named)
    assert code == 421
    assert b"under an address or as localhost" in body
    assert b"<p>1</p>" not in body
    assert ask(probes, "/metrics", named=named)[0] == 200  # which hold no entity, and Prometheus may use a name


def test_the_server_does_not_tell_what_it_is_made_of(probes: Probes) -> None:
    told = ask(probes, "/livez")[1]["Server"] + str(ask(probes, "/nowhere"))
    assert "Python" not in told
    assert "BaseHTTP" not in told


# --- clients that misbehave


def test_a_request_line_that_is_too_long_is_refused(probes: Probes) -> None:
    told = answer(probes, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n")
    assert told == b"" or told.split()[1] == b"414"  # a reset may overtake the answer
    assert status(probes, "/livez") == 200


@pytest.mark.parametrize("header", [b"a: b\r\n", b"a: " + b"b" * 5000 + b"\r\n"], ids=["short", "long"])
def test_headers_that_are_too_long_together_are_refused(probes: Probes, header: bytes) -> None:
    told = answer(probes, b"GET /metrics HTTP/1.1\r\n" + header * (MOST_REQUEST_BYTES // len(header) + 1) + b"\r\n")
    assert told == b"" or told.split()[1] == b"431"
    assert status(probes, "/livez") == 200


def test_as_many_headers_as_proxies_add_are_fine(probes: Probes) -> None:
    told = answer(probes, b"GET /metrics HTTP/1.1\r\n" + (b"a: " + b"b" * 150 + b"\r\n") * 90 + b"\r\n")
    assert told.endswith(PAGE)


def test_what_comes_after_a_request_is_never_read(probes: Probes) -> None:
    """Neither a body nor a second request."""
    told = answer(probes, b"GET /livez HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello" + b"GET /metrics HTTP/1.1\r\n\r\n")
    assert told.count(b"HTTP/1.0 200") == 1
    assert PAGE not in told


def test_a_browser_is_let_fetch_and_run_nothing(probes: Probes) -> None:
    headers = ask(probes, "/metrics")[1]
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_too_many_headers_are_refused(probes: Probes) -> None:
    told = answer(probes, b"GET /livez HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n")
    assert told == b"" or told.split()[1] == b"431"
    assert status(probes, "/livez") == 200


@pytest.mark.parametrize("request_bytes", [b"\r\n\r\n", b"\x16\x03\x01\x00\xa5\x01\r\n\r\n", b"GET\r\n\r\n"])
def test_what_is_not_http_harms_nobody(probes: Probes, request_bytes: bytes) -> None:
    assert PAGE not in answer(probes, request_bytes)
    assert status(probes, "/livez") == 200


def test_a_silent_client_is_cut(health: Health, serve: Callable[..., Probes]) -> None:
    probes = serve(health, client_timeout_s=0.2)
    with connect(probes) as client:
        assert read_all(client) == b""


def test_a_client_that_trickles_is_cut_all_the_same(health: Health, serve: Callable[..., Probes]) -> None:
    probes = serve(health, client_timeout_s=0.4)
    with connect(probes) as client:
        assert sends_until_cut(client, pause_s=0.05) < 5


def sends_until_cut(client: socket.socket, *, pause_s: float) -> float:
    """Send a byte of a header again and again; for how many seconds it was let to."""
    began_s = time.monotonic()
    client.sendall(b"GET /livez HTTP/1.1\r\nX: ")
    try:
        while time.monotonic() - began_s < 10:
            client.sendall(b"a")
            time.sleep(pause_s)
    except OSError:
        pass
    return time.monotonic() - began_s


def test_a_page_that_takes_its_time_is_not_cut_early(health: Health, serve: Callable[..., Probes]) -> None:
    large = b"x" * 5_000_000
    assert ask(serve(health, lambda: large), "/metrics")[2] == large


def test_clients_that_only_hold_on_shut_nobody_out(probes: Probes) -> None:
    threads_before = threading.active_count()
    with ExitStack() as held:
        idle = [held.enter_context(connect(probes)) for _ in range(3 * CONNECTIONS)]
        assert status(probes, "/livez") == 200
        assert read_all(idle[0]) == b"", "the oldest was cut"
        wait_until(lambda: threading.active_count() <= threads_before + CONNECTIONS)
        idle[-1].sendall(b"GET /livez HTTP/1.1\r\n\r\n")
        assert b" 200 " in read_all(idle[-1]), "the newest was kept"


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_client_that_goes_away_leaves_no_traceback(probes: Probes, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(5):
        client = connect(probes)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset instead of an end
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        client.close()
    assert status(probes, "/livez") == 200
    assert capfd.readouterr().err == ""


def test_a_page_that_fails_is_told_in_the_log_and_the_others_go_on(
    health: Health, serve: Callable[..., Probes], caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> bytes:
        raise RuntimeError("no metrics today")

    probes = serve(health, broken)
    assert answer(probes, b"GET /metrics HTTP/1.1\r\n\r\n") == b""
    assert status(probes, "/livez") == 200
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "no metrics today" in str(record.exc_info[1])


# --- where it listens


def test_a_port_in_use_is_a_wrong_setting(probes: Probes, health: Health) -> None:
    with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{probes.port} .*http\.port"):
        Probes(health, lambda: PAGE, host="127.0.0.1", port=probes.port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "2001:db8::1"])
def test_an_address_that_is_not_ours_is_a_wrong_setting(health: Health, host: str) -> None:
    with pytest.raises(ConfigError, match="cannot listen on"):
        Probes(health, lambda: PAGE, host=host, port=0)


def test_it_listens_on_ipv6_or_says_that_it_cannot(health: Health, serve: Callable[..., Probes]) -> None:
    if has_ipv6():
        assert answer(serve(health, host="::1"), b"GET /livez HTTP/1.1\r\n\r\n", "::1").endswith(b"alive\n")
    else:
        with pytest.raises(ConfigError, match="cannot listen on ::1"):
            serve(health, host="::1")


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_after_it_is_closed_the_port_is_free_again(health: Health) -> None:
    first = Probes(health, lambda: PAGE, host="127.0.0.1", port=0)
    first.start()
    port = first.port
    first.close()
    second = Probes(health, lambda: PAGE, host="127.0.0.1", port=port)
    second.start()
    second.close()
