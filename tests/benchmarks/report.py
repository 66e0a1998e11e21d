"""Figures of all rounds in, a table for people and a line of JSON out; and whether the worker is fast enough."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tests.benchmarks.contestants import TITLES, WORKER
from tests.benchmarks.measurement import Measurement, median
from tests.benchmarks.rooms import failpoints, microseconds

_TRIES = 50
"""Of the failpoints of a batch."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How fast the worker is beside somebody else, and how fast it must be."""

    name: str
    peer: str
    required: float | None


def report(results: Mapping[str, Sequence[Measurement]], ratios: Sequence[Ratio]) -> bool:
    """Print the table and the line of JSON; whether every ratio is what it must be."""
    medians = {name: median(runs) for name, runs in results.items()}
    _say(f"\n{'':38} {'events/s':>10} {'CPU-us/event':>13} {'peak MiB':>9}   events/s of each round")
    for name, middle in medians.items():
        each = "  ".join(f"{run.events_per_s:,.0f}" for run in results[name])
        figures = f"{middle.events_per_s:>10,.0f} {middle.cpu_us_per_event:>13.2f} {middle.peak_mib:>9.0f}"
        _say(f"{TITLES[name]:38} {figures}   {each}")
    found = {ratio.name: _ratio(results, ratio) for ratio in ratios}
    held = [_print_ratio(ratio, found[ratio.name]) for ratio in ratios]
    unarmed_us = statistics.median(microseconds(failpoints().run, _TRIES))
    if WORKER in medians:
        of_us = medians[WORKER].cpu_us_per_event
        _say(f"failpoints, none armed: {unarmed_us:.4f} of the worker's {of_us:.2f} CPU-us/event")
    _say(
        json.dumps(
            {
                "machine": _machine(),
                "rounds": {name: [run.as_json() for run in runs] for name, runs in results.items()},
                "median": {name: middle.as_json() for name, middle in medians.items()},
                "ratios": {name: value and round(value, 3) for name, value in found.items()},
                "unarmed_failpoints_us_per_event": round(unarmed_us, 5),
            }
        )
    )
    return all(held)


def _ratio(results: Mapping[str, Sequence[Measurement]], ratio: Ratio) -> float | None:
    """The median of the rounds' own ratios: those who took turns right after each other met the same neighbours."""
    if WORKER not in results or ratio.peer not in results:
        return None
    pairs = zip(results[WORKER], results[ratio.peer], strict=True)
    return statistics.median(worker.events_per_s / peer.events_per_s for worker, peer in pairs)


def _print_ratio(ratio: Ratio, value: float | None) -> bool:
    held = ratio.required is None or (value is not None and value >= ratio.required)
    wanted = "" if ratio.required is None else f" (required {ratio.required:g}: {'reached' if held else 'MISSED'})"
    if value is not None or not held:
        _say(f"worker / {TITLES[ratio.peer]}: {'not measured' if value is None else f'{value:.2f}'}{wanted}")
    return held


def _machine() -> dict[str, object]:
    packages = ("confluent-kafka", "msgspec", "numpy", "orjson", *_runtime())
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }


def _runtime() -> Sequence[str]:
    installed = {distribution.metadata["Name"] for distribution in metadata.distributions()}
    return [name for name in ("onnxruntime", "onnxruntime-gpu") if name in installed]


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the command's output
