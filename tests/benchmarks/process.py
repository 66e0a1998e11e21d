"""A command in a process of its own, watched from outside: its CPU time and its peak memory over time.

It knows nothing of Kafka. Linux only: it reads /proc.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

READ_EVERY_S = 0.02
ASK_EVERY_S = 0.5
STOP_TIMEOUT_S = 20.0

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


class Reading(NamedTuple):
    """What a process had used at a moment, all its threads together."""

    at_s: float  # by the wall clock, as the broker's
    cpu_s: float
    peak_bytes: int


def watch(command: Sequence[str], *, log: Path, finished: Callable[[], bool], timeout_s: float) -> list[Reading]:
    """Run the command until it ends by itself, or by SIGTERM once `finished`; readings from its start to its end.

    Raises RuntimeError, with the end of its log, where it fails or takes longer than `timeout_s`.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        readings = _readings(process, finished, timeout_s)
        process.terminate()
        code = process.wait(STOP_TIMEOUT_S)
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"{' '.join(command)}: {error}; the end of its log:\n{_end(log)}") from error
    finally:
        process.kill()
        process.wait()
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}; the end of its log:\n{_end(log)}")
    return readings


def _readings(process: "subprocess.Popen[bytes]", finished: Callable[[], bool], timeout_s: float) -> list[Reading]:
    readings: list[Reading] = []
    started_s = asked_s = time.monotonic()
    while process.poll() is None:
        reading = _read(process.pid)
        if reading is not None:
            readings.append(reading)
        now_s = time.monotonic()
        if now_s - started_s > timeout_s:
            raise TimeoutError(f"not done after {timeout_s:g} s")
        if now_s - asked_s > ASK_EVERY_S:
            if finished():
                break
            asked_s = time.monotonic()
        time.sleep(READ_EVERY_S)
    return readings


def _read(pid: int) -> Reading | None:
    """None where the process is just ending."""
    try:
        used = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        peak = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
    except FileNotFoundError:
        return None
    user, system = int(used[11]), int(used[12])
    return Reading(time.time(), (user + system) * _TICK_S, int(peak[1]) * 1024) if peak else None


def _end(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]
