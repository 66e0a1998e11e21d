"""Golden windows, a parity table and events/s of one artifact on CUDA: `python -m tests.gpu_check MODEL [SHA256]`.

Ends with 1, and says that nothing was run, where no GPU can be used. Not a part of the test run: it needs a GPU.
"""

import sys
import time
from collections.abc import Iterator

import numpy as np

from schemas.artifact import ELAPSED, WINDOW
from worker.batch import Scores, Windows
from worker.detector import Detector, ExplainRule
from worker.errors import ConfigError, WorkerError
from worker.gpu import read_gpu_memory
from worker.model_store import Artifact, load_artifact

BATCHES = (1, 3, 64, 100, 512, 1000, 4096)
TIMED_BATCHES = (1, 64, 512, 4096)
TIMED_S = 1.0


def main(uri: str, sha256: str | None = None) -> int:
    """Write the report; 0 if the golden windows hold on CUDA, 1 if nothing was run or the artifact was refused."""
    try:
        for line in report(load_artifact(uri, sha256=sha256)):
            sys.stdout.write(f"{line}\n")
    except ConfigError as error:
        sys.stdout.write(f"not run: no usable GPU ({error})\n")
    except WorkerError as error:
        sys.stdout.write(f"refused: {error}\n")
    else:
        return 0
    return 1


def report(artifact: Artifact) -> Iterator[str]:
    """Line by line, as it becomes known. Raises ConfigError without a GPU, ArtifactError where the artifact fails."""
    cpu, cuda = (
        Detector(artifact, provider=provider, threads=1, explain=ExplainRule("all", 1.0))
        for provider in ("cpu", "cuda")
    )
    yield f"golden windows of {artifact.manifest.name}: within their tolerances on cpu and cuda"
    memory = read_gpu_memory()
    yield "no memory told" if memory is None else f"GPU memory: {memory.used:,} bytes used, {memory.free:,} free"
    yield "largest differences between the two:"
    yield f"{'batch':>6} {'score':>10} {'p_value, relative':>18} {'contribution':>13} {'expected':>10}"
    for rows in BATCHES:
        windows, entity = windows_like_golden(artifact, rows)
        yield f"{rows:>6} {parity(cpu.score(windows, entity), cuda.score(windows, entity))}"
    yield "windows a second, nothing explained, one CPU thread:"
    yield f"{'batch':>6} {'cpu':>12} {'cuda':>12} {'cuda / cpu':>11}"
    quiet = [
        Detector(artifact, provider=provider, threads=1, explain=ExplainRule("never", 1.0))
        for provider in ("cpu", "cuda")
    ]
    for rows in TIMED_BATCHES:
        windows, entity = windows_like_golden(artifact, rows)
        on_cpu, on_cuda = (rate(detector, windows, entity) for detector in quiet)
        yield f"{rows:>6} {on_cpu:>12,.0f} {on_cuda:>12,.0f} {on_cuda / on_cpu:>11.2f}"


def windows_like_golden(artifact: Artifact, rows: int) -> tuple[Windows, list[str]]:
    """The golden windows again and again, each time moved a little."""
    golden = {name: tensor.array() for name, tensor in artifact.manifest.golden.inputs.items()}
    chosen = np.arange(rows) % len(golden[WINDOW])
    values = golden[WINDOW][chosen]
    values *= np.random.default_rng(0).normal(1, 0.05, values.shape).astype(np.float32)
    windows = Windows(
        values=values,
        elapsed=golden[ELAPSED][chosen] if ELAPSED in golden else None,
        length=np.full(rows, artifact.manifest.window, np.int64),
        first_offset=np.zeros(rows, np.int64),
        truncated=np.zeros(rows, np.bool_),
        digest=np.zeros(rows, np.uint64),
    )
    known = artifact.manifest.entities or ["unknown"]
    return windows, [known[row % len(known)] for row in range(rows)]


def parity(one: Scores, other: Scores) -> str:
    """The largest difference of each column."""
    score = np.abs(one.score - other.score).max()
    p_value = np.abs(one.p_value / other.p_value - 1).max()
    contribution = np.abs(one.explanation.contribution - other.explanation.contribution).max()
    expected = np.nanmax(np.abs(one.explanation.expected - other.explanation.expected))
    return f"{score:>10.2e} {p_value:>18.2e} {contribution:>13.2e} {expected:>10.2e}"


def rate(detector: Detector, windows: Windows, entity: list[str]) -> float:
    """Windows a second in the fastest of the calls of a second, of which the first does not count."""
    detector.score(windows, entity)
    seconds: list[float] = []
    until_s = time.perf_counter() + TIMED_S
    while not seconds or time.perf_counter() < until_s:
        begin_s = time.perf_counter()
        detector.score(windows, entity)
        seconds.append(time.perf_counter() - begin_s)
    return len(entity) / min(seconds)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
