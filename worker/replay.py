"""Where a partition is read from after an assignment: the committed offset and the log's bounds in, a plan out.

Pure rules (R2, R3, R4); the source asks the broker and carries the plan out.
"""

from dataclasses import dataclass

from schemas.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one partition is taken up: read from `position`, emit from `committed` on."""

    position: int
    committed: int
    missing_before: int | None = None
    """Rows below this offset were needed and are gone: windows that would reach them are `truncated`."""
    gap: int = 0
    """Records below the log's start that were never scored."""
    first_start: bool = False
    """Nothing was committed before: the resolved start is to be committed, so that every later start agrees."""
    np: int | None = None
    """How many partitions the topic had when the group began, as it was recorded: it is handed on, never raised."""
    attempts: int = 0
    """How many workers began at `committed` before and committed nothing since: crashes, or kills from outside."""
    skip: tuple[int, ...] = ()
    """Offsets of records that killed a worker: they are dead letters, and stay out of windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What the group has recorded for a partition."""

    offset: int
    checkpoint: Checkpoint | None


def resume(committed: Committed, *, log_start: int, spec: str, lookback_offsets: int) -> Plan:
    """Take up a partition where the group left it (R2, R4); a committed offset below the log's start is a gap (R3)."""
    gap = max(0, log_start - committed.offset)
    offset = committed.offset + gap
    needed = _oldest_needed(committed, spec=spec, lookback_offsets=lookback_offsets)
    missing_before = log_start if log_start > needed else _still_missing(committed, lookback_offsets)
    return Plan(
        position=min(offset, max(log_start, needed)),
        committed=offset,
        missing_before=missing_before,
        gap=gap,
        np=committed.checkpoint.np if committed.checkpoint else None,
        attempts=committed.checkpoint.attempts if committed.checkpoint and not gap else 0,
        skip=committed.checkpoint.skipped if committed.checkpoint else (),
    )


def first_start(start: int, *, log_start: int, lookback_offsets: int) -> Plan:
    """Take up a partition that the group never committed, at `start`; the rows before it fill the windows (R3)."""
    offset = max(start, log_start)
    needed = max(0, offset - lookback_offsets)
    return Plan(
        position=max(log_start, needed),
        committed=offset,
        missing_before=log_start if log_start > needed else None,
        first_start=True,
    )


def _oldest_needed(committed: Committed, *, spec: str, lookback_offsets: int) -> int:
    reach = max(0, committed.offset - lookback_offsets)
    checkpoint = committed.checkpoint
    if checkpoint is None or checkpoint.spec != spec:
        return reach
    return max(reach, min(checkpoint.lo, committed.offset))


def _still_missing(committed: Committed, lookback_offsets: int) -> int | None:
    """What an earlier worker found missing, as long as a window may still reach it."""
    before = committed.checkpoint.tr if committed.checkpoint else None
    return before if before is not None and before > committed.offset - lookback_offsets else None
