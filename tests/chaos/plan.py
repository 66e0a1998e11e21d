"""What a chaos run is to be."""

from dataclasses import dataclass, field

from worker.failpoints import NAMES

TO_WORKERS = ("kill at random", "SIGTERM", "SIGSTOP", "join or leave")
FAULTS = (
    *TO_WORKERS,
    "broker killed",
    "brokers restarted in turn",  # where there are several
    "answers delayed",
    "answers withheld",
    "connections reset",
    "traffic dropped",
    "right withdrawn",
    "records deleted",
)


def usual_faults(brokers: int) -> tuple[str, ...]:
    """All that befall so many brokers and their workers, unless others are asked for.

    A broker that is alone is not killed: as its partitions' only replica it may lose the markers of a transaction by
    itself, now and then (docs/reliability.md).
    """
    spared = {"broker killed", "brokers restarted in turn"} if brokers == 1 else set()
    return tuple(fault for fault in FAULTS if fault not in spared)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long things take; ranges are drawn from evenly."""

    longest_absence_s: float = 20.0  # of a killed replica; mostly it returns sooner
    zombie_s: tuple[float, float] = (15.0, 30.0)
    fault_every_s: tuple[float, float] = (5.0, 15.0)
    drain_timeout_s: float = 180.0


BRISK = Pace(longest_absence_s=3.0, zombie_s=(5.0, 8.0), fault_every_s=(3.0, 6.0))
"""For a short run: long enough for a session to end, short enough for many strikes."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The seed decides events, faults and their order; the last kill, zombie or kind of fault ends the run, or time."""

    seed: int
    minutes: float
    kills: int
    zombies: int = 2
    a_second: int = 250
    pace: Pace = field(default_factory=Pace)
    protocol: str = "classic"  # | consumer (KIP-848)
    delivery: str = "exactly-once"  # | at-least-once
    brokers: int = 1  # | 3, which replicate
    aims: tuple[str, ...] = NAMES
    """The failpoints at which workers are killed, in turn."""
    faults: tuple[str, ...] = FAULTS
    """What befalls workers and their surroundings besides."""
