"""Workers with one fault each, of the kinds that such workers are known for: the verifiers must catch every one.

`python -m tests.chaos.mutants` (`make mutants`): each is a copy of this checkout in which a few lines differ; what
caught it is printed. It counts as caught only as what such a fault leads to: a verifier that stumbles over a busy
machine has caught nothing. A worker without a fault must pass. A survivor is a defect of the verifier, and the exit
code is 1.
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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.plan import TO_WORKERS
from worker import errors

CHECKOUT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 1_800
ENDS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
"""With what a worker ends by itself; whatever else is raised is a mistake of the mutant's or of the simulator's."""

TOO_FEW = "too few were struck"
"""Where that is all, the trial shows nothing: neither that a mutant survives nor that the faultless worker passes."""

PEACEFUL = {"begin", "produce", "poll", "finish", "wait", "teardown"}


@dataclass(frozen=True)
class Change:
    """One place: what stands there, once in the file, and what the mutant has instead."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Trial:
    """A verifier, and as which kinds of fault it is to catch the mutant, one of them at least; as none, if none."""

    where: str
    verifier: Sequence[str]
    kinds: Collection[str]


@dataclass(frozen=True)
class Mutant:
    """A fault, and the verifiers that are to catch it."""

    name: str
    trials: Sequence[Trial]
    changes: Sequence[Change]


@dataclass(frozen=True)
class Catch:
    """As what a verifier caught a worker, and what had been done to it."""

    kinds: Collection[str]
    after: str


def simulated(*kinds: str) -> Trial:
    """Schedules of the simulator, up to the first that fails."""
    verifier = ("-m", "tests.simulator", "--schedules", "2000", "--processes", "1", "--first")
    return Trial("simulated", verifier, kinds)


def on_a_broker(*kinds: str, aims: Sequence[str], kills: int) -> Trial:
    """A short chaos run whose kills are aimed at these failpoints."""
    faults = ("--brisk", "--faults", ",".join(TO_WORKERS), "--aims", ",".join(aims), "--kills", str(kills))
    return Trial("on a broker", ("-m", "tests.chaos.run", "--seed", "7", "--minutes", "2", *faults), kinds)


CONTROL = Mutant(
    "no fault at all",
    [simulated(), on_a_broker(aims=["staged", "flushed", "offsets_sent", "committed"], kills=8)],
    [],
)

