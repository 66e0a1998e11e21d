"""A file over HTTP: a URL goes in, its bytes come out. Knows neither digests nor models."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from worker.errors import ArtifactError, clause

PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadLimits:
    """When a download is given up."""

    max_bytes: int
    stall_timeout_s: float = 15.0  # no byte for so long: the server is gone
    timeout_s: float = 300.0  # the whole file: a pod that loads for longer looks dead to its operator


def download(url: str, limits: DownloadLimits) -> bytes:
    """The body of a GET, redirects and the environment's proxies followed, never from https to plain http.

    Raises ArtifactError; its sentence names the host and the path, but not the query, which may hold a signature.
    """
    shown = _without_secrets(url)
    try:
        with _opener().open(url, timeout=limits.stall_timeout_s) as response:
            return b"".join(_pieces(response, limits, shown))
    except HTTPError as error:
        error.close()
        raise ArtifactError(
            f"downloading {shown} failed: the server answered {error.code} {clause(error.reason)}"
        ) from error
    except TimeoutError as error:
        raise _stalled(shown, limits) from error
    except URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _stalled(shown, limits) from error
        raise ArtifactError(f"downloading {shown} failed: {clause(error.reason)}") from error
    except (HTTPException, OSError, ValueError) as error:
        raise ArtifactError(f"downloading {shown} failed: {clause(error) or type(error).__name__}") from error


def _pieces(response: HTTPResponse, limits: DownloadLimits, shown: str) -> Iterator[bytes]:
    announced = response.headers.get("Content-Length")
    expected = int(announced) if announced is not None else None
    if expected is not None and expected > limits.max_bytes:
        raise _too_large(shown, limits)
    received, deadline = 0, time.monotonic() + limits.timeout_s
    while piece := response.read1(PIECE_BYTES):
        received += len(piece)
        if received > limits.max_bytes:
            raise _too_large(shown, limits)
        if time.monotonic() > deadline:
            raise ArtifactError(f"downloading {shown} failed: it was not complete after {limits.timeout_s:g} s")
        yield piece
    if expected is not None and received != expected:
        raise ArtifactError(f"downloading {shown} failed: it ended after {received} of {expected} bytes")


def _too_large(shown: str, limits: DownloadLimits) -> ArtifactError:
    return ArtifactError(f"{shown} is larger than {limits.max_bytes} bytes, the most that an artifact may have")


def _stalled(shown: str, limits: DownloadLimits) -> ArtifactError:
    return ArtifactError(f"downloading {shown} failed: nothing came for {limits.stall_timeout_s:g} s")


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _opener() -> request.OpenerDirector:
    """An opener of http and https alone: the standard one would also follow a redirect to ftp."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        _Redirects(),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirects(request.HTTPRedirectHandler):
    """Follows redirects, but never out of encryption."""

    def redirect_request(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> request.Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise URLError("it redirects from https to an unencrypted address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
