"""Replicas of a worker: names that stay, processes that come and go; each process is told where to be struck.

It knows how processes end and what of that is lawful, nothing of what they write to topics.
"""

import random
import re
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tests.end_to_end.job import Job, Worker
from worker.failpoints import NAMES, VARIABLE

PROBABILITIES = {"in_assign": 0.5, "in_refill": 0.5, "on_revoke": 1.0, "on_sigterm": 1.0}
OTHERWISE = 0.06
"""About twenty batches a second pass: a second or so of honest work, then the strike."""

AIM_PATIENCE_S = 25.0
"""A process that was not struck so long after its start was done is asked to end, and its aim goes to another."""

END_PATIENCE_S = 60.0
"""Far beyond the 20 s of the contract, to which other tests hold workers: this machine may be busy with anything."""

ANY_PORT = {"ANOMALY_WORKER_HTTP__PORT": "0"}
"""A port that is chosen here might be that of a broker which is down, and comes back."""

LISTENING = '"pages at '
"""What a worker logs when it listens to signals."""

RECOVERED = {
    "rewound": "the transaction was aborted, its batches are read again",
    "rebuilt": "producer and windows are rebuilt",
}
"""What a worker logs when it goes on after a failure."""

STRUCK = re.compile(r"failpoint (\w+): (kill|stop|raise|delay)")


@dataclass(frozen=True)
class Aim:
    """Where a process is to be struck, and how."""

    name: str
    action: str  # with its seconds, as a failpoint wants it

    def armed(self, seed: int) -> str:
        """What the process's environment says."""
        return f"seed={seed},{self.name}:{self.action}:{PROBABILITIES.get(self.name, OTHERWISE)}"


