"""Workers with one fault each, of the kinds that such workers are known for: the verifiers must catch every one.

`python -m tests.chaos.mutants` (`make mutants`): each is a copy of this checkout in which a few lines differ; what
caught it is printed. A survivor is a defect of the verifier, and the exit code is 1.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.plan import TO_WORKERS

CHECKOUT = Path(__file__).resolve().parents[2]
SIMULATED = ("-m", "tests.simulator", "--schedules", "2000", "--processes", "1", "--first")
CHAOS = ("-m", "tests.chaos.run", "--seed", "7", "--minutes", "2", "--brisk", "--faults", ",".join(TO_WORKERS))
TIMEOUT_S = 1_800
PEACEFUL = {"begin", "produce", "poll", "finish", "wait", "teardown"}


@dataclass(frozen=True)
class Change:
    """One place: what stands there, once in the file, and what the mutant has instead."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A fault, and the verifier that is to catch it."""

    name: str
    verifier: Sequence[str]
    changes: Sequence[Change]


def on_the_broker(*aims: str, kills: int = 9) -> Sequence[str]:
    """A short chaos run whose kills are aimed at these failpoints."""
    return (*CHAOS, "--aims", ",".join(aims), "--kills", str(kills))


MUTANTS = (
    Mutant(
        "offsets committed after the transaction",
        SIMULATED,
        [
            Change(
                "sink.py",
                "                producer.send_offsets_to_transaction(offsets, member, timeout_s)\n",
                "                pass\n",
            ),
            Change(
                "sink.py",
                "                self._wait(concluded, timeout_s)\n            except",
                "                self._wait(concluded, timeout_s)\n                committer.commit(offsets)\n"
                "            except",
            ),
        ],
    ),
    Mutant(
        "at-least-once producer",
        on_the_broker("flushed"),
        [Change("app.py", 'if settings.delivery == "at-least-once":', "if settings.delivery:")],
    ),
    Mutant(
        "no replay on assignment",
        SIMULATED,
        [Change("replay.py", "position=min(offset, max(log_start, needed))", "position=offset")],
    ),
    Mutant(
        "the oldest offset needed is computed from read-ahead",
        SIMULATED,
        [Change("windows.py", "        for staged in self._staged:  # what an entity", "        for staged in ():  #")],
    ),
    Mutant(
        "windows kept before the commit",
        SIMULATED,
        [
            Change(
                "pipeline.py",
                "        published, self._published = self._published, []\n",
                "        published, self._published = self._published, []\n"
                "        self._rooms.windows.keep(len(published))\n",
            ),
            Change("pipeline.py", "        self._rooms.windows.keep(len(committing.batches))\n", ""),
        ],
    ),
    Mutant(
        "windows of an aborted batch stay",
        SIMULATED,
        [
            Change(
                "pipeline.py",
                "        self._rooms.windows.drop()\n",
                "        self._rooms.windows.keep(len(self._rooms.windows._staged))\n",
            )
        ],
    ),
    Mutant(
        "no rewind after an abort",
        SIMULATED,
        [Change("pipeline.py", "            self._source.rewind()\n", "")],
    ),
    Mutant(
        "a fenced error is ignored",
        SIMULATED,
        [
            Change(
                "sink.py",
                "                self._judge(failure)\n            self._began_s = None\n            self._forget_late",
                "                if failure.args[0].code() not in _FENCED:\n                    self._judge(failure)\n"
                "            self._began_s = None\n            self._forget_late",
            )
        ],
    ),
    Mutant(
        "a commit that timed out is taken for one that failed",
        SIMULATED,
        [
            Change(
                "sink.py",
                "        raise self._publisher.lost(cause.str()) from failure\n\n    def _give_up",
                "        self.renew(5.0)\n        raise TransactionAbortedError(cause.str()) from failure\n\n"
                "    def _give_up",
            )
        ],
    ),
    Mutant(
        "read_uncommitted on assignment",
        on_the_broker("offsets_sent", kills=4),
        [Change("kafka_clients.py", '"isolation.level": "read_committed"', '"isolation.level": "read_uncommitted"')],
    ),
    Mutant(
        "dead letters outside the transaction",
        on_the_broker("flushed", "offsets_sent"),
        [
            Change(
                "app.py",
                "        lambda: client(Producer, {**told, **properties}),\n"
                "        output_topic=output_topic,\n        group_id",
                "        lambda: _Leaky(settings, complaint, client(Producer, {**told, **properties})),\n"
                "        output_topic=output_topic,\n        group_id",
            ),
            Change(
                "app.py",
                "def _unique_transactional_id(",
                "class _Leaky:\n"
                "    def __init__(self, settings, complaint, inner):\n"
                "        properties = producer_properties(settings, complaint, transactional_id=None)\n"
                "        self.plain, self.inner = client(Producer, properties), inner\n"
                "        self.dead = settings.kafka.dead_letter_topic\n\n"
                "    def produce(self, topic, *rest):\n"
                "        (self.plain if topic == self.dead else self.inner).produce(topic, *rest)\n\n"
                "    def __getattr__(self, name):\n"
                "        return getattr(self.inner, name)\n\n\n"
                "def _unique_transactional_id(",
            ),
        ],
    ),
    Mutant(
        "the group's metadata cached",
        on_the_broker("staged", kills=3),
        [
            Change(
                "source.py",
                "        return self._consumer.consumer_group_metadata()\n",
                '        self._kept = getattr(self, "_kept", None) or self._consumer.consumer_group_metadata()\n'
                "        return self._kept\n",
            )
        ],
    ),
    Mutant(
        "a window reaches one offset beyond the lookback",
        SIMULATED,
        [
            Change(
                "windows.py",
                "line.offsets[start] <= offset - self._lookback)",
                "line.offsets[start] < offset - self._lookback)",
            )
        ],
    ),
    Mutant(
        "one row without a number spoils its batch",
        on_the_broker("staged", kills=2),
        [
            Change(
                "detector.py",
                "    return np.where(finite, score, nan), np.where(finite, p_value, nan)",
                "    return np.full_like(score, nan), np.full_like(p_value, nan)",
            )
        ],
    ),
    Mutant(
        "the last record of a refill is emitted",
        SIMULATED,
        [Change("source.py", "(records.offset < owned.committed)", "(records.offset < owned.committed - 1)")],
    ),
    Mutant(
        "idle positions are committed past what is in flight",
        SIMULATED,
        [Change("pipeline.py", "self._source.idle_offsets(busy)", "self._source.idle_offsets(())")],
    ),
    Mutant(
        "warm windows are trusted whatever was committed since",
        SIMULATED,
        [Change("source.py", "warm.next_offset == plan.committed and not", "plan.committed >= 0 and not")],
    ),
)


