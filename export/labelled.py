"""Files of rows with a column of labels in, the rows of every entity in order out, with their labels apart."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from export.columns import is_number
from export.dataset import Chunk, Dataset, Survey
from export.errors import DataError, UsageError
from export.windows import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRows:
    """All rows, sorted by entity and position."""

    sample: Sample
    label: NDArray[np.bool_]  # (n,) rows of incidents
    entities: tuple[str, ...]  # ("",) where all rows are of one

    def slices(self) -> list[slice]:
        """The rows of each entity."""
        ends = np.cumsum(self.sample.rows_of_entity).tolist()
        return [slice(end - rows, end) for end, rows in zip(ends, self.sample.rows_of_entity.tolist(), strict=True)]


def read_labelled(dataset: Dataset, on_rows: Callable[[int, int | None], None]) -> LabelledRows:
    """Every row, in memory; the last of the dataset's features is the label.

    Raises:
        UsageError: the column of labels holds no numbers.
        DataError: a label is neither 0 nor 1, or what `Dataset` refuses; with file, row and column.
    """
    label = dataset.columns.features[-1]
    _require_numbers(dataset, label)
    survey = dataset.survey(lambda rows: on_rows(rows, None))
    entities: dict[str, int] = {}
    chunks = []
    rows = 0
    for chunk in dataset.chunks(entities):
        _require_labels(chunk, label)
        chunks.append(chunk)
        rows += len(chunk.entity)
        on_rows(rows, survey.rows)
    return _joined(chunks, survey)


def with_label(columns: tuple[str, ...], label: str) -> tuple[str, ...]:
    """The columns to read as numbers, the label last. Raises UsageError where it is a feature."""
    if label in columns:
        raise UsageError(
            f"--label {label}: the model reads this column as a feature; labels stand in one of their own."
        )
    return (*columns, label)


def _require_numbers(dataset: Dataset, label: str) -> None:
    for table in dataset.tables:
        kind = table.schema.field(label).type
        if not (is_number(kind) or pa.types.is_null(kind) or pa.types.is_string(kind)):
            raise UsageError(f"--label {label}: in {table.name} it holds {kind}; labels are the numbers 0 and 1.")


def _require_labels(chunk: Chunk, name: str) -> None:
    value = chunk.features[:, -1]
    wrong = (value != 0) & (value != 1)  # a missing one is neither
    if wrong.any():
        row = int(wrong.argmax())
        held = "is missing" if np.isnan(value[row]) else f"holds {value[row]:g}"
        raise DataError(f"{chunk.where(row)}: {name} {held}; a label is 0 (normal) or 1 (anomalous).")


def _joined(chunks: list[Chunk], survey: Survey) -> LabelledRows:
    entity = np.concatenate([chunk.entity for chunk in chunks])
    order = np.argsort(entity, kind="stable")
    values = np.concatenate([chunk.features for chunk in chunks])[order]
    times = [chunk.event_time_ms for chunk in chunks if chunk.event_time_ms is not None]
    starts = np.cumsum(survey.rows_of_entity) - survey.rows_of_entity
    sample = Sample(
        entity=entity[order],
        position=np.arange(len(order)) - np.repeat(starts, survey.rows_of_entity),
        event_time_ms=np.concatenate(times)[order] if times else None,
        features=np.ascontiguousarray(values[:, :-1]),
        scored=np.ones(len(order), dtype=np.bool_),
        rows_of_entity=survey.rows_of_entity,
    )
    return LabelledRows(sample=sample, label=values[:, -1] == 1, entities=survey.entities)