def deck(
    chance: random.Random, failpoints: Sequence[str], *, kills: int, zombies: int, zombie_s: tuple[float, float]
) -> list[Aim]:
    """Aims in a random order: `kills` kills over the failpoints in turn; zombies, faults and delays between them."""
    names = [failpoints[number % len(failpoints)] for number in range(kills)]
    aims = [Aim(name, "kill") for name in names]
    at_work = [name for name in NAMES if name not in PROBABILITIES]
    # A zombie with its offsets sent is the most dangerous one: it may still commit when it wakes up.
    places = ["offsets_sent" if number % 2 else chance.choice(at_work) for number in range(zombies)]
    aims += [Aim(name, f"stop={chance.uniform(*zombie_s):.1f}") for name in places]
    aims += [Aim(chance.choice(NAMES), "raise") for _ in range(max(1, kills // 20))]
    aims += [Aim(chance.choice(at_work), f"delay={chance.uniform(0.05, 0.5):.2f}") for _ in range(max(1, kills // 20))]
    chance.shuffle(aims)
    return aims


@dataclass
class Record:
    """What happened to the processes of a run."""

    struck: Counter[tuple[str, str]] = field(default_factory=Counter)  # by failpoint and action
    ends: Counter[str] = field(default_factory=Counter)
    recovered: Counter[str] = field(default_factory=Counter)
    unlawful: list[str] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        """Remember when it happened, by the clock of everybody's logs."""
        self.happened.append(f"{datetime.now().isoformat(sep=' ', timespec='milliseconds')} {what}")  # noqa: DTZ005 - as they do

    def struck_by(self, action: str) -> int:
        """How many processes were, so far as is known: of those that ended."""
        return sum(count for (_, how), count in self.struck.items() if how == action)


class Replica:
    """One name, which is its transactional.id, and the process that bears it now."""

    def __init__(self, job: Job, number: int, chance: random.Random, *, longest_absence_s: float) -> None:
        self.name = f"{job.group}-{number}"
        self.worker: Worker | None = None
        self.aim: Aim | None = None
        self.is_wanted = True
        self._job, self._chance, self._longest_absence_s = job, chance, longest_absence_s
        self._due_s = 0.0
        self._since_s: float | None = None  # it has listened to signals
        self._aim_patience_s = AIM_PATIENCE_S
        self._told_s: float | None = None
        self._stopped_until_s: float | None = None
        self._killed = False

    def turn(self, aims: list[Aim], record: Record, *, excuses: Sequence[str]) -> None:
        """Look after the process: see how it ended, start the next when its time has come."""
        now_s = time.monotonic()
        if self.worker is None:
            if self.is_wanted and now_s >= self._due_s:
                self._start(aims.pop() if aims else None, record)
        elif self.worker.ended is not None:
            self._note_end(self.worker, aims, record, excuses)
            self.worker, self.aim = None, None
            # Mostly soon, so that the same name returns within its session; now and then long after it.
            self._due_s = now_s + self._longest_absence_s * self._chance.random() ** 4
        else:
            self._watch(self.worker, now_s, record)

    def _start(self, aim: Aim | None, record: Record) -> None:
        armed = {VARIABLE: aim.armed(self._chance.getrandbits(30))} if aim is not None else {}
        self.worker = self._job.start(ANOMALY_WORKER_KAFKA__TRANSACTIONAL_ID=self.name, **ANY_PORT, **armed)
        record.note(f"{self.name} starts with log {self.worker.log_name}, aim {aim}")
        self.aim, self._since_s = aim, None
        self._told_s, self._stopped_until_s, self._killed = None, None, False
        at_end = aim is not None and aim.name == "on_sigterm"
        self._aim_patience_s = self._chance.uniform(3, 6) if at_end else AIM_PATIENCE_S

    def _watch(self, worker: Worker, now_s: float, record: Record) -> None:
        if self._stopped_until_s is not None:
            if now_s >= self._stopped_until_s:
                worker.signal(signal.SIGCONT)
                self._stopped_until_s = None
        elif self._told_s is None:
            if self._since_s is None and LISTENING in worker.log:
                self._since_s = now_s
            if self.aim and self._since_s is not None and now_s > self._since_s + self._aim_patience_s:
                self.tell()
        elif now_s > self._told_s + END_PATIENCE_S and not self._may_be_stopped:
            record.unlawful.append(f"{self.name} goes on {END_PATIENCE_S:g} s after SIGTERM: {worker.log[-1500:]}")
            self.kill()

    @property
    def _may_be_stopped(self) -> bool:
        return self.aim is not None and self.aim.action.startswith("stop")

    @property
    def _at_work(self) -> Worker | None:
        """The process, unless it has ended, was asked to, or was made to hang."""
        is_left_alone = self._told_s is None and self._stopped_until_s is None
        return self.worker if is_left_alone and self.worker is not None and self.worker.ended is None else None

    def tell(self) -> bool:
        """Ask the process to end; whether it can be asked."""
        if (worker := self._at_work) is None:
            return False
        worker.signal(signal.SIGTERM)
        self._told_s = time.monotonic()
        return True

    def kill(self) -> bool:
        """End the process as a lost machine would; whether there was one."""
        if self.worker is None or self.worker.ended is not None:
            return False
        self._killed = True
        self.worker.kill()
        return True

    def stop_for(self, seconds: float) -> bool:
        """Make the process hang; whether it worked."""
        if (worker := self._at_work) is None:
            return False
        worker.signal(signal.SIGSTOP)
        self._stopped_until_s = time.monotonic() + seconds
        return True

    def go_on(self) -> None:
        """It hangs no longer."""
        if self.worker is not None:
            self.worker.signal(signal.SIGCONT)
        self._stopped_until_s = None

    def _note_end(self, worker: Worker, aims: list[Aim], record: Record, excuses: Sequence[str]) -> None:
        struck = STRUCK.findall(worker.log)
        record.struck.update(set(struck))
        record.recovered.update({how: worker.log.count(words) for how, words in RECOVERED.items()})
        if self.aim is not None and not struck:
            aims.insert(0, self.aim)
        how = self._how_it_ended(worker, struck, excuses)
        record.ends[how] += 1
        record.note(f"{self.name} ended with {worker.ended}: {how}")
        if how == "unlawful":
            record.unlawful.append(f"{self.name} ended with {worker.ended}: {worker.log[-1500:]}")

    def _how_it_ended(self, worker: Worker, struck: Sequence[tuple[str, str]], excuses: Sequence[str]) -> str:
        code, actions = worker.ended, {action for _, action in struck}
        if code == -signal.SIGKILL and ("kill" in actions or self._killed):
            return "aimed kill" if "kill" in actions else "kill"
        asked = self._told_s is not None
        still_starting = LISTENING not in worker.log
        if asked and (code == 0 or (code == -signal.SIGTERM and still_starting)):
            return "SIGTERM"
        # Who is asked to end while it ends of a fault may die of the signal: nothing listens to it any more.
        if (code == 1 or asked) and "raise" in actions and "FailpointError" in worker.last_words:
            return "raised fault"
        if code == 1 and any(excuse in worker.last_words for excuse in excuses):
            return "excused"
        return "unlawful"
