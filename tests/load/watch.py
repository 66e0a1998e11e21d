"""What a process takes while it works: memory, file descriptors and threads, sampled from /proc; and how they grow."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

MIB = 1 << 20


class Sample(NamedTuple):
    """One look at a process."""

    at_s: float
    resident_bytes: int
    descriptors: int
    threads: int


def sample(pid: int) -> Sample:
    """What it takes now. Raises OSError where it has ended."""
    folder = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
    return Sample(
        at_s=time.monotonic(),
        resident_bytes=int(status["VmRSS"].split()[0]) * 1024,
        descriptors=sum(1 for _ in (folder / "fd").iterdir()),
        threads=int(status["Threads"]),
    )


class Watch:
    """Samples in a thread of its own, from entering the block until leaving it or the end of the process."""

    def __init__(self, pid: int, *, every_s: float = 1.0) -> None:
        self.samples: list[Sample] = []
        self._pid, self._every_s = pid, every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self.samples.append(sample(self._pid))
            except OSError:  # it has ended
                return
            if self._stopped.wait(self._every_s):
                return

    @property
    def now_mib(self) -> float:
        """What it takes now. Raises OSError where it has ended."""
        return sample(self._pid).resident_bytes / MIB

    @property
    def most_mib(self) -> float:
        """The most memory that was seen."""
        return max(each.resident_bytes for each in self.samples) / MIB


def settled(samples: Sequence[Sample], *, warm_up: float = 0.25) -> Sequence[Sample]:
    """Those after the first part of the time, in which caches and arenas fill."""
    begin_s, end_s = samples[0].at_s, samples[-1].at_s
    return [each for each in samples if each.at_s >= begin_s + warm_up * (end_s - begin_s)]


def slope_mib_an_hour(samples: Sequence[Sample]) -> float:
    """How fast memory grows, by least squares; 0 where there are fewer than two samples."""
    if len(samples) < 2:
        return 0.0
    hours = [(each.at_s - samples[0].at_s) / 3600 for each in samples]
    return float(np.polyfit(hours, [each.resident_bytes / MIB for each in samples], 1)[0])