def mutated(mutant: Mutant, folder: Path) -> None:
    """A copy of what the verifiers need, with the mutant's lines in it."""
    for package in ("worker", "schemas", "tests"):
        shutil.copytree(CHECKOUT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    for change in mutant.changes:
        path = folder / "worker" / change.file
        text = path.read_text(encoding="utf-8")
        if text.count(change.old) != 1:
            raise LookupError(f"{mutant.name}: {change.old!r} stands {text.count(change.old)} times in {change.file}")
        path.write_text(text.replace(change.old, change.new), encoding="utf-8")


def catch(mutant: Mutant) -> str | None:
    """What caught it; None if it survived."""
    with tempfile.TemporaryDirectory() as folder:
        mutated(mutant, Path(folder))
        done = subprocess.run(
            [sys.executable, *mutant.verifier],
            check=False,
            capture_output=True,
            text=True,
            cwd=folder,
            env=_environment(folder),
            timeout=TIMEOUT_S,
        )
    if done.returncode == 0:
        return None
    told = _told_by_chaos(done.stdout) if "tests.chaos.run" in mutant.verifier else _told_by_simulator(done.stderr)
    if told is None:
        raise RuntimeError(f"{mutant.name}: the verifier itself failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return told


def _environment(folder: str) -> dict[str, str]:
    """Workers that the verifier starts are the mutant, too."""
    return {**os.environ, "PYTHONPATH": folder}


def _told_by_chaos(output: str) -> str | None:
    try:
        told = json.loads(output)
    except ValueError:
        return None
    kinds = sorted({witness["kind"] for witness in told["witnesses"]})
    kills = ", ".join(f"{count} at {name}" for name, count in told["kills"].items() if count)
    zombies = told["aimed"]["stop"]
    return f"{', '.join(kinds)} (on a broker; kills: {kills or 'none'}; zombies: {zombies})"


def _told_by_simulator(output: str) -> str | None:
    kinds = re.findall(r"^seed \d+: (?:FaultsFound: )?(.+?)(?:, first|$)", output, re.MULTILINE)
    steps = dict.fromkeys(re.findall(r"^state\.(\w+)\(", output, re.MULTILINE))
    happened = [step for step in steps if step not in PEACEFUL]
    return (
        f"{', '.join(dict.fromkeys(kinds))} (simulated: {', '.join(happened) or 'a fixed course'})" if kinds else None
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="mutants whose name holds this")
    arguments = parser.parse_args()
    survivors = 0
    for mutant in MUTANTS:
        if arguments.only in mutant.name:
            began_s = time.monotonic()
            caught = catch(mutant)
            survivors += caught is None
            print(f"{mutant.name}: {caught or 'SURVIVED'} [{time.monotonic() - began_s:.0f} s]", flush=True)  # noqa: T201 - the command's output
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
