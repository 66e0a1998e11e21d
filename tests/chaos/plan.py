"""What a chaos run is to be."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is to be."""

    seed: int
    minutes: float
    kills: int
    a_second: int = 250
    longest_absence_s: float = 20.0
    zombie_s: tuple[float, float] = (15.0, 30.0)
    fault_every_s: tuple[float, float] = (5.0, 15.0)
    protocol: str = "classic"
    delivery: str = "exactly-once"
