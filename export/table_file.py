"""One CSV or Parquet file in, batches of its columns out. Knows neither what the columns mean nor other files.

A file is read in blocks, so its size does not matter. CSV may be compressed (.gz, .bz2, .zst); its first line holds the
column names.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
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
# What Arrow says of a row of another length when one thread reads; the line of names is row 1.
_UNEVEN = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # tabs and line ends are text


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
            names = self.schema.names
        except UnicodeDecodeError as error:
            raise DataError(f"{self.name}: its column names are not UTF-8.") from error
        if any(map(_CONTROL.search, names)):
            raise DataError(f"{self.name}: its column names hold control characters: is it a file of text?")

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

        Arrow names no row while several threads read, so the file is read again by one, with every value left as its
        bytes. No `invalid_row_handler` is given: a thread of Arrow's own would call it and let go of it, and a process
        that ends while such a thread waits for Python is aborted.
        """
        text = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(types, pa.binary()), include_columns=list(types), strings_can_be_null=True
        )
        rows_before = 0
        try:
            for batch in pyarrow.csv.open_csv(
                self._path,
                read_options=pyarrow.csv.ReadOptions(use_threads=False),
                parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
                convert_options=text,
            ):
                for name, wanted in types.items():
                    place = first_unreadable(batch.column(name), wanted)
                    if place is not None:
                        where = f"{self.name}, row {rows_before + place + 1}"
                        return f"{where}: {name} holds {_complaint(batch.column(name)[place].as_py())}."
                rows_before += batch.num_rows
        except pa.ArrowInvalid as error:
            uneven = _UNEVEN.search(str(error))
            return uneven and self._uneven_in_words(*map(int, uneven.groups()))
        return None

    def _uneven_in_words(self, row: int, named: int, found: int) -> str:
        """Why a row has another number of columns than there are names: in what is no text, commas mean nothing."""
        with io.BufferedReader(pa.input_stream(self._path)) as lines:  # unpacks what is compressed
            names = lines.readline(_CSV_BLOCK_BYTES)  # what is no text may have no line ends
            rest = iter(lambda: lines.readline(_CSV_BLOCK_BYTES), b"")
            for number, line in enumerate(chain([names], islice(rest, row - 1)), 1):
                if not _is_text(line):
                    return f"{self.name}, line {number} is not UTF-8 text: is it a CSV file? Save it as CSV in UTF-8."
        hint = separator_hint([names.decode()]) if named == 1 else ""
        return f"{self.name}, row {row - 1}: {found} columns where {named} are named{hint}."


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
    if path.is_dir():
        raise UsageError(f"{option} {path}: it is a folder; name the files in it.")
    if not path.is_file():
        raise UsageError(f"{option} {path}: there is no such file.")
    name = path.name.lower()
    if name.endswith(_CSV_ENDINGS):
        return CsvFile(path)
    if name.endswith(_PARQUET_ENDINGS):
        return ParquetFile(path)
    raise UsageError(f"{option} {path}: its name must end in {', '.join(_CSV_ENDINGS + _PARQUET_ENDINGS)}.")


def separator_hint(names: Sequence[str]) -> str:
    """What to add to a sentence where the only name looks like several; else nothing."""
    if len(names) > 1:
        return ""
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if any(separator in name for name in names):
            return f"; its columns seem to be separated by {word}: separate them by commas"
    return ""


def _is_text(line: bytes) -> bool:
    try:
        return not _CONTROL.search(line.decode())
    except UnicodeDecodeError:
        return False


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
    """What the library says, which may quote the file: a control character must not reach the terminal."""
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", line).rstrip(".")
