"""What `check` found: a sentence, and what to change."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["problem", "advice"]
"""A problem keeps the worker from doing its job, or spoils its scores; advice makes it better."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to change."""

    level: Level
    subject: str
    sentence: str
    remedy: str


def problem(subject: str, sentence: str, remedy: str) -> Finding:
    """Something that must change."""
    return Finding("problem", subject, sentence, remedy)


def advice(subject: str, sentence: str, remedy: str) -> Finding:
    """Something that could be better."""
    return Finding("advice", subject, sentence, remedy)


def counted(count: int, one: str, several: str | None = None) -> str:
    """A number and what it counts, as people say it: "1 partition", "1,200 partitions"."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"
