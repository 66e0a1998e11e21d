"""Prometheus' own checker of rules: the one on the PATH, or one that is fetched into the user's cache folder."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.broker import cache_folder

MODULE = "github.com/prometheus/prometheus/cmd/promtool@v0.316.0"


def promtool() -> Path:
    """Where it is. Raises RuntimeError with the remedy where it can neither be found nor fetched."""
    found = shutil.which("promtool")
    if found is not None:
        return Path(found)
    kept = cache_folder() / "promtool"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            fetched = _from_debian(Path(folder)) or _by_go(Path(folder))
            if fetched is None:
                raise RuntimeError(
                    "promtool is missing: install Prometheus (Debian: apt-get install prometheus;"
                    " macOS: brew install prometheus)."
                )
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_name(f".promtool-{os.getpid()}")
            shutil.copy(fetched, partial)
            partial.replace(kept)
    return kept


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
    return folder / "usr" / "bin" / "promtool"


def _by_go(folder: Path) -> Path | None:
    if shutil.which("go") is None or not _done(["go", "install", MODULE], folder):
        return None
    return folder / "promtool"


def _done(command: list[str], folder: Path) -> bool:
    environment = {**os.environ, "GOBIN": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False).returncode == 0
