"""Files of rows in; first a survey of them all, then a sample of rows that fits in memory.

Two passes: the survey counts, checks and digests every row; the sample keeps only the rows that its windows cover. So
memory is bounded by the number of windows asked for, not by the size of the files.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export.columns import Columns, choose_columns, is_number
from export.errors import DataError, UsageError
from export.event_time import UnreadableTimeError, milliseconds
from export.table_file import TableFile, open_table
from export.windows import Sample

_ENDLESS_ID = 1 << 24  # from here on float32 does not tell whole numbers apart

OnRows = Callable[[int], None]
"""Told how many rows a pass has read so far."""


class DataOptions(Protocol):
    """What every command that reads rows was told of their columns; None = see `choose_columns`."""

    @property
    def entity(self) -> str | None: ...  # noqa: D102  # the columns are the meaning
    @property
    def timestamp(self) -> str | None: ...  # noqa: D102
    @property
    def timestamp_unit(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some consecutive rows of one file, as numbers."""

    table: str
    first_row: int  # of the file, 1 = the first after the header
    entity: NDArray[np.int32]  # (n,) place in the order of first appearance
    event_time_ms: NDArray[np.int64] | None  # (n,)
    features: NDArray[np.float32]  # (n, F), NaN = missing

    def where(self, row: int) -> str:
        """How a sentence names this row of the chunk."""
        return f"{self.table}, row {self.first_row + row}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What all files hold together."""

    entities: tuple[str, ...]
    rows_of_entity: NDArray[np.int64]  # (entities,)
    start_ms: int | None
    end_ms: int | None
    sha256: str  # of entities, times and features as they were read

    @property
    def rows(self) -> int:
        """All rows."""
        return int(self.rows_of_entity.sum())

    @property
    def events_per_day(self) -> float | None:
        """All entities together; None without timestamps, or where all are the same."""
        if self.start_ms is None or self.end_ms is None or self.end_ms == self.start_ms:
            return None
        return (self.rows - 1) * 86_400_000 / (self.end_ms - self.start_ms)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Files that are read as one, in the order in which they were named."""

    tables: Sequence[TableFile]
    columns: Columns

    def chunks(self, entities: dict[str, int]) -> Iterator[Chunk]:
        """Every row, in blocks. `entities` gains each new entity with its place.

        Raises:
            DataError: a value that cannot be used, with file and row.
        """
        for table in self.tables:
            first_row = 1
            for batch in table.batches(self.columns.types):
                yield _chunk(batch, self.columns, entities, table=table.name, first_row=first_row)
                first_row += batch.num_rows

    def survey(self, on_rows: OnRows) -> Survey:
        """The first pass. Raises DataError where a value is unusable or an entity's time runs backwards."""
        entities: dict[str, int] = {}
        rows_of_entity = _Tally(0)
        clock = _Clock()
        digest = _ContentDigest()
        for chunk in self.chunks(entities):
            rows_of_entity.grow(len(entities))
            rows_of_entity.values += np.bincount(chunk.entity, minlength=len(entities))
            clock.follow(chunk)
            if not self.columns.in_log_order:
                clock.check(chunk, tuple(entities))
            digest.update(chunk)
            on_rows(int(rows_of_entity.values.sum()))
        if not entities:
            raise DataError(f"{', '.join(table.name for table in self.tables)}: there is no row of data.")
        return Survey(
            entities=tuple(entities),
            rows_of_entity=rows_of_entity.values,
            start_ms=clock.start_ms,
            end_ms=clock.end_ms,
            sha256=digest.hexdigest((*self.columns.features, *entities)),
        )

    def sample(self, survey: Survey, *, window: int, max_windows: int, on_rows: OnRows) -> Sample:
        """The second pass: every row, or of a large set those under evenly spaced windows, about `max_windows` of them.

        Memory: at most min(rows, max_windows * window) * (4 F + 21) bytes, and twice that while the rows are sorted.
        """
        stride = math.ceil(survey.rows / max_windows)
        entities: dict[str, int] = {}
        rows_before = np.zeros(len(survey.entities), dtype=np.int64)
        kept = []
        rows_read = 0
        for chunk in self.chunks(entities):
            position = rows_before[chunk.entity] + _rank(chunk.entity)
            rows_before += np.bincount(chunk.entity, minlength=len(rows_before))
            kept.append(_kept_rows(chunk, position, stride=stride, window=window))
            rows_read += len(chunk.entity)
            on_rows(rows_read)
        return _joined(kept, survey.rows_of_entity)