MUTANTS = (
    Mutant(
        "offsets committed after the transaction",
        [simulated("doubled", "unasked"), on_a_broker("doubled", aims=["committed"], kills=6)],
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
        [on_a_broker("doubled", aims=["flushed"], kills=9)],
        [Change("app.py", 'if settings.delivery == "at-least-once":', "if settings.delivery:")],
    ),
    Mutant(
        "no replay on assignment",
        [
            simulated("a checkpoint above rows that windows need", "wrong window"),
            on_a_broker("a bad checkpoint", "wrong window", aims=["staged"], kills=4),
        ],
        [Change("replay.py", "position=min(offset, max(log_start, needed))", "position=offset")],
    ),
    Mutant(
        "the oldest offset needed is computed from read-ahead",
        [simulated("a checkpoint above rows that windows need", "wrong window")],
        [Change("windows.py", "        for staged in self._staged:  # what an entity", "        for staged in ():  #")],
    ),
    Mutant(
        "windows kept before the commit",
        [simulated("wrong window")],
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
        [simulated("wrong window")],
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
        [simulated("lost", "a checkpoint above rows that windows need")],
        [Change("pipeline.py", "            self._source.rewind()\n", "")],
    ),
    Mutant(
        "a fenced error is ignored",
        [simulated("it ended by itself", "no progress")],
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
        [simulated("doubled")],
        [
            Change(
                "sink.py",
                "                self._judge(failure)\n            self._began_s = None",
                "                if failure.args[0].code() == KafkaError._TIMED_OUT:\n"
                "                    self.renew(5.0)\n"
                "                    raise TransactionAbortedError('timed out') from failure\n"
                "                self._judge(failure)\n            self._began_s = None",
            )
        ],
    ),
    Mutant(
        "read_uncommitted on assignment",
        [on_a_broker("unasked", "wrong window", aims=["offsets_sent"], kills=4)],
        [Change("kafka_clients.py", '"isolation.level": "read_committed"', '"isolation.level": "read_uncommitted"')],
    ),
    Mutant(
        "dead letters outside the transaction",
        [on_a_broker("doubled", aims=["flushed", "offsets_sent"], kills=9)],
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
        [simulated("no progress"), on_a_broker("never drained", aims=["staged"], kills=3)],
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
        [simulated("wrong window")],
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
        [on_a_broker("misjudged", aims=["staged"], kills=2)],
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
        [simulated("unasked", "doubled"), on_a_broker("doubled", aims=["staged"], kills=4)],
        [Change("source.py", "(records.offset < owned.committed)", "(records.offset < owned.committed - 1)")],
    ),
    Mutant(
        "idle positions are committed past what is in flight",
        [simulated("lost")],
        [Change("pipeline.py", "self._source.idle_offsets(busy)", "self._source.idle_offsets(())")],
    ),
    Mutant(
        "warm windows are trusted whatever was committed since",
        [simulated("wrong window", "a checkpoint above rows that windows need")],
        [Change("source.py", "warm.next_offset == plan.committed and not", "plan.committed >= 0 and not")],
    ),
    Mutant(
        "offsets committed ahead of the transaction",
        [simulated("lost"), on_a_broker("lost", aims=["flushed"], kills=6)],
        [
            Change(
                "sink.py",
                "        member = committer.group_metadata() if offsets else None\n",
                "        member = committer.group_metadata() if offsets else None\n"
                "        with contextlib.suppress(KafkaException):\n"
                "            committer.commit(offsets)\n",
            )
        ],
    ),
    Mutant(
        "a batch is published newest first",
        [simulated("out of order"), on_a_broker("out of order", aims=["staged"], kills=2)],
        [
            Change("sink.py", f"iter(outgoing.{column})", f"reversed(outgoing.{column})")
            for column in ("value", "key", "partition", "timestamp", "headers")
        ],
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


def catch(mutant: Mutant, trial: Trial) -> Catch:
    """As what it is caught; as nothing, if it survives. Raises RuntimeError where the verifier itself fails."""
    with tempfile.TemporaryDirectory() as folder:
        mutated(mutant, Path(folder))
        done = subprocess.run(
            [sys.executable, *trial.verifier],
            check=False,
            capture_output=True,
            text=True,
            cwd=folder,
            env=_environment(folder),
            timeout=TIMEOUT_S,
        )
    try:
        told = json.loads((done.stdout.splitlines() or [""])[-1])  # libraries may have written before it
    except ValueError:
        raise RuntimeError(f"{mutant.name}: the verifier itself failed:\n{done.stderr[-3000:]}") from None
    if "witnesses" in told:
        return told_by_chaos(told)
    caught = told_by_simulator(done.stderr)
    if bool(caught.kinds) != bool(told["failures"]):
        raise RuntimeError(f"{mutant.name}: what the simulator says is not understood:\n{done.stderr[-3000:]}")
    return caught


def _environment(folder: str) -> dict[str, str]:
    """Workers that the verifier starts are the mutant, too."""
    return {**os.environ, "PYTHONPATH": folder}


def told_by_chaos(told: Mapping[str, Any]) -> Catch:
    """What the line of a run says."""
    kinds = {witness["kind"] for witness in told["witnesses"]}
    if not kinds and told["aimed"]["kill"] < told["asked"]["kills"]:
        kinds = {TOO_FEW}
    kills = ", ".join(f"{count} at {name}" for name, count in told["kills"].items() if count)
    return Catch(kinds, f"kills: {kills or 'none'}; zombies: {told['aimed']['stop']}")


def told_by_simulator(output: str) -> Catch:
    """What its failures say: promises that were broken, that a worker ended by itself, or what else was raised."""
    failures = re.findall(r"^seed \d+: (\w+): (.*?)(?=^state\.|\Z)", output, re.MULTILINE | re.DOTALL)
    kinds: set[str] = set()
    for failure, what in failures:
        if failure == "FaultsFound":
            kinds |= set(re.findall(r"^(.+?): \d+, first ", what, re.MULTILINE))
        elif failure == "Broken":
            kinds.add(what.partition(":")[0])
        else:
            kinds.add("it ended by itself" if failure in ENDS else failure)
    steps = dict.fromkeys(re.findall(r"^state\.(\w+)\(", output, re.MULTILINE))
    return Catch(kinds, ", ".join(step for step in steps if step not in PEACEFUL) or "a peaceful course")


def is_right(trial: Trial, caught: Catch) -> bool:
    """Whether it was caught as what it is; a worker without a fault is none, and must be caught as nothing."""
    return not set(trial.kinds).isdisjoint(caught.kinds) if trial.kinds else not caught.kinds


def _in_words(trial: Trial, caught: Catch) -> str:
    found = ", ".join(sorted(caught.kinds)) or "nothing found"
    wrong = "" if is_right(trial, caught) else f"NOT CAUGHT (as {' or '.join(trial.kinds) or 'nothing'}): "
    return f"{wrong}{found} ({trial.where}; {caught.after})"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="mutants whose name holds this")
    parser.add_argument("--where", choices=["simulated", "on a broker"], help="one of the verifiers alone")
    arguments = parser.parse_args()
    wrong = 0
    for mutant in (CONTROL, *MUTANTS):
        for trial in mutant.trials:
            if arguments.only not in mutant.name or arguments.where not in {None, trial.where}:
                continue
            began_s = time.monotonic()
            caught = catch(mutant, trial)
            wrong += not is_right(trial, caught)
            print(f"{mutant.name}: {_in_words(trial, caught)} [{time.monotonic() - began_s:.0f} s]", flush=True)  # noqa: T201 - the command's output
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
