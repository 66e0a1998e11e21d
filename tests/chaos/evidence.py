"""What a failed run leaves in build/chaos: everything that it takes to explain the failure.

Logs of workers and brokers, what happened when, the ledger, all faults, and the brokers' log segments.
"""

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.broker import CHECKOUT
from tests.chaos.ground import Ground
from tests.chaos.plan import Plan
from tests.chaos.traffic import Ledger

KEPT = CHECKOUT / "build" / "chaos"
HUGE = ("*.index", "*.timeindex")
"""Mostly holes, and made from the segments."""


def keep(plan: Plan, ground: Ground, *, happened: Iterable[str], ledger: Ledger, faults: Iterable[object]) -> Path:
    """The folder in which all of it lies now."""
    kept = KEPT / f"seed-{plan.seed}-{time.strftime('%H%M%S')}"
    kept.mkdir(parents=True)
    for path in sorted(ground.job.folder.glob("worker-*")):
        shutil.copy(path, kept)
    for number, node in enumerate(ground.cluster.nodes, start=1):
        shutil.copy(node.log, kept / f"broker-{number}.log")
        shutil.copytree(node.data, kept / f"broker-{number}", ignore=shutil.ignore_patterns(*HUGE))
    (kept / "happened.txt").write_text("".join(f"{line}\n" for line in happened))
    _write_lines(kept / "ledger.jsonl", _in_json(ledger))
    _write_lines(kept / "faults.jsonl", faults)
    return kept


def _write_lines(path: Path, values: Iterable[object]) -> None:
    path.write_text("".join(f"{json.dumps(value)}\n" for value in values))


def _in_json(ledger: Ledger) -> Iterator[object]:
    for place, record in list(ledger.visible.items()):
        yield {"acknowledged": place, "timestamp": record.timestamp}
    for place in list(ledger.aborted):
        yield {"aborted": place}
    yield {"uncertain": sorted(ledger.uncertain)}
