"""Columns in, a CSV or Parquet file out, a batch at a time; the file appears under its name only when it is whole.

It knows no Kafka and no events: a table is columns with a name and a kind.
"""

import contextlib
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, TypeAlias, cast

import numpy as np

from worker.batch import Float32, Int64
from worker.errors import ConfigError
from worker.files import TABLES
from worker.new_file import new_file, unfinished
from worker.parquet_rows import pyarrow_module

Kind: TypeAlias = Literal["text", "int64", "float32"]
Column: TypeAlias = Sequence[str] | Int64 | Float32

_PARQUET = ".parquet"
_ROW_GROUP = 100_000
"""Rows that Parquet compresses together: enough to compress well, few enough to hold in memory."""


class Table(Protocol):
    """An open table."""

    def write(self, columns: Mapping[str, Column]) -> None:
        """Append rows; `columns` has every column, all of the same length. NaN is written as nothing."""


@contextlib.contextmanager
def new_table(path: Path, kinds: Mapping[str, Kind]) -> Iterator[Table]:
    """A table to write to. Raises ConfigError as `refuse_unwritable` does."""
    refuse_unwritable(path)
    if path.name.lower().endswith(_PARQUET):
        with unfinished(path) as partial, _parquet_table(partial, kinds) as parquet_table:
            yield parquet_table
    else:
        with new_file(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
            yield _CsvTable(text, kinds)


def refuse_unwritable(path: Path) -> None:
    """Raise ConfigError where the suffix is unknown, the folder is missing, or Parquet is asked for without pyarrow."""
    name = path.name.lower()
    if not name.endswith(TABLES):
        raise ConfigError(f"{path}: its name must end in one of {', '.join(TABLES)}")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}")
    if name.endswith(_PARQUET):
        pyarrow_module("pyarrow", path)


class _CsvTable:
    def __init__(self, file: TextIO, kinds: Mapping[str, Kind]) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._kinds = kinds
        self._writer.writerow(kinds)

    def write(self, columns: Mapping[str, Column]) -> None:
        self._writer.writerows(zip(*(_cells(columns[name], kind) for name, kind in self._kinds.items()), strict=True))


def _cells(column: Column, kind: Kind) -> Sequence[object]:
    if kind == "text":
        return cast("Sequence[str]", column)
    values = np.asarray(column)
    if kind == "int64":
        return cast("list[object]", values.tolist())
    shortest = values.astype("U32")  # the fewest digits that give the same float32 again
    return cast("list[object]", np.where(np.isnan(values), "", shortest).tolist())


@contextlib.contextmanager
def _parquet_table(path: Path, kinds: Mapping[str, Kind]) -> Iterator["_ParquetTable"]:
    arrow, parquet = pyarrow_module("pyarrow", path), pyarrow_module("pyarrow.parquet", path)
    types = {"text": arrow.string(), "int64": arrow.int64(), "float32": arrow.float32()}
    schema = arrow.schema([(name, types[kind]) for name, kind in kinds.items()])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        table = _ParquetTable(writer, schema, arrow)
        yield table
        table.flush()


class _ParquetTable:
    def __init__(self, writer: Any, schema: Any, arrow: Any) -> None:  # noqa: ANN401  pyarrow ships no types
        self._writer, self._schema, self._arrow = writer, schema, arrow
        self._batches: list[Any] = []
        self._rows = 0

    def write(self, columns: Mapping[str, Column]) -> None:
        arrays = [self._arrow.array(columns[field.name], field.type, from_pandas=True) for field in self._schema]
        batch = self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema)
        self._batches.append(batch)
        self._rows += batch.num_rows
        if self._rows >= _ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered as one row group."""
        if self._batches:
            self._writer.write_table(self._arrow.Table.from_batches(self._batches))
        self._batches, self._rows = [], 0
