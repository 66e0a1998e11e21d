"""The adversary of a chaos run: aims at every step of the workers, ill-treats their surroundings, then lets them heal.

It knows what it did, and what is unlawful whatever was done: it does not look at what came out.
"""

import contextlib
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import KafkaException

from tests.broker import Broker
from tests.chaos.deployment import Record, Replica, deck
from tests.chaos.ground import PARTITIONS, Ground
from tests.chaos.judge import Complaint
from tests.chaos.plan import Plan
from tests.end_to_end.job import wait_until
from tests.rights import grant, withdraw

REPLICAS = 3
EXCUSED_S = 20.0
"""A worker that was refused ends within this time."""


class Nemesis:
    """Strikes while the block is entered, then lets everything heal. One turn of `strike` every tenth of a second."""

    def __init__(self, plan: Plan, ground: Ground) -> None:
        self._plan, self._job, self._cluster, self._proxies = plan, ground.job, ground.cluster, ground.proxies
        self._chance = random.Random(f"{plan.seed} nemesis")
        self.record = Record()
        self.faults: dict[str, int] = dict.fromkeys(self._kinds(), 0)
        self.deleted: dict[tuple[str, int], int] = {}
        self.complaints: list[Complaint] = []
        self._committed: dict[tuple[str, int], int] = {}
        self._aims = deck(self._chance, plan.aims, kills=plan.kills, zombies=plan.zombies, zombie_s=plan.pace.zombie_s)
        self._replicas = [self._replica(number) for number in range(REPLICAS + 1)]
        self._replicas[-1].is_wanted = False  # joins and leaves
        self._undo: list[tuple[float, Callable[[], None]]] = []
        self._excuses: dict[str, float] = {}
        """Words with which a worker may end for want of a right, and until when."""
        self._next_s = 0.0
        self._waiting: list[str] = []
        self._is_striking = True

    def _replica(self, number: int) -> Replica:
        return Replica(self._job, number, self._chance, longest_absence_s=self._plan.pace.longest_absence_s)

    def _kinds(self) -> dict[str, Callable[[], bool | None]]:
        """The faults that are not aimed at a step of a worker. What says False came to nothing."""
        kinds: dict[str, Callable[[], bool | None]] = {
            "kill at random": lambda: self._one(Replica.kill),
            "SIGTERM": lambda: self._one(Replica.tell),
            "SIGSTOP": lambda: self._one(lambda one: one.stop_for(self._chance.uniform(*self._plan.pace.zombie_s))),
            "join or leave": self._join_or_leave,
            "broker killed": self._kill_broker,
            "brokers restarted in turn": lambda: self._restart_in_turn(self._cluster.nodes),
            "answers delayed": self._delay_answers,
            "answers withheld": self._withhold_answers,
            "connections reset": self._reset_connections,
            "traffic dropped": self._drop_traffic,
            "right withdrawn": self._withdraw_right,
            "records deleted": self._delete_records,
        }
        if self._plan.delivery == "at-least-once":  # a repeat may tell of a window with fewer rows
            del kinds["records deleted"]
        if self._plan.brokers == 1:
            del kinds["brokers restarted in turn"]
        return {kind: kinds[kind] for kind in self._plan.faults if kind in kinds}

    # ---- the run -----------------------------------------------------------------------------------------------------

    def strike(self) -> None:
        """Until every aim was used and every fault came about once, or the time is over."""
        began_s = time.monotonic()
        self._next_s = began_s + 5
        while time.monotonic() < began_s + self._plan.minutes * 60 and not self._is_done:
            self._turn()
            if time.monotonic() >= self._next_s:
                self._strike_once()
            time.sleep(0.1)
        self._is_striking = False
        while self._undo:
            self._undo.pop()[1]()
        self._heal_network()
        self.record.note("nothing strikes any more")

    @property
    def _is_done(self) -> bool:
        kills, zombies = self.record.struck_by("kill"), self.record.struck_by("stop")
        return kills >= self._plan.kills and zombies >= self._plan.zombies and all(self.faults.values())

    def _turn(self) -> None:
        now_s = time.monotonic()
        for due_s, undo in [each for each in self._undo if each[0] <= now_s]:
            self._undo.remove((due_s, undo))
            undo()
        excuses = [words for words, until_s in self._excuses.items() if now_s < until_s]
        aims = self._aims if self._is_striking else []  # an aim that is given back is not given out again
        for replica in self._replicas:
            replica.turn(aims, self.record, excuses=excuses)

    def _strike_once(self) -> None:
        kinds = self._kinds()
        if not self._undo:  # one fault of the surroundings at a time, so that some work is done between them
            self._waiting = self._waiting or self._chance.sample(sorted(kinds), len(kinds))
            kind = self._waiting.pop()
            self.record.note(kind)
            self.faults[kind] += kinds[kind]() is not False
        self._next_s = time.monotonic() + self._chance.uniform(*self._plan.pace.fault_every_s)

    def heal(self) -> float:
        """Everything works again; the seconds until everything was answered."""
        for replica in self._replicas:
            replica.go_on()
            replica.is_wanted = replica is not self._replicas[-1]
            replica.tell() if replica.aim is not None or not replica.is_wanted else None
        began_s = time.monotonic()
        try:
            wait_until(
                self._is_drained, "the group does not reach the end of its topics", self._plan.pace.drain_timeout_s
            )
        except AssertionError as failure:
            where = f"committed {self._committed_now()} of {self._ends()}"
            self.complaints.append(Complaint("never drained", f"{failure}: {where}"))
        return time.monotonic() - began_s

    def _is_drained(self) -> bool:
        self._turn()
        committed, ends = self._committed_now(), self._ends()
        return len(ends) == PARTITIONS and all(end <= committed.get(place, 0) for place, end in ends.items())

    def _ends(self) -> Mapping[tuple[str, int], int]:
        """Where the input ends; nothing while a broker that came back does not lead its partitions yet."""
        topic = self._job.inputs[0]
        with contextlib.suppress(KafkaException):
            return {(topic, number): end for number, (_, end) in self._job.topics.ends(topic).items()}
        return {}

    def end(self) -> None:
        """Ask every process to end, and see how it did."""
        for replica in self._replicas:
            replica.is_wanted = False
            replica.tell()
        with contextlib.suppress(AssertionError):
            wait_until(self._is_over, "some go on", 60)
        for replica in self._replicas:
            if replica.worker is not None:
                self._complain_of_end(f"{replica.name} does not end: {replica.worker.log[-1500:]}")
        for what in self.record.unlawful:
            self._complain_of_end(what)

    def _complain_of_end(self, what: str) -> None:
        self.complaints.append(Complaint("unlawful end", what))

    def _is_over(self) -> bool:
        self._turn()
        return all(replica.worker is None for replica in self._replicas)

    def _committed_now(self) -> Mapping[tuple[str, int], int]:
        """What is committed now; the last that was seen while no broker tells."""
        topic = self._job.inputs[0]
        with contextlib.suppress(KafkaException):
            found = self._job.topics.committed(self._job.group, topic)
            self._committed |= {(topic, number): place.offset for number, place in found.items()}
        return self._committed

    # ---- faults ------------------------------------------------------------------------------------------------------

    def _one(self, strike: Callable[[Replica], bool]) -> bool:
        """The first, in a random order, on whom the strike tells; False if there is none."""
        return any(map(strike, self._chance.sample(self._replicas, len(self._replicas))))

    def _later(self, seconds: float, undo: Callable[[], None]) -> None:
        self._undo.append((time.monotonic() + seconds, undo))

    def _join_or_leave(self) -> None:
        guest = self._replicas[-1]
        guest.is_wanted = not guest.is_wanted
        if not guest.is_wanted:
            guest.tell()

    def _kill_broker(self) -> None:
        node = self._chance.choice(self._cluster.nodes)
        node.kill()
        self._later(self._chance.uniform(0, 5), lambda: self._start_broker(node))

    def _start_broker(self, node: Broker) -> None:
        node.start()
        self.record.note(f"{node.bootstrap} is there again")

    def _restart_in_turn(self, nodes: Sequence[Broker]) -> None:
        """As an operator's update does: each one only when the one before holds copies of everything again."""
        if not self._is_replicated():
            self._later(1.0, lambda: self._restart_in_turn(nodes))
        elif self._is_striking and nodes:
            nodes[0].stop()
            self._start_broker(nodes[0])
            self._later(1.0, lambda: self._restart_in_turn(nodes[1:]))

    def _is_replicated(self) -> bool:
        if not self._is_striking:
            return True
        with contextlib.suppress(KafkaException):
            topics = self._job.topics.admin.list_topics(timeout=10).topics.values()
            partitions = [partition for topic in topics for partition in topic.partitions.values()]
            return all(len(partition.isrs) == len(partition.replicas) for partition in partitions)
        return False

    def _heal_network(self) -> None:
        for proxy in self._proxies:
            proxy.heal()

    def _reset_connections(self) -> None:
        for proxy in self._proxies:
            proxy.reset()

    def _delay_answers(self) -> None:
        seconds = self._chance.uniform(0.05, 0.5)
        for proxy in self._proxies:
            proxy.delay(seconds)
        self._later(self._chance.uniform(2, 8), self._heal_network)

    def _withhold_answers(self) -> None:
        for proxy in self._proxies:
            proxy.withhold_answers()
        self._later(self._silence_s(), self._heal_network)

    def _drop_traffic(self) -> None:
        for proxy in self._proxies:
            proxy.drop()
        self._later(self._silence_s(), self._heal_network)

    def _silence_s(self) -> float:
        """Mostly short; now and then beyond the worker's patience with a commit, which nobody then knows the end of."""
        return self._chance.choice([self._chance.uniform(0.5, 3), self._chance.uniform(11, 14)])

    def _delete_records(self) -> bool:
        """Some of what is scored: of the rows that windows need, too."""
        topic, number = self._job.inputs[0], self._chance.randrange(PARTITIONS)
        committed = self._committed_now().get((topic, number), 0)
        start = max(0, committed - self._chance.choice([0, 3, 30, 300]))
        before = self.deleted.get((topic, number), 0)
        self.deleted[topic, number] = max(start, before)
        with contextlib.suppress(KafkaException):  # it may be done all the same
            self._job.topics.delete_before(topic, number, start)
            return start > before
        return False

    def _withdraw_right(self) -> None:
        right = ["write dead letters"]
        withdraw(self._job, right)
        self._excuses[self._job.dead] = math.inf
        self._later(self._chance.uniform(2, 6), lambda: self._grant(right))

    def _grant(self, right: Sequence[str]) -> None:
        grant(self._job, right)
        # Who is stopped meanwhile reads an answer from before the grant once it wakes.
        self._excuses[self._job.dead] = time.monotonic() + self._plan.pace.zombie_s[1] + EXCUSED_S
