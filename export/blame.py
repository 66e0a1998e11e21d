"""An incident with its highest score, and the features that this score comes from: what reports tell of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """One feature's part in a score; value and expected are those of its row with the largest share."""

    feature: str
    share: float
    value: float | None  # None = missing
    expected: float | None  # None = the detector has no opinion
    rows_ago: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstIncident:
    """A run of labelled rows, and its row with the highest score."""

    entity: str
    first_row: int  # of the entity, 0 = the oldest
    last_row: int
    first_ms: int | None
    last_ms: int | None
    score: float
    delay_rows: int | None  # to the first alarm; None where none was raised
    blames: tuple[Blame, ...]  # the largest share first; () where the artifact does not explain
