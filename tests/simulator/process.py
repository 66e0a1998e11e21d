"""A process and its calls to the brokers: it works, stands still or is dead, and what befalls a call is told before.

A process that is stopped in the midst of a call stands in a thread of its own, so that the others can go on; only one
thread ever runs.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from functools import partial
from typing import Protocol, TypeVar

from confluent_kafka import KafkaError, KafkaException

from tests.simulator.refusal import refuse, time_out

Answer = TypeVar("Answer")

MOST_LATE_S = 60.0
"""The client closes a connection on which nothing was answered for so long: what waited on it never arrives."""


class Killed(BaseException):
    """The process is no more: nothing of it reaches the brokers from here on."""


class Fate(StrEnum):
    """What befalls one call."""

    REFUSED = "refused"
    LOST = "lost"
    ANSWER_LOST = "answer lost"
    LATE = "late"  # it times out, and arrives after that
    DOUBLED = "doubled"
    QUEUE_FULL = "queue full"
    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"
    STOPPED_BEFORE = "stopped before"
    STOPPED_AFTER = "stopped after"


class Network(Protocol):
    """What lies between processes and brokers."""

    now_s: float
    on_the_way: list[Callable[[], object]]

    def strike(self, call: str) -> None:
        """What waits for this call of any process."""


class Process:
    """One process. `call` goes to the brokers, `run` is a stretch of its life."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._fates: dict[str, Fate] = {}
        self._standing: _Aside | None = None
        self._running: _Aside | None = None
        self.is_dead = False
        self.silent_since_s: float | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether it stands still, to go on some time or never."""
        return self.silent_since_s is not None and not self.is_dead

    def await_fate(self, call: str, fate: Fate) -> None:
        """The next call of that name comes to this."""
        self._fates[call] = fate

    def awaits_fate(self, call: str) -> bool:
        """Whether that call is still to come to something."""
        return call in self._fates

    def forget_fates(self) -> None:
        """What has not come to pass never does."""
        self._fates.clear()

    def kill(self) -> None:
        """End it where it stands."""
        self._fall_silent()
        self.is_dead = True
        if self._standing is not None:
            standing, self._standing = self._standing, None
            with suppress(Killed):
                standing.go_on()

    def stop(self) -> None:
        """Let it stand still from here on."""
        self._fall_silent()

    def go_on(self) -> None:
        """Let a stopped one go on where it stood; returns when that stretch is over."""
        self.silent_since_s = None
        if self._standing is not None:
            standing, self._standing = self._standing, None
            self._watch(standing, standing.go_on)

    def run(self, stretch: Callable[[], None]) -> None:
        """Live through `stretch`; it may end early: stopped in a call, or killed."""
        if not {Fate.STOPPED_BEFORE, Fate.STOPPED_AFTER}.intersection(self._fates.values()):
            stretch()
            return
        aside = _Aside(stretch)
        self._watch(aside, aside.go_on)

    def _watch(self, aside: "_Aside", step: Callable[[], None]) -> None:
        self._running = aside
        try:
            step()
        finally:
            self._running = None
        if not aside.is_over:
            self._standing = aside

    def _fall_silent(self) -> None:
        if self.silent_since_s is None:
            self.silent_since_s = self._network.now_s

    def call(self, name: str, request: Callable[[], Answer], timeout_s: float = 0.0) -> Answer:
        """What the brokers answer, if fate lets them."""
        if self.is_dead:
            raise Killed
        self._network.strike(name)
        fate = self._fates.pop(name, None)
        answer = request() if fate is None else self._suffer(fate, request, timeout_s)
        self._network.strike(f"after {name}")
        return answer

    def _suffer(self, fate: Fate, request: Callable[[], Answer], timeout_s: float) -> Answer:
        if fate in {Fate.KILLED_BEFORE, Fate.STOPPED_BEFORE}:
            self._cease(fate)
        if fate is Fate.REFUSED:
            refuse(KafkaError.ILLEGAL_GENERATION, abortable=True)
        if fate is Fate.QUEUE_FULL:
            raise BufferError("Local: Queue full")
        if fate is Fate.LATE:
            self._network.on_the_way.append(partial(self._arrive, request, self._network.now_s + MOST_LATE_S))
        if fate in {Fate.LOST, Fate.LATE}:
            self._wait_in_vain(timeout_s)
        if fate is Fate.DOUBLED:
            request()
        answer = request()
        if fate is Fate.ANSWER_LOST:
            self._wait_in_vain(timeout_s)
        if fate in {Fate.KILLED_AFTER, Fate.STOPPED_AFTER}:
            self._cease(fate)
        return answer

    def _arrive(self, request: Callable[[], object], until_s: float) -> None:
        if self._network.now_s < until_s:
            request()

    def _cease(self, fate: Fate) -> None:
        if fate in {Fate.KILLED_BEFORE, Fate.KILLED_AFTER}:
            self.kill()
            raise Killed
        self._fall_silent()
        running = self._running
        if running is not None:
            running.stand()
        if self.is_dead:
            raise Killed

    def _wait_in_vain(self, timeout_s: float) -> None:
        self._network.now_s += max(0.0, timeout_s)
        time_out()


class _Aside:
    """A stretch in a thread of its own, which runs only while `go_on` waits for it to stand or to end."""

    def __init__(self, stretch: Callable[[], None]) -> None:
        self._stretch = stretch
        self._may_go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._failure: BaseException | None = None
        self.is_over = False

    def go_on(self) -> None:
        """Until it stands again, or is over. Raises what it raised."""
        if not self._thread.is_alive():
            self._thread.start()
        self._may_go.release()
        self._stands.acquire()
        if self.is_over:
            self._thread.join()
            if self._failure is not None:
                raise self._failure

    def stand(self) -> None:
        """Called in the stretch: wait for `go_on`."""
        self._stands.release()
        self._may_go.acquire()

    def _live(self) -> None:
        self._may_go.acquire()
        try:
            self._stretch()
        except BaseException as failure:  # noqa: BLE001 - raised again where it is waited for
            self._failure = failure
        self.is_over = True
        self._stands.release()


def let_arrive(network: Network) -> None:
    """Whatever is still on its way reaches the brokers; nobody waits for the answers."""
    while network.on_the_way:
        request = network.on_the_way.pop(0)
        try:
            request()
        except KafkaException:
            continue