def open_dataset(
    paths: Sequence[Path],
    options: DataOptions,
    *,
    features: Sequence[str] | None,
    ids: str | None = None,
    label: str | None = None,
    named_by: str = "--data",
) -> Dataset:
    """The files, opened, with the columns to read; errors as of `open_table` and `choose_columns`.

    Args:
        paths: In the order in which they are read.
        options: The columns of entity and time.
        features: The columns of numbers; None = every other numeric one.
        ids: The one of them that holds template numbers, which must then be such.
        label: A column that is none of them.
        named_by: The option that a sentence speaks of.
    """
    tables = [open_table(path, option=named_by) for path in paths]
    columns = choose_columns(
        tables,
        entity=options.entity,
        timestamp=options.timestamp,
        timestamp_unit=options.timestamp_unit,
        features=features,
        ids=ids,
        label=label,
    )
    return Dataset(tables, columns)


class _Tally:
    """One whole number an entity, for entities that are still being found."""

    def __init__(self, start: int) -> None:
        self.values = np.zeros(0, dtype=np.int64)
        self._start = start

    def grow(self, entities: int) -> None:
        added = np.full(entities - len(self.values), self._start, dtype=np.int64)
        self.values = np.concatenate((self.values, added))


class _Clock:
    """Follows each entity's time through the files."""

    def __init__(self) -> None:
        self._latest = _Tally(np.iinfo(np.int64).min)
        self.start_ms: int | None = None
        self.end_ms: int | None = None

    def check(self, chunk: Chunk, entities: Sequence[str]) -> None:
        """Raises DataError at the first row whose time lies before the entity's row above it."""
        time_ms = chunk.event_time_ms
        if time_ms is None or len(time_ms) == 0:
            return
        self._latest.grow(len(entities))
        order = np.argsort(chunk.entity, kind="stable")
        entity, ordered_ms = chunk.entity[order], time_ms[order]
        before_ms = np.roll(ordered_ms, 1)
        first = np.r_[True, np.diff(entity) != 0]
        before_ms[first] = self._latest.values[entity[first]]
        backwards = np.flatnonzero(ordered_ms < before_ms)
        if len(backwards):
            place = backwards[np.argmin(order[backwards])]
            name = entities[entity[place]]
            raise DataError(
                f"{chunk.where(int(order[place]))}: the timestamp{f' of {name!r}' if name else ''} goes back "
                f"by {(before_ms[place] - ordered_ms[place]) / 1000:g} s; sort the rows by time."
            )
        last = np.r_[first[1:], True]
        self._latest.values[entity[last]] = ordered_ms[last]

    def follow(self, chunk: Chunk) -> None:
        """Widens the range of times."""
        time_ms = chunk.event_time_ms
        if time_ms is None or len(time_ms) == 0:
            return
        earliest, latest = int(time_ms.min()), int(time_ms.max())
        self.start_ms = earliest if self.start_ms is None else min(earliest, self.start_ms)
        self.end_ms = latest if self.end_ms is None else max(latest, self.end_ms)


class _ContentDigest:
    """SHA-256 over what was read, whatever blocks it came in."""

    def __init__(self) -> None:
        self._entity = hashlib.sha256()
        self._time = hashlib.sha256()
        self._features = hashlib.sha256()

    def update(self, chunk: Chunk) -> None:
        self._entity.update(chunk.entity.astype("<i4").tobytes())
        self._features.update(chunk.features.astype("<f4").tobytes())
        if chunk.event_time_ms is not None:
            self._time.update(chunk.event_time_ms.astype("<i8").tobytes())

    def hexdigest(self, names: Sequence[str]) -> str:
        whole = hashlib.sha256("\0".join(names).encode())
        for column in (self._entity, self._time, self._features):
            whole.update(column.digest())
        return whole.hexdigest()


def _chunk(batch: pa.RecordBatch, columns: Columns, entities: dict[str, int], *, table: str, first_row: int) -> Chunk:
    def at(row: int) -> str:
        return f"{table}, row {first_row + row}"

    time_ms = None
    if columns.timestamp is not None:
        try:
            time_ms = milliseconds(batch.column(columns.timestamp), columns.timestamp_unit)
        except UnreadableTimeError as error:
            raise DataError(
                f"{at(error.place)}: {columns.timestamp}: {error} "
                f"(read as {columns.timestamp_unit}; see --timestamp-unit)."
            ) from error
    return Chunk(
        table=table,
        first_row=first_row,
        entity=_entity_places(batch, columns.entity, entities, at),
        event_time_ms=time_ms,
        features=_feature_matrix(batch, columns, at),
    )


