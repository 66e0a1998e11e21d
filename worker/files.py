"""A CSV, Parquet or NDJSON file in, event values out: what a topic would hold, a chunk at a time.

A line of NDJSON is an event as it stands. A row of a table becomes a JSON object of its columns, numbers in the very
digits that the file has. It knows no model and no settings, and never holds more than a chunk of the file.
"""

import contextlib
import csv
import gzip
import importlib
import io
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import IO, Any, cast

import msgspec

from worker.errors import ConfigError, WorkerError

TABLES = (".csv", ".csv.gz", ".parquet")
LINES = (".ndjson", ".ndjson.gz", ".jsonl", ".jsonl.gz")

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_NOT_A_VALUE = frozenset({"", "nan", "na", "n/a", "null", "none"})
_BEYOND_FLOAT = "1e999"  # what JSON can say of an infinity: the decoder refuses it as not finite

Token = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of a file."""

    first_row: int
    values: list[bytes]
    read: float
    """The share of the file that has been read once this chunk was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Columns of a CSV file whose cells are not to be guessed at.

    Any other cell is a number, true or false where it reads as JSON, nothing where it is empty or NaN, else a text.
    """

    text: frozenset[str] = frozenset()  # 007 is the entity "007"
    number: frozenset[str] = frozenset()  # 007 is the number 7


def suffix_of(path: Path) -> str:
    """The known suffix of the file's name. Raises ConfigError where it has none."""
    name = path.name.lower()
    for suffix in (*TABLES, *LINES):
        if name.endswith(suffix):
            return suffix
    raise ConfigError(f"{path}: its name must end in one of {', '.join((*TABLES, *LINES))}")


