"""Programs from Debian's packages, installed where they are missing: `python -m tests.debian PROGRAM...`.

For what only works on Debian, as root, anyway; there nothing needs to be installed by hand. It does nothing where
everything is there, and says in one sentence what to do where it cannot help.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

PACKAGES = {
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "chromium": "chromium",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "java": "default-jre-headless",
    "mount": "mount",
    "mvn": "maven",
    "openssl": "openssl",
    "podman": "podman",
    "runc": "runc",
    "unshare": "util-linux",
}
"""Which package has a program."""

_APT = ("apt-get", "--quiet", "--yes", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300")


class MissingError(Exception):
    """Programs that are not there and cannot be fetched: the sentence names the remedy."""


def provide(programs: Sequence[str]) -> None:
    """Install the packages of those programs that are not there. Raises MissingError."""
    missing = sorted({PACKAGES[program] for program in programs if shutil.which(program) is None})
    if not missing:
        return
    words = " ".join(missing)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise MissingError(f"Missing: {words}. This command installs them on Debian, as root; here, you must.")
    print(f"Installing from Debian: {words}", flush=True)  # noqa: T201 - the command's output
    said = _apt("update")  # where an unrelated archive is out of reach, the packages may be had all the same
    said += _apt("install", "--no-install-recommends", *missing)
    if left := [program for program in programs if shutil.which(program) is None]:
        raise MissingError(f"apt-get install {words} did not bring {', '.join(left)}; its last words:\n{said[-2000:]}")


def _apt(*arguments: str) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = [*_APT, *arguments]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


if __name__ == "__main__":
    try:
        provide(sys.argv[1:])
    except MissingError as error:
        sys.exit(str(error))