def _entity_places(
    batch: pa.RecordBatch, name: str | None, entities: dict[str, int], at: Callable[[int], str]
) -> NDArray[np.int32]:
    if name is None:
        entities.setdefault("", 0)
        return np.zeros(batch.num_rows, dtype=np.int32)
    column = batch.column(name)
    if not (
        pa.types.is_integer(column.type) or pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    ):
        raise UsageError(f"--entity {name}: it holds {column.type}; an entity is text or a whole number.")
    encoded = pc.cast(column, pa.string()).dictionary_encode(null_encoding="encode")
    names = encoded.dictionary.to_pylist()
    for missing in (None, ""):
        if missing in names:
            row = pc.index(encoded.indices, pa.scalar(names.index(missing), encoded.indices.type)).as_py()
            raise DataError(f"{at(row)}: the entity ({name}) is missing.")
    places = np.array([entities.setdefault(entity, len(entities)) for entity in names], dtype=np.int32)
    return np.asarray(places[encoded.indices.to_numpy(zero_copy_only=False)])


def _feature_matrix(batch: pa.RecordBatch, columns: Columns, at: Callable[[int], str]) -> NDArray[np.float32]:
    """(n, F). The worker refuses a number beyond float32, so one must not be learnt from either."""
    matrix = np.empty((batch.num_rows, len(columns.features)), dtype=np.float32)
    for place, name in enumerate(columns.features):
        column = batch.column(name)
        if not (is_number(column.type) or pa.types.is_null(column.type)):
            option = "--log-ids" if name == columns.ids else "--features"
            raise UsageError(
                f"{option} {name}: it holds {column.type}, not numbers, and numbers are what a worker reads."
            )
        values = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):  # looked for in the next line
            matrix[:, place] = values
        endless = np.isinf(matrix[:, place])
        if endless.any():
            row = int(endless.argmax())
            raise DataError(f"{at(row)}: {name} holds {values[row]:g}, which is not finite as float32.")
        if name == columns.ids:
            _require_ids(values, name, at)
    matrix[np.isnan(matrix)] = np.nan  # one bit pattern for all of them, so that the digest sees only content
    return matrix


def _require_ids(values: NDArray[np.float64], name: str, at: Callable[[int], str]) -> None:
    """Raises DataError at the first value that is no template number."""
    wrong = (values < 0) | (values >= _ENDLESS_ID) | (values != np.floor(values)) & ~np.isnan(values)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"{at(row)}: {name} holds {values[row]:.10g}; a template is a whole number below 16,777,216.")


def _rank(entity: NDArray[np.int32]) -> NDArray[np.int64]:
    """(n,) how many rows of the same entity stand above each row."""
    order = np.argsort(entity, kind="stable")
    place = np.arange(len(order))
    first = np.r_[True, np.diff(entity[order]) != 0] if len(order) else np.zeros(0, dtype=np.bool_)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    return rank


def _kept_rows(chunk: Chunk, position: NDArray[np.int64], *, stride: int, window: int) -> Sample:
    """Every `stride`-th row of an entity is scored, first at a place of its own; it and W - 1 rows above it stay."""
    to_next_scored = -(position + chunk.entity.astype(np.int64) * 0x9E3779B1) % stride
    keep = to_next_scored < window
    return Sample(
        entity=chunk.entity[keep],
        position=position[keep],
        event_time_ms=None if chunk.event_time_ms is None else chunk.event_time_ms[keep],
        features=chunk.features[keep],
        scored=to_next_scored[keep] == 0,
        rows_of_entity=np.zeros(0, dtype=np.int64),
    )


def _joined(kept: Sequence[Sample], rows_of_entity: NDArray[np.int64]) -> Sample:
    times = [part.event_time_ms for part in kept if part.event_time_ms is not None]
    return Sample(
        entity=np.concatenate([part.entity for part in kept]),
        position=np.concatenate([part.position for part in kept]),
        event_time_ms=np.concatenate(times) if times else None,
        features=np.concatenate([part.features for part in kept]),
        scored=np.concatenate([part.scored for part in kept]),
        rows_of_entity=rows_of_entity,
    )
