"""Images built and run by podman and runc on a Debian machine, as root, without a daemon or a registry.

The base is a Debian made by debootstrap. Base and layers stay in podman's store, so that the next time is quick.
"""

import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
RELEASE = "bookworm"
BASE = f"localhost/anomaly-worker-base:{RELEASE}"
IMAGE = "localhost/anomaly-worker"

# The containers of this machine may not raise these limits, and podman's defaults are higher.
_LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")
_PODMAN = ("podman", "--cgroup-manager=cgroupfs", "--runtime=runc")  # runc also knows hybrid control groups


def podman(*arguments: str, check: bool = True, timeout_s: float = 1200) -> str:
    """What a command of podman prints. Raises AssertionError with its last words where it fails."""
    done = subprocess.run([*_PODMAN, *arguments], capture_output=True, text=True, check=False, timeout=timeout_s)
    assert not check or done.returncode == 0, f"podman {' '.join(arguments)}:\n{done.stderr[-3000:]}"
    return done.stdout


def name_of(target: str) -> str:
    """What the image of a target of the Dockerfile is called here."""
    return f"{IMAGE}:{target}"


def build(target: str) -> str:
    """The image of a target of the Dockerfile, built from what is in the checkout."""
    if not podman("images", "--quiet", BASE, check=False).strip():
        _make_base()
    name = name_of(target)
    podman(
        "build",
        "--network=host",
        *_LIMITS,
        f"--build-arg=BASE={BASE}",
        "--build-arg=COMPILER=gcc libc6-dev python3-dev",
        "--volume=/etc/ssl/certs:/etc/ssl/certs:ro",  # the authorities of this machine's network
        f"--target={target}",
        f"--tag={name}",
        str(ROOT),
    )
    return name


def _make_base() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, archive = Path(folder) / "root", Path(folder) / "base.tar"
        packages = "--include=python3,python3-venv,ca-certificates"
        subprocess.run(["debootstrap", "--variant=minbase", packages, RELEASE, root], check=True, capture_output=True)
        subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
        podman("import", str(archive), BASE)


def command(image: str, *arguments: str, options: tuple[str, ...] = (), memory: str = "512m") -> list[str]:
    """How to run a container as the chart's pods run: no root, nothing to write to, no capability, little memory."""
    return [
        *_PODMAN,
        "run",
        "--rm",
        "--network=host",
        *_LIMITS,
        "--read-only",
        "--tmpfs=/tmp",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        f"--memory={memory}",
        *options,
        image,
        *arguments,
    ]
