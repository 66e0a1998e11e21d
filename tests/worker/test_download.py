"""Artifacts over HTTP, from a server on the loopback interface that behaves as badly as it is told to."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.error import URLError
from urllib.request import Request

import pytest

from schemas.artifact import verified_digest
from tests.artifacts import artifact_bytes
from tests.http_server import Handler, serving
from worker.download import DownloadLimits, _Redirects, download
from worker.errors import ArtifactError
from worker.model_store import load_artifact

BODY = artifact_bytes()
LIMITS = DownloadLimits(max_bytes=100_000, stall_timeout_s=0.3, timeout_s=0.6)

Answer = Callable[[BaseHTTPRequestHandler, threading.Event], None]


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """Where it listens; what waits in an answer is let go at the end."""
    over = threading.Event()

    class Answering(Handler):
        def do_GET(self) -> None:
            answer(self, over)

    with serving(Answering) as port:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            over.set()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def body(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(BODY)))
    handler.end_headers()
    handler.wfile.write(BODY)


def body_without_length(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(BODY)


def not_found(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_error(404)


def silence(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    over.wait(10)


def silence_in_the_middle(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(BODY)))
    handler.end_headers()
    handler.wfile.write(BODY[:100])
    handler.wfile.flush()
    over.wait(10)


def drops(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    """Never quiet for long, never done."""
    handler.send_response(200)
    handler.end_headers()
    while not over.wait(0.05):
        handler.wfile.write(b"x")
        handler.wfile.flush()


def cut_short(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(BODY)))
    handler.end_headers()
    handler.wfile.write(BODY[:-1])


def announces_too_much(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100001")
    handler.end_headers()


def sends_too_much(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(bytes(100_001))


def nonsense(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.wfile.write(b"no http at all\r\n\r\n")


def redirects_to_the_body(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    if handler.path == "/moved.onnx":
        body(handler, over)
        return
    handler.send_response(302)
    handler.send_header("Location", "/moved.onnx")
    handler.end_headers()


def redirects_to_a_file(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(302)
    handler.send_header("Location", "file:///etc/hostname")
    handler.end_headers()


@pytest.mark.parametrize("answer", [body, body_without_length, redirects_to_the_body])
def test_an_artifact_is_downloaded_and_verified(answer: Answer) -> None:
    with server(answer) as url:
        for pin in (verified_digest(BODY), hashlib.sha256(BODY).hexdigest()):
            assert load_artifact(f"{url}/model.onnx", sha256=pin, limits=LIMITS).file == BODY


def test_a_download_of_another_digest_is_refused() -> None:
    with server(body) as url, pytest.raises(ArtifactError, match=r"model\.onnx is refused: model\.sha256 asks for 000"):
        load_artifact(f"{url}/model.onnx?signature=secret", sha256="0" * 64, limits=LIMITS)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (not_found, "failed: the server answered 404 Not Found"),
        (silence, "failed: nothing came for 0.3 s"),
        (silence_in_the_middle, "failed: nothing came for 0.3 s"),
        (drops, "failed: it was not complete after 0.6 s"),
        (cut_short, f"failed: it ended after {len(BODY) - 1} of {len(BODY)} bytes"),
        (announces_too_much, "is larger than 100000 bytes"),
        (sends_too_much, "is larger than 100000 bytes"),
        (nonsense, "failed: "),
        (redirects_to_a_file, "failed: "),
    ],
)
def test_a_bad_download_is_told_in_a_sentence_without_the_urls_secrets(answer: Answer, sentence: str) -> None:
    with server(answer) as url, pytest.raises(ArtifactError) as caught:
        download(f"{url}/model.onnx?signature=secret", LIMITS)
    assert sentence in str(caught.value)
    assert f"{url}/model.onnx" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_told() -> None:
    with server(body) as url:
        pass
    with pytest.raises(ArtifactError, match=r"downloading http://127\.0\.0\.1:\d+/m failed: .*[Cc]onnection refused"):
        download(f"{url}/m", LIMITS)


def test_credentials_in_a_url_are_not_shown() -> None:
    with pytest.raises(ArtifactError) as caught:
        download("http://user:password@127.0.0.1:1/m", LIMITS)
    assert "password" not in str(caught.value)


def test_a_redirect_never_leaves_encryption() -> None:
    with pytest.raises(URLError, match="unencrypted"):
        _Redirects().redirect_request(
            Request("https://host/model.onnx"), None, 302, "Found", {}, "http://host/model.onnx"
        )
