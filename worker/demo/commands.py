"""The demo's real commands: printed as a person would type them, then run."""

import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from worker.errors import WorkerError

STOP_TIMEOUT_S = 25.0
"""The worker promises to be gone 20 s after SIGTERM."""

READY_TIMEOUT_S = 60.0


def show(console: Console, command: Sequence[str]) -> None:
    """Print the command; long ones an option a line, ready to be pasted."""
    text = " ".join(command)
    if len(text) > 100:
        text = text.replace(" --", " \\\n    --")
    console.print(f"\n$ {text}", style="bold cyan", markup=False, highlight=False, soft_wrap=True)


def run(console: Console, command: Sequence[str], *, folder: Path) -> None:
    """Show and run a command in the folder, its output where ours goes; `*` names files. Raises WorkerError."""
    show(console, command)
    process = subprocess.Popen(_executable(command, folder), cwd=folder)  # noqa: S603 - our own command
    try:
        exit_code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if exit_code != 0:
        raise WorkerError(f"{command[0]} {command[1]} ended with exit code {exit_code}")


class WorkerProcess:
    """A running `anomaly-worker run`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def check(self) -> None:
        """Raises WorkerError, with the log's last line, if the worker has ended."""
        if self._process.poll() is not None:
            lines = self._log.read_text(errors="replace").strip().splitlines() or ["its log is empty"]
            raise WorkerError(
                f"the worker ended with exit code {self._process.returncode}: {lines[-1]} (see {self._log})"
            )

    def kill(self) -> None:
        """As `kill -9` does."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """As a deployment does: SIGTERM, and SIGKILL where that did not help. The exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


@contextmanager
def worker(
    console: Console, command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str]
) -> Iterator[WorkerProcess]:
    """Show and start a worker; it is gone when the block ends, however it ends."""
    show(console, command)
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            _executable(command, folder), cwd=folder, stdout=output, stderr=output, env=dict(environment)
        )
    running = WorkerProcess(process, log)
    try:
        yield running
    finally:
        running.stop()


def wait_until_ready(running: WorkerProcess, port: int) -> float:
    """Wait for /readyz; seconds it took. Raises WorkerError if the worker ends or is not ready in time."""
    started_s = time.monotonic()
    while (waited_s := time.monotonic() - started_s) < READY_TIMEOUT_S:
        running.check()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
                return waited_s
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise WorkerError(f"the worker was not ready after {READY_TIMEOUT_S:.0f} s")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _executable(command: Sequence[str], folder: Path) -> list[str]:
    """With the program of this environment, and file patterns replaced by their files."""
    beside_python = Path(sys.executable).with_name(command[0])
    program = str(beside_python) if beside_python.exists() else shutil.which(command[0])
    if program is None:
        raise WorkerError(f"the command {command[0]} is not installed: run the demo through `make demo`")
    arguments = [name for argument in command[1:] for name in _files(argument, folder)]
    return [program, *arguments]


def _files(argument: str, folder: Path) -> list[str]:
    if "*" not in argument:
        return [argument]
    return sorted(str(path.relative_to(folder)) for path in folder.glob(argument))
