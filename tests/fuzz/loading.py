"""What must hold of the loader for any file: mutations are loaded in child processes, whose death is a finding too.

`python -m tests.fuzz.loading SEED FIRST COUNT` is such a child: it writes one line a mutation.
"""

import json
import os
import re
import select
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from schemas.artifact import verified_digest
from tests.fuzz.artifact_mutations import Mutation, mutation
from worker.detector import Detector, ExplainRule
from worker.errors import ArtifactError
from worker.model_store import load_artifact

CHUNK = 200
"""Mutations a child: enough to outweigh its start."""
PATIENCE_S = 60.0
_CHILD = (sys.executable, "-m", "tests.fuzz.loading")
_SENTENCE = re.compile(r"The artifact model\.onnx is refused: [^\n]+[.)]|[^\n]+")


LAWFUL = {False: ("refused",), True: ("refused", "harmless")}
"""What may come of a mutation, by whether it may pass."""


class Told(NamedTuple):
    """What came of one mutation."""

    kind: str
    may_pass: bool
    outcome: str


class Finding(NamedTuple):
    """A mutation that was not refused as it should be, by its number."""

    number: int
    kind: str
    what: str


class Findings(NamedTuple):
    """How many of the mutations that no loader may take were refused, by kind; what became of those that may pass; and
    what was wrong."""

    refused: Counter[str]
    may_pass: Counter[str]  # refused, harmless
    wrong: list[Finding]


def load_mutations(seed: int, count: int, *, progress: Callable[[int], None] = lambda _: None) -> Findings:
    """Load so many mutations, and see each of them refused with a sentence, and no process die or hang."""
    findings = Findings(Counter(), Counter(), [])
    for number, told in enumerate(_outcomes(seed, count)):
        if told.outcome not in LAWFUL[told.may_pass]:
            findings.wrong.append(Finding(number, told.kind, told.outcome))
        elif told.may_pass:
            findings.may_pass[told.outcome] += 1
        else:
            findings.refused[told.kind] += 1
        progress(1)
    return findings


def _outcomes(seed: int, count: int) -> Iterator[Told]:
    done = 0
    while done < count:
        ahead = min(CHUNK, count - done)
        for told in _child(seed, done, ahead):
            yield told
            done += 1
            ahead -= 1
        if ahead:
            made = mutation(seed, done)
            yield Told(made.kind, made.may_pass, "the process died or hung")
            done += 1


def _child(seed: int, first: int, count: int) -> Iterator[Told]:
    """Its lines, until it ends, however it does."""
    command = [*_CHILD, str(seed), str(first), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0) as child:
        assert child.stdout is not None
        while select.select([child.stdout], [], [], PATIENCE_S)[0]:
            line = child.stdout.readline()
            if not line:
                break
            yield Told(*json.loads(line))
        child.kill()


def outcome_of(made: Mutation, path: Path) -> str:
    """What loading it leads to: `refused`, `harmless`, or what is wrong with that."""
    path.write_bytes(made.file)
    for pin in (verified_digest(made.original), None):
        try:
            artifact = load_artifact(str(path), sha256=pin)
        except ArtifactError as error:
            if not _SENTENCE.fullmatch(str(error)):
                return f"refused with no sentence: {error!r}"
            continue
        except Exception as error:  # noqa: BLE001 - any other is what is looked for
            return f"an exception: {type(error).__name__}: {error!r:.200}"
        if pin is not None:
            return "taken, though another was pinned"
        if not made.may_pass:
            return "taken"
        try:
            Detector(artifact, provider="cpu", threads=1, explain=ExplainRule(when="all", threshold=1.0))
        except ArtifactError:
            continue
        return "harmless"
    return "refused"


def _main(seed: int, first: int, count: int) -> None:
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # compiled code writes to standard output too
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, first + count):
            made = mutation(seed, number)
            told = Told(made.kind, made.may_pass, outcome_of(made, Path(folder) / "model.onnx"))
            print(json.dumps(told), file=report, flush=True)


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
