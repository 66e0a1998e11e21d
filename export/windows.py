"""Rows of many entities in, windows out: the last W rows up to each scored one, cut as the worker cuts them.

Knows neither files nor detectors. A window reaches back over no other entity, over no step of event time larger than
`max_gap_ms`, and over no border between training, validation and calibration.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from export.split import CALIBRATION, EXCLUDED, TRAINING, VALIDATION, part_of
from schemas.artifact import ELAPSED, ENTITY, WINDOW

Inputs = dict[str, NDArray[np.float32 | np.int64]]
"""What a graph takes, by the contract's names and in their order."""

_STATISTIC_ROWS = 500_000  # mean, deviation and quantiles gain nothing from more


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows kept from the files, each entity's in order; windows end in the rows that `scored` marks."""

    entity: NDArray[np.int32]  # (n,) place in `rows_of_entity`
    position: NDArray[np.int64]  # (n,) place in the entity's rows, 0 = the oldest
    event_time_ms: NDArray[np.int64] | None  # (n,)
    features: NDArray[np.float32]  # (n, F), NaN = missing
    scored: NDArray[np.bool_]  # (n,)
    rows_of_entity: NDArray[np.int64]  # (entities,) in the files, kept or not


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Windows over shared rows; `take` copies the few that are asked for."""

    rows: NDArray[np.float32]  # (n, F)
    last: NDArray[np.int64]  # (m,) the scored row of each window
    length: NDArray[np.int64]  # (m,) rows seen, 1..W
    window: int
    time_ms: NDArray[np.int64] | None = None
    """(n,) of the rows, where the time between events counts."""
    entity: NDArray[np.int64] | None = None
    """(n,) of the rows, where it counts whose they are: as the contract's `entity`."""

    def __len__(self) -> int:
        """The number of windows."""
        return len(self.last)

    def take(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """(len(places), W, F): oldest row first, NaN rows in front where not seen."""
        age = np.arange(self.window - 1, -1, -1)
        values: NDArray[np.float32] = self.rows[np.maximum(self.last[places, None] - age, 0)]
        values[age >= self.length[places, None]] = np.nan
        return values

    def elapsed(self, places: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """(len(places), W) seconds from each row to the last, NaN in front; None where no times are known."""
        if self.time_ms is None:
            return None
        age = np.arange(self.window - 1, -1, -1)
        last = self.last[places, None]
        milliseconds = self.time_ms[last] - self.time_ms[np.maximum(last - age, 0)]
        seconds = np.asarray(milliseconds / 1000, dtype=np.float32)
        seconds[age >= self.length[places, None]] = np.nan
        return seconds

    def inputs(self, places: NDArray[np.int64]) -> Inputs:
        """What a detector takes: the windows and, where they are known, the seconds that have elapsed, the entities."""
        inputs: Inputs = {WINDOW: self.take(places)}
        elapsed = self.elapsed(places)
        if elapsed is not None:
            inputs[ELAPSED] = elapsed
        if self.entity is not None:
            inputs[ENTITY] = self.entity[self.last[places]]
        return inputs

    def spread(self, count: int) -> "Windows":
        """At most `count` of them, evenly spread."""
        if len(self) <= count:
            return self
        return self.at(_spread(np.arange(len(self)), count))

    def at(self, places: NDArray[np.int64]) -> "Windows":
        """Those at these places."""
        return replace(self, last=self.last[places], length=self.length[places])

    def newest(self, rows: int) -> "Windows":
        """The same windows, but no more than so many of their newest rows."""
        return replace(self, length=np.minimum(self.length, rows), window=rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The windows of the three parts, and the rows that the first one may learn statistics from.

    Where there are `folds` the windows of training and calibration are the same: see export.cross_fitting.
    """

    training: Windows
    validation: Windows
    calibration: Windows
    training_rows: NDArray[np.float32]  # (r, F), of very many an even part
    entity: NDArray[np.int32]  # (n,) of all rows that the windows share, sorted
    part: NDArray[np.int8]  # (n,) the same rows', as export.split names them
    excluded_rows: int = 0
    folds: int = 0


def statistic_rows(part: NDArray[np.int8]) -> NDArray[np.int64]:
    """(r,) the training rows that statistics are learnt from, where the parts of all rows are these."""
    return _spread(np.flatnonzero(part == TRAINING), _STATISTIC_ROWS)


def _spread(places: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    if len(places) <= count:
        return places
    return places[np.linspace(0, len(places) - 1, count).astype(np.int64)]


def _starts_anew(sample: Sample, part: NDArray[np.int8], max_gap_ms: int | None) -> NDArray[np.bool_]:
    """(n,) whether a window that ends here or later does not reach further back than this row."""
    anew = np.ones(len(sample.entity), dtype=np.bool_)
    anew[1:] = (np.diff(sample.entity) != 0) | (np.diff(sample.position) != 1) | (np.diff(part) != 0)
    if max_gap_ms is not None and sample.event_time_ms is not None:
        anew[1:] |= np.diff(sample.event_time_ms) > max_gap_ms
    return anew


def cut(
    sample: Sample,
    *,
    window: int,
    min_length: int,
    max_gap_ms: int | None,
    excluded_ms: Sequence[tuple[int, int]] = (),
    timed: bool = False,
) -> Parts:
    """The windows of at least `min_length` rows, by part. Shorter ones are warming: the worker never alarms on them.

    No window holds a row of the excluded ranges of time, whose ends belong to them. `timed` ones know their times.
    """
    sorted_sample = _in_order(sample)
    part = part_of(
        entity=sorted_sample.entity,
        position=sorted_sample.position,
        rows=sorted_sample.rows_of_entity,
        window=window,
    )
    excluded = _within(sorted_sample, excluded_ms)
    part[excluded] = EXCLUDED
    length = _lengths(sorted_sample, part, window=window, max_gap_ms=max_gap_ms)

    def windows_of(wanted: int) -> Windows:
        last = np.flatnonzero(sorted_sample.scored & (part == wanted) & (length >= min_length))
        return Windows(
            rows=sorted_sample.features,
            last=last,
            length=length[last],
            window=window,
            time_ms=sorted_sample.event_time_ms if timed else None,
        )

    return Parts(
        training=windows_of(TRAINING),
        validation=windows_of(VALIDATION),
        calibration=windows_of(CALIBRATION),
        training_rows=sorted_sample.features[statistic_rows(part)],
        entity=sorted_sample.entity,
        part=part,
        excluded_rows=int(excluded.sum()),
    )


def _within(sample: Sample, ranges_ms: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """(n,) whether a row lies in one of the ranges."""
    within = np.zeros(len(sample.entity), dtype=np.bool_)
    if sample.event_time_ms is not None:
        for start_ms, end_ms in ranges_ms:
            within |= (sample.event_time_ms >= start_ms) & (sample.event_time_ms <= end_ms)
    return within


def every_window(sample: Sample, *, window: int, max_gap_ms: int | None) -> Windows:
    """The window of every row, warming ones too; the rows are sorted already, by entity and position."""
    whole = np.zeros(len(sample.entity), dtype=np.int8)
    length = _lengths(sample, whole, window=window, max_gap_ms=max_gap_ms)
    return Windows(
        rows=sample.features,
        last=np.arange(len(length)),
        length=length,
        window=window,
        time_ms=sample.event_time_ms,
    )


def _in_order(sample: Sample) -> Sample:
    """The same rows by entity and position."""
    order = np.lexsort((sample.position, sample.entity))
    return Sample(
        entity=sample.entity[order],
        position=sample.position[order],
        event_time_ms=None if sample.event_time_ms is None else sample.event_time_ms[order],
        features=sample.features[order],
        scored=sample.scored[order],
        rows_of_entity=sample.rows_of_entity,
    )


def _lengths(sample: Sample, part: NDArray[np.int8], *, window: int, max_gap_ms: int | None) -> NDArray[np.int64]:
    """(n,) rows seen by the window that ends in each row."""
    row = np.arange(len(sample.entity))
    first = np.maximum.accumulate(np.where(_starts_anew(sample, part, max_gap_ms), row, 0))
    return np.minimum(row - first + 1, window)