def stem_of(path: Path) -> str:
    """The file's name without folder and suffix."""
    return path.name[: -len(suffix_of(path))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of a table."""

    names: tuple[str, ...]
    times: frozenset[str] = frozenset()
    """Those of Parquet's own time types, which are read as milliseconds."""
    texts: frozenset[str] = frozenset()
    """Those whose first value is no number."""


def columns_of(path: Path) -> Columns | None:
    """The columns of a table; None where each line is an event of its own shape. Raises ConfigError."""
    suffix = suffix_of(path)
    if suffix in LINES:
        _require(path)
        return None
    if suffix == ".parquet":
        return _parquet_columns(_parquet_file(path).schema_arrow)
    with _opened(path) as source:
        reader = _csv_reader(source)
        names = tuple(next(reader))
        first = zip(names, next(reader, []), strict=False)
        return Columns(names=names, texts=frozenset(name for name, cell in first if not _JSON_NUMBER.fullmatch(cell)))


def read_values(path: Path, *, chunk_rows: int, max_bytes: int, cells: Cells) -> Iterator[Chunk]:
    """The file's events in order. A line longer than `max_bytes` is cut one byte above it. Raises ConfigError."""
    suffix = suffix_of(path)
    if suffix in LINES:
        return _read_lines(path, chunk_rows=chunk_rows, max_bytes=max_bytes)
    if suffix == ".parquet":
        return _read_parquet(path, chunk_rows=chunk_rows)
    return _read_csv(path, chunk_rows=chunk_rows, cells=cells)


def pyarrow_module(name: str, path: Path) -> ModuleType:
    """A module of pyarrow, which is not in the base install. Raises ConfigError that says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{path}: Parquet needs pyarrow: pip install 'anomaly-worker[files]', or give a .csv.gz file instead"
        ) from error


# --- lines


def _read_lines(path: Path, *, chunk_rows: int, max_bytes: int) -> Iterator[Chunk]:
    with _opened(path) as source:
        yield from _chunks(_lines(source.content, max_bytes), source, chunk_rows=chunk_rows)


def _lines(file: IO[bytes], max_bytes: int) -> Iterator[bytes]:
    limit = max_bytes + 2  # one byte too many shows that a line is too large, and there is its end
    for line in iter(partial(file.readline, limit), b""):
        if line.endswith(b"\n"):
            yield line[:-1]
            continue
        yield line[: max_bytes + 1]
        if len(line) == limit:
            _skip_line(file, limit)


def _skip_line(file: IO[bytes], limit: int) -> None:
    for rest in iter(partial(file.readline, limit), b""):
        if rest.endswith(b"\n"):
            return


# --- CSV


def _read_csv(path: Path, *, chunk_rows: int, cells: Cells) -> Iterator[Chunk]:
    with _opened(path) as source:
        reader = _csv_reader(source)
        columns = next(reader, [])
        yield from _chunks(_csv_values(path, reader, columns, cells), source, chunk_rows=chunk_rows)


def _csv_reader(source: "_Source") -> Iterator[list[str]]:
    text = io.TextIOWrapper(source.content, "utf-8-sig", errors="surrogateescape", newline="")
    header = text.readline()
    text.seek(0)
    if not header.strip():
        raise ConfigError(f"{source.path}: its first line is empty, where it must name the columns")
    return csv.reader(text, delimiter=max(",;\t", key=header.count))


def _csv_values(path: Path, reader: Iterator[list[str]], columns: Sequence[str], cells: Cells) -> Iterator[bytes]:
    fields = [(_quoted(column) + ":", _token_of(column, cells)) for column in columns]
    try:
        for row in reader:
            yield _csv_value(row, fields).encode(errors="surrogateescape")
    except csv.Error as error:
        raise WorkerError(f"{path}: it cannot be read as CSV ({error})") from error


def _csv_value(row: list[str], fields: list[tuple[str, Token]]) -> str:
    """A JSON object; a row with more cells than columns is an array, which is no event: the decoder refuses it."""
    if len(row) > len(fields):
        return "[" + ",".join(map(_quoted, row)) + "]"
    return "{" + ",".join([name + token(cell) for (name, token), cell in zip(fields, row, strict=False)]) + "}"


def _token_of(column: str, cells: Cells) -> Token:
    if column in cells.text:
        return _text_token
    return _number_token if column in cells.number else _plain_token


def _text_token(cell: str) -> str:
    return _quoted(cell) if cell else "null"


def _number_token(cell: str) -> str:
    """The cell's own digits where JSON allows them; else the number it spells; else a text, to be refused."""
    if _JSON_NUMBER.fullmatch(cell):
        return cell
    if cell.strip().lower() in _NOT_A_VALUE:
        return "null"
    try:
        number = float(cell)
    except ValueError:
        return _quoted(cell)
    return repr(number) if math.isfinite(number) else _BEYOND_FLOAT


def _plain_token(cell: str) -> str:
    if _JSON_NUMBER.fullmatch(cell):
        return cell
    lowered = cell.lower()
    if lowered in _NOT_A_VALUE:
        return "null"
    return lowered if lowered in {"true", "false"} else _quoted(cell)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # bytes that are not UTF-8 pass through, for the decoder to refuse


# --- Parquet


def _parquet_file(path: Path) -> Any:  # noqa: ANN401  pyarrow is optional and ships no types
    parquet = pyarrow_module("pyarrow.parquet", path)
    _require(path)
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise ConfigError(f"{path}: it cannot be read as Parquet ({error})") from error


def _parquet_columns(schema: Any) -> Columns:  # noqa: ANN401  a pyarrow.Schema
    kinds = {field.name: str(field.type) for field in schema}
    return Columns(
        names=tuple(kinds),
        times=frozenset(name for name, kind in kinds.items() if kind.startswith(_TIMES)),
        texts=frozenset(name for name, kind in kinds.items() if kind.endswith("string")),
    )


def _read_parquet(path: Path, *, chunk_rows: int) -> Iterator[Chunk]:
    file = _parquet_file(path)
    total = max(1, file.metadata.num_rows)
    first_row = 0
    for batch in file.iter_batches(batch_size=chunk_rows):
        values = _parquet_values(batch)
        yield Chunk(first_row, values, read=(first_row + len(values)) / total)
        first_row += len(values)


def _parquet_values(batch: Any) -> list[bytes]:  # noqa: ANN401  a pyarrow.RecordBatch
    """Each row as a JSON object, rendered column by column."""
    columns = [
        [(_quoted(name) + ":").encode() + token for token in _column_tokens(column)]
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return [b"{" + b",".join(row) + b"}" for row in zip(*columns, strict=True)]


def _column_tokens(column: Any) -> list[bytes]:  # noqa: ANN401  a pyarrow.Array
    encode = msgspec.json.Encoder().encode
    kind = str(column.type)
    if kind.startswith(_TIMES):
        column = column.cast("timestamp[ms]", safe=False).cast("int64")
    elif kind.startswith("decimal"):
        column = column.cast("float64")
    values = column.to_pylist()
    if kind in {"float", "double", "halffloat"}:
        return [_BEYOND_FLOAT.encode() if value in _INFINITIES else encode(value) for value in values]
    return [encode(value) for value in values]


_TIMES = ("timestamp", "date")
_INFINITIES = (math.inf, -math.inf)  # NaN and null both become null: a missing value

# --- files


@dataclass(frozen=True, slots=True)
class _Source:
    path: Path
    raw: IO[bytes]
    content: IO[bytes]  # the same, unpacked where it was packed
    size: int

    def share_read(self) -> float:
        return self.raw.tell() / max(1, self.size)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    _require(path)
    with path.open("rb") as raw:
        content = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if path.suffix.lower() == ".gz" else raw
        try:
            yield _Source(path, raw, content, path.stat().st_size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise WorkerError(f"{path}: it is not a whole gzip file ({error})") from error


def _require(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")


def _chunks(values: Iterator[bytes], source: _Source, *, chunk_rows: int) -> Iterator[Chunk]:
    first_row, chunk = 0, list[bytes]()
    for value in values:
        chunk.append(value)
        if len(chunk) == chunk_rows:
            yield Chunk(first_row, chunk, read=source.share_read())
            first_row, chunk = first_row + len(chunk), []
    if chunk:
        yield Chunk(first_row, chunk, read=1.0)
