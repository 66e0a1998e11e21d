"""What a record must hold to be an event: the settings of the decoder, as plain values.

It knows no decoder and no Kafka.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Path: TypeAlias = tuple[str, ...]
"""The names to follow to a value, from the outside in; never empty."""
JsonScalar: TypeAlias = str | int | float | bool | None
TimeUnit: TypeAlias = Literal["s", "ms", "us", "ns", "iso8601"]

MOST_ENTITY_BYTES = 512
DEEPEST = 64
"""How many objects and arrays may lie within each other, the outermost included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFormat:
    """Which parts of a record are read, and what they must be."""

    features: tuple[tuple[str, Path], ...]  # name, path; in the model's order
    entity: Path | None = None  # None: the record's key as UTF-8
    timestamp: Path | None = None  # None: the record's own
    timestamp_unit: TimeUnit = "ms"
    where: Mapping[Path, tuple[JsonScalar, ...]]  # every path must hold one of its values, else the record is skipped
    passthrough: tuple[Path, ...] = ()
    tombstone: Literal["dead-letter", "skip"] = "dead-letter"
    required: frozenset[str] = frozenset()  # features that may not be missing
    max_missing: float = 0.5  # share of the features
    max_bytes: int = 1_000_000


def spelled(path: Path) -> str:
    r"""The path as the settings write it: `a.b` is b inside a, a dot within a name is `\.`."""
    return ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in path)


def identity(scalar: object) -> tuple[bool, object]:
    """Equal for equal JSON scalars: 1 is 1.0, but true is not 1, though Python says so."""
    return isinstance(scalar, bool), scalar
