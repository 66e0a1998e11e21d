"""Prometheus and its checker of rules: those on the PATH, or ones that are fetched into the user's cache folder."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.broker import cache_folder, free_port
from tests.end_to_end.job import wait_until

VERSION = "v0.316.0"  # of the Go module; what Debian has is older
PROGRAMS = ("promtool", "prometheus")


def program(name: str) -> Path:
    """Where it is. Raises RuntimeError with the remedy where it can neither be found nor fetched."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    kept = cache_folder() / "prometheus"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            fetched = _from_debian(Path(folder)) or _by_go(Path(folder))
            if fetched is None:
                raise RuntimeError(
                    f"{name} is missing: install Prometheus (Debian: apt-get install prometheus;"
                    " macOS: brew install prometheus)."
                )
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(dir=kept.parent, prefix="prometheus-partial-"))
            for one in PROGRAMS:
                shutil.copy(fetched / one, partial)
            with contextlib.suppress(OSError):  # somebody else was quicker
                partial.rename(kept)
            shutil.rmtree(partial, ignore_errors=True)
    return kept / name


def _from_debian(folder: Path) -> Path | None:
    """Out of Debian's package, which is not installed: nothing on the machine changes."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return None
    download = ["apt-get", "download", "prometheus"]
    if not _done(download, folder):  # the lists may never have been fetched
        _done(["apt-get", "update"], folder)
        if not _done(download, folder):
            return None
    (package,) = folder.glob("prometheus_*.deb")
    subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
    return folder / "usr" / "bin"


def _by_go(folder: Path) -> Path | None:
    modules = [f"github.com/prometheus/prometheus/cmd/{one}@{VERSION}" for one in PROGRAMS]
    return folder if shutil.which("go") and _done(["go", "install", *modules], folder) else None


def _done(command: list[str], folder: Path) -> bool:
    environment = {**os.environ, "GOBIN": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False).returncode == 0


class Prometheus:
    """One that reads a target twice a second, and answers queries."""

    def __init__(self, port: int) -> None:
        self._port = port

    def query(self, expression: str) -> list[object]:
        """The result of an instant query. Raises AssertionError where it is refused."""
        answer = self._get(f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        result: list[object] = answer["data"]["result"]
        return result

    def rules(self) -> dict[str, str]:
        """Each alert, and whether it could be evaluated: `ok`, `unknown` or `err`."""
        groups = self._get("/api/v1/rules")["data"]["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    def _get(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10) as answer:
                got: dict[str, Any] = json.load(answer)
                return got
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from error


@contextlib.contextmanager
def prometheus(folder: Path, *, target: str, labels: dict[str, str], rules: Path) -> Iterator[Prometheus]:
    """A running Prometheus that reads the target, and evaluates the rules."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "workers", "static_configs": [{"targets": [target], "labels": labels}]}],
    }
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    options = [
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([program("prometheus"), *options], stdout=log, stderr=log)
    try:
        started = Prometheus(port)

        def ready() -> bool:
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            with contextlib.suppress(OSError, AssertionError):
                return bool(started.query("up == 1"))
            return False

        wait_until(ready, (folder / "prometheus.log").read_text, 30)
        yield started
    finally:
        process.terminate()
        process.wait(10)
