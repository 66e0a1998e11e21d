"""The checkpoint: what travels in a committed offset's metadata, so that a successor knows what to read again."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

_VERSION = "v1"
_LONGEST = 1_000
"""Characters. Brokers refuse 4,096 bytes; what is longer than this would not be ours."""
MOST_SKIPPED = 32
"""Offsets in `skip`: more would not fit, and a model that so many records kill is not fit for work."""
_LARGEST = 2**63 - 1
_NUMBER = re.compile(r"[0-9]{1,19}")
_VERBATIM = re.compile(r"[ -:<-~]+")
"""Printable ASCII without the semicolon."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The metadata of one partition's committed offset (rule R1).

    `lo` is the oldest offset that a window may still need, `spec` identifies what windows and validity depend on (see
    `spec_of`), `np` is the topic's partition count when it was written. `att` and `skip` attribute crashes: how many
    workers began at this offset and committed nothing since, and which records kill a worker (`attempts`, `skipped`);
    both are kept verbatim. Rows below offset `tr` may be missing from windows because the log no longer had them.
    """

    lo: int
    spec: str
    np: int
    att: str | None = None
    skip: str | None = None
    tr: int | None = None

    @property
    def attempts(self) -> int:
        """`att` as a number; 0 where it is absent or none."""
        return _number(self.att) or 0

    @property
    def skipped(self) -> tuple[int, ...]:
        """The offsets in `skip`, ascending; none where it is absent or no list of offsets."""
        offsets = [_number(part) for part in (self.skip or "").split(",")]
        return tuple(sorted(offset for offset in offsets if offset is not None))

    def encode(self) -> str:
        """The string to commit: ASCII, at most 1,000 characters. Raises ValueError where that cannot be."""
        fields = {"lo": self.lo, "spec": self.spec, "np": self.np, "tr": self.tr, "att": self.att, "skip": self.skip}
        given = {name: str(value) for name, value in fields.items() if value is not None}
        text = ";".join([_VERSION, *(f"{name}={value}" for name, value in given.items())])
        if len(text) > _LONGEST:
            raise ValueError(f"a checkpoint of {len(text)} characters is longer than {_LONGEST}")
        if Checkpoint.decode(text) != self:
            raise ValueError("a checkpoint holds whole numbers from 0 and printable ASCII without semicolons")
        return text

    @classmethod
    def decode(cls, metadata: str | None) -> "Checkpoint | None":
        """What `encode` wrote, unknown fields ignored; None for metadata that is absent, foreign or malformed."""
        version, *parts = (metadata or "").rstrip("\0").split(";")  # some clients store a trailing NUL
        fields = dict(part.split("=", 1) for part in parts if "=" in part)
        if version != _VERSION or len(fields) < len(parts):
            return None
        if not all(_VERBATIM.fullmatch(value) for value in fields.values()):
            return None
        lo, np, tr = (_number(fields.get(name)) for name in ("lo", "np", "tr"))
        if lo is None or not np or "spec" not in fields or (tr is None and "tr" in fields):
            return None
        return cls(lo=lo, spec=fields["spec"], np=np, att=fields.get("att"), skip=fields.get("skip"), tr=tr)


def skipping(offsets: Iterable[int]) -> str | None:
    """`skip` for these offsets: the newest of them that fit; None for none."""
    return ",".join(map(str, sorted(offsets)[-MOST_SKIPPED:])) or None


def _number(text: str | None) -> int | None:
    if text is None or not _NUMBER.fullmatch(text) or int(text) > _LARGEST:
        return None
    return int(text)


def spec_of(deciding: Mapping[str, JsonValue]) -> str:
    """16 hexadecimal digits for all that decides which records are valid and what their windows hold (rule R1).

    That is: format, mapping, features and their order, W, L, max_gap_s, size and timestamp settings, `where`, what a
    missing value and a tombstone mean, the decoder's version. The order of a mapping's keys does not count, a list's
    does: sort what has no order. Equal digits mean that windows built under one are right under the other.
    """
    canonical = json.dumps(deciding, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
