"""The API server as a client sees it: objects as JSON. It knows no kind; it asks the server where each is kept."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

Object = dict[str, Any]

_TIMEOUT_S = 60.0
_WAIT_S = 180.0  # a busy machine needs patience; what holds sooner costs nothing
_POLL_S = 0.25


class ApiError(Exception):
    """The server's refusal: its status, and its reason in words."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status


@dataclass
class Api:
    """One server, and who asks it."""

    server: str
    token: str
    authority: Path
    warnings: list[str] = field(default_factory=list)
    """Everything that the server had to say about what it took."""

    def text(self, path: str, *, method: str = "GET", body: object = None, **query: str) -> str:
        """The answer to a request. Raises ApiError; OSError where nobody answers."""
        patch = {"PATCH": "application/merge-patch+json"}
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.server}{path}?{urlencode(query)}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": patch.get(method, "application/json")},
            method=method,
        )
        trusted = ssl.create_default_context(cafile=self.authority)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=trusted) as answer:  # noqa: S310 - the same
                self.warnings += answer.headers.get_all("Warning") or []
                said: bytes = answer.read()
                return said.decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(error.code, _reason(error.read().decode(errors="replace"))) from None

    def get(self, path: str, **query: str) -> Object:
        """The object at a path."""
        found: Object = json.loads(self.text(path, **query))
        return found

    def items(self, path: str, **query: str) -> list[Object]:
        """The objects of a list."""
        found: list[Object] = self.get(path, **query)["items"]
        return found

    def create(self, one: Object, **query: str) -> Object:
        """A new object."""
        made: Object = json.loads(self.text(self.path_of(one), method="POST", body=one, **query))
        return made

    def post(self, path: str, body: Object) -> None:
        """An action on what is there."""
        self.text(path, method="POST", body=body)

    def patch(self, path: str, body: Object) -> None:
        """Change what is named."""
        self.text(path, method="PATCH", body=body)

    def delete(self, path: str, **options: object) -> None:
        """Let it go, as these options say."""
        self.text(path, method="DELETE", body={"apiVersion": "v1", "kind": "DeleteOptions", **options})

    def path_of(self, one: Object) -> str:
        """Where objects like this one are kept."""
        kind = self.kinds(one["apiVersion"])[one["kind"]]
        namespace = f"/namespaces/{one['metadata'].get('namespace', 'default')}" if kind["namespaced"] else ""
        return f"{root(one['apiVersion'])}{namespace}/{kind['name']}"

    def kinds(self, api_version: str) -> dict[str, Object]:
        """The kinds of a version, and what the server says of each."""
        resources = self.get(root(api_version))["resources"]
        return {one["kind"]: one for one in resources if "/" not in one["name"]}

    def wait_until(
        self, condition: Callable[[], bool], what: Callable[[], str] | str, timeout_s: float = _WAIT_S
    ) -> float:
        """How many seconds went by until it held. Raises AssertionError that tells what was waited for."""
        began_s = time.monotonic()
        while not condition():
            if time.monotonic() > began_s + timeout_s:
                raise AssertionError(f"after {timeout_s:g} s: {what if isinstance(what, str) else what()}")
            time.sleep(_POLL_S)
        return time.monotonic() - began_s


def root(api_version: str) -> str:
    """Where a version's kinds are found."""
    return f"/{'apis' if '/' in api_version else 'api'}/{api_version}"


def _reason(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError):
        return text
