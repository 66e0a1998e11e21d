"""One CSV or Parquet file in, batches of its columns out. Knows neither what the columns mean nor other files.

A file is read in blocks, so its size does not matter. CSV may be compressed (.gz, .bz2, .zst); its first line holds the
column names.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from export.errors import DataError, UsageError

_CSV_ENDINGS = (".csv", ".csv.gz", ".csv.bz2", ".csv.zst")
_PARQUET_ENDINGS = (".parquet", ".pq")
# Large enough to be quick, small enough that a block of strings stays a few dozen megabytes.
_CSV_BLOCK_BYTES = 4 << 20
_PARQUET_BATCH_ROWS = 65_536


class TableFile(Protocol):
    """A file of rows with named columns."""

    name: str
    schema: pa.Schema
    """Columns and their types, in CSV as the first block suggests."""

    def batches(self, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        """The named columns in blocks of rows, in the file's order.

        Args:
            types: What a CSV column is read as; a Parquet column comes as it is stored.

        Raises:
            DataError: a value is not of its type, or the file is broken.
        """
        ...


class CsvFile:
    """A CSV file with a line of column names."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self.schema = self._open(pyarrow.csv.ConvertOptions()).schema
        try:
            _ = self.schema.names
        except UnicodeDecodeError as error:
            raise DataError(f"{self.name}: its column names are not UTF-8.") from error

    def batches(self, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        """See TableFile."""
        try:
            yield from self._open(pyarrow.csv.ConvertOptions(column_types=types, include_columns=list(types)))
        except pa.ArrowInvalid as error:
            raise DataError(self._fault(types) or f"{self.name}: {_first_line(error)}.") from error

    def _open(self, convert: pyarrow.csv.ConvertOptions) -> pyarrow.csv.CSVStreamingReader:
        try:
            return pyarrow.csv.open_csv(
                self._path,
                read_options=pyarrow.csv.ReadOptions(block_size=_CSV_BLOCK_BYTES),
                parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
                convert_options=convert,
            )
        except pa.ArrowInvalid as error:
            raise DataError(self._fault(convert.column_types) or f"{self.name}: {_first_line(error)}.") from error
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.name} cannot be read: {_first_line(error)}.") from error

    def _fault(self, types: Mapping[str, pa.DataType]) -> str | None:
        """The first row of another length, or value that is not of its type, as a sentence; None for other faults.

        Arrow names no row, so the file is read again by one thread, with every value left as its bytes.
        """
        uneven: list[pyarrow.csv.InvalidRow] = []

        def take_note(row: pyarrow.csv.InvalidRow) -> str:
            uneven.append(row)
            return "error"

        text = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(types, pa.binary()), include_columns=list(types), strings_can_be_null=True
        )
        rows_before = 0
        try:
            for batch in pyarrow.csv.open_csv(
                self._path,
                read_options=pyarrow.csv.ReadOptions(use_threads=False),
                parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=take_note),
                convert_options=text,
            ):
                for name, wanted in types.items():
                    place = first_unreadable(batch.column(name), wanted)
                    if place is not None:
                        where = f"{self.name}, row {rows_before + place + 1}"
                        return f"{where}: {name} holds {_complaint(batch.column(name)[place].as_py())}."
                rows_before += batch.num_rows
        except pa.ArrowInvalid:
            if uneven:
                row = uneven[0]
                where = f"{self.name}, row {row.number - 1}"  # the line of names is the first
                return f"{where}: {row.actual_columns} columns where {row.expected_columns} are named."
        return None


class ParquetFile:
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self._file = pyarrow.parquet.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.name} is not a readable Parquet file: {_first_line(error)}.") from error
        self.schema = self._file.schema_arrow

    def batches(self, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        """See TableFile."""
        try:
            yield from self._file.iter_batches(batch_size=_PARQUET_BATCH_ROWS, columns=list(types))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.name} is damaged: {_first_line(error)}.") from error


def open_table(path: Path, *, option: str = "--data") -> TableFile:
    """The file, opened by its ending; `option` is what a sentence says it was named by.

    Raises:
        UsageError: it is missing, or of another kind.
        DataError: it is broken.
    """
    if not path.is_file():
        raise UsageError(f"{option} {path}: there is no such file.")
    name = path.name.lower()
    if name.endswith(_CSV_ENDINGS):
        return CsvFile(path)
    if name.endswith(_PARQUET_ENDINGS):
        return ParquetFile(path)
    raise UsageError(f"{option} {path}: its name must end in {', '.join(_CSV_ENDINGS + _PARQUET_ENDINGS)}.")


def _complaint(value: bytes) -> str:
    """A value that could not be read, and why."""
    try:
        return f"{value.decode()[:40]!r}, which is not a number"
    except UnicodeDecodeError:
        return f"{value[:40]!r}, which is not UTF-8: save the file as UTF-8"


def first_unreadable(texts: pa.Array, wanted: pa.DataType) -> int | None:
    """The place of the first text, or bytes of one, that does not read as `wanted`; None where all do."""
    if _reads(texts, wanted):
        return None
    low, high = 0, len(texts)
    while high - low > 1:  # bisection: the first half is unreadable, or else the second is
        middle = (low + high) // 2
        low, high = (middle, high) if _reads(texts.slice(low, middle - low), wanted) else (low, middle)
    return low


def _reads(texts: pa.Array, wanted: pa.DataType) -> bool:
    try:
        pc.cast(pc.utf8_trim_whitespace(pc.cast(texts, pa.string())), wanted)
    except pa.ArrowInvalid:
        return False
    return True


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
