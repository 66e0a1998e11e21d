"""Places at which tests make a worker die, hang, fail or wait: a name goes in, and nothing comes of it unless armed.

Armed by one environment variable, for tests alone: `ANOMALY_WORKER_FAILPOINTS=in_commit:kill:0.05,staged:stop=20:1`.
The one thing here that is global: a hook that was handed through every constructor would cost each reader more than
this module. It knows no Kafka.
"""

import logging
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from worker.errors import ConfigError

log = logging.getLogger(__name__)

VARIABLE = "ANOMALY_WORKER_FAILPOINTS"

NAMES = (
    "after_poll",  # records were polled, nothing is decoded
    "in_assign",  # within the callback, before the committed offsets are asked for
    "in_refill",  # rows below the committed offset are about to fill the windows
    "staged",  # a batch's windows are staged
    "in_inference",  # in the inference thread
    "mid_produce",  # the brokers have a batch's scores, its dead letters were not handed over
    "flushed",  # the brokers have every record of the transaction, and no offset
    "offsets_sent",  # the offsets are in the transaction, which is still open
    "in_commit",  # while EndTxn is under way
    "committed",  # the transaction is committed, the loop does not know yet
    "before_keep",  # the loop knows, the windows are not kept yet
    "on_revoke",  # within the callback, before what is in flight is committed
    "on_sigterm",  # told to end, before what is in flight is committed
)

_SYNTAX = re.compile(r"(?P<name>\w+):(?P<action>[a-z]+)(?:=(?P<seconds>\d+(?:\.\d+)?))?:(?P<probability>\d+(?:\.\d+)?)")
_SEED = re.compile(r"seed=(\d+)")
_WITH_SECONDS = ("stop", "delay")

_WITHIN_ENDTXN_S = 0.01
"""Flush, EndTxn and its answer take some milliseconds: a kill within that time falls before, into or behind it."""


class FailpointError(Exception):
    """What `raise` raises: a fault that nobody foresaw."""


@dataclass
class _Failpoint:
    action: str
    seconds: float
    probability: float
    is_spent: bool = False


@dataclass
class _Armed:
    """Failpoints in force; one random number for each time that one of them is reached."""

    points: Mapping[str, _Failpoint]
    chance: random.Random
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, name: str, first: Callable[[], object] | None = None) -> None:
        point = self.points.get(name)
        if point is None or not self._strikes(point):
            return
        if first is not None:
            first()
        log.warning("failpoint %s: %s", name, point.action)
        if name == "in_commit" and point.action in {"kill", "stop"}:
            delay_s = self.chance.uniform(0, _WITHIN_ENDTXN_S)
            threading.Timer(delay_s, _act, [name, point]).start()
        else:
            _act(name, point)

    def _strikes(self, point: _Failpoint) -> bool:
        with self.lock:
            if point.is_spent or self.chance.random() >= point.probability:
                return False
            point.is_spent = point.action != "delay"  # a worker that was a zombie goes on undisturbed
            return True


def _act(name: str, point: _Failpoint) -> None:
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.action == "stop":
        _stop(point.seconds)
    elif point.action == "delay":
        time.sleep(point.seconds)
    else:
        raise FailpointError(f"failpoint {name}")


def _stop(seconds: float) -> None:
    """Hang whole, all threads, as a process does that was swapped out; another process lets it go on."""
    pid = os.getpid()
    subprocess.Popen(["/bin/sh", "-c", f"sleep {seconds}; kill -CONT {pid}"], stdin=subprocess.DEVNULL)  # noqa: S603 - two numbers of ours
    os.kill(pid, signal.SIGSTOP)


def _nothing(name: str, first: Callable[[], object] | None = None) -> None:
    del name, first


_reached: Callable[..., None] = _nothing


def reach(name: str, first: Callable[[], object] | None = None) -> None:
    """The worker is at this place. Where a failpoint strikes, `first` is done before it."""
    _reached(name, first)


def arm(environ: Mapping[str, str]) -> None:
    """Put in force what the environment says; nothing, as a rule. Raises ConfigError where it says what is unknown."""
    global _reached  # noqa: PLW0603 - see the module's docstring
    text = environ.get(VARIABLE, "")
    _reached = _parsed(text) if text else _nothing
    if text:
        log.warning("FAILPOINTS ARE ARMED (%s): this worker will be made to fail, it is no good for real work", text)


def _parsed(text: str) -> _Armed:
    items = text.split(",")
    seeds = [int(found[1]) for found in map(_SEED.fullmatch, items) if found]
    points = dict(_point(item) for item in items if not _SEED.fullmatch(item))
    return _Armed(points, random.Random(seeds[0] if seeds else None))  # noqa: S311 - a test's dice


def _point(item: str) -> tuple[str, _Failpoint]:
    found = _SYNTAX.fullmatch(item)
    if found is None:
        raise ConfigError(f"{VARIABLE}: {item!r} is not NAME:ACTION:PROBABILITY, such as in_commit:kill:0.05.")
    name, action, seconds = found["name"], found["action"], found["seconds"]
    if name not in NAMES:
        raise ConfigError(f"{VARIABLE}: there is no failpoint {name!r}; there are {', '.join(NAMES)}.")
    if action not in {"kill", "raise", *_WITH_SECONDS} or (action in _WITH_SECONDS) != (seconds is not None):
        raise ConfigError(f"{VARIABLE}: {item!r} needs one of kill, raise, stop=SECONDS, delay=SECONDS.")
    probability = float(found["probability"])
    if not 0 < probability <= 1:
        raise ConfigError(f"{VARIABLE}: the probability in {item!r} is not above 0 and at most 1.")
    return name, _Failpoint(action, float(seconds or 0), probability)
