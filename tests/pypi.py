"""What single checks need of PyPI, and no lock holds: each in an environment of its own, in a folder that is kept."""

import subprocess
import sys
from pathlib import Path

from tests.broker import cache_folder, locked


def environment(requirement: str) -> Path:
    """The folder of an environment that holds such as `name==1.2`; made where it is not there yet.

    Safe beside another installation (a lock) and after one that was cut short (its stamp is written last).
    Raises RuntimeError with pip's last words.
    """
    home = cache_folder() / requirement
    cache_folder().mkdir(parents=True, exist_ok=True)
    with locked(cache_folder() / "pypi.lock"):
        if not (home / "ready").exists():
            print(f"Fetching {requirement}, once.", flush=True)  # noqa: T201 - a wait that would puzzle
            _run(sys.executable, "-m", "venv", "--clear", str(home))
            _run(str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-cache-dir", requirement)
            (home / "ready").touch()
    return home


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}; its last words:\n{done.stderr[-2000:]}")
