"""`make fuzz`: as many records and artifacts as asked for, by a seed; one JSON line, exit code 1 with a witness."""

import argparse
import faulthandler
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from tests.fuzz.artifact_mutations import may_pass
from tests.fuzz.decoding import Witness, search
from tests.fuzz.loading import Findings, load_mutations
from tests.revision import revision

PART = 20_000
"""Records that one process decodes in a row."""

PATIENCE_S = 900.0
"""For these; ten seconds are enough, but for a busy machine."""


def main() -> int:
    """Fuzz, and tell."""
    told = _arguments()
    began_s = time.monotonic()
    with Progress(*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn(),
                  console=Console(stderr=True)) as progress:  # fmt: skip
        records = progress.add_task("records", total=told.inputs)
        witness = _decode(told, lambda count: progress.advance(records, count))
        artifacts = progress.add_task("artifacts", total=told.mutations)
        findings = load_mutations(told.seed, told.mutations, progress=lambda count: progress.advance(artifacts, count))
    print(json.dumps(_line(told, witness, findings, time.monotonic() - began_s)))  # noqa: T201
    return 1 if witness or findings.wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="records for the decoder")
    parser.add_argument("--mutations", type=int, default=10_000, help="artifacts for the loader")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    return parser.parse_args()


def _decode(told: argparse.Namespace, progress: Callable[[int], None]) -> object:
    """The first witness, described; None where there is none."""
    sizes = [min(PART, told.inputs - start) for start in range(0, told.inputs, PART)]
    left = {told.seed * 1_000_003 + place: size for place, size in enumerate(sizes)}
    with ProcessPoolExecutor(told.processes, get_context("spawn")) as pool:
        parts = {pool.submit(_search, seed, size, PATIENCE_S): seed for seed, size in left.items()}
        try:
            for part in as_completed(parts):
                if (witness := part.result()) is not None:
                    return _described(witness)
                progress(left.pop(parts[part]))
        except BrokenProcessPool:
            return {"broken": "a process that decoded died or hung"} | _culprit(left, told.processes)
        finally:
            pool.shutdown(cancel_futures=True)
    return None


def _culprit(left: Mapping[int, int], processes: int) -> dict[str, int]:
    """Which `search` does not come back; nothing where each does, alone. Those under way are the first of the rest."""
    for seed, inputs in islice(left.items(), processes):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            try:
                pool.submit(_search, seed, inputs, PATIENCE_S).result()
            except BrokenProcessPool:
                return {"seed": seed, "inputs": inputs}
    return {}


def _search(seed: int, inputs: int, patience_s: float) -> Witness | None:
    """In a process of its own, which ends where it takes so long: compiled code that hangs cannot be interrupted."""
    faulthandler.dump_traceback_later(patience_s, exit=True)
    try:
        return search(seed, inputs)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _described(witness: Witness) -> dict[str, object]:
    return {
        "broken": witness.broken,
        "settings": dict(witness.settings),
        "records": [[repr(record.value), repr(record.key), record.timestamp] for record in witness.records],
    }


def _line(told: argparse.Namespace, witness: object, findings: Findings, took_s: float) -> dict[str, object]:
    return {
        "revision": revision(),
        "seed": told.seed,
        "inputs": told.inputs,
        "witness": witness,
        "mutations": told.mutations,
        "must_be_refused": told.mutations - may_pass(told.mutations),
        "refused": findings.refused.total(),
        "may_pass": {"all": may_pass(told.mutations), "refused": 0, "harmless": 0} | findings.may_pass,
        "wrong": [finding._asdict() for finding in findings.wrong[:5]],
        "seconds": round(took_s),
    }


if __name__ == "__main__":
    sys.exit(main())
