"""A CSV, Parquet or NDJSON file in, event values out: what a topic would hold, a chunk at a time.

A line of NDJSON is an event as it stands. A row of a table becomes a JSON object of its columns, numbers in the very
digits that the file has. It knows no model and no settings, and never holds more than a chunk of the file.
"""

import contextlib
import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from worker import parquet_rows
from worker.csv_rows import Cells, RowFormat, is_number
from worker.errors import ConfigError, WorkerError

TABLES = (".csv", ".csv.gz", ".parquet")
_CHUNK_BYTES = 32 << 20
LINES = (".ndjson", ".ndjson.gz", ".jsonl", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of a file."""

    first_row: int
    values: list[bytes]
    read: float
    """The share of the file that has been read once this chunk was."""


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
        return Columns(names=names, texts=frozenset(name for name, cell in first if not is_number(cell)))


def read_values(path: Path, *, chunk_rows: int, max_bytes: int, cells: Cells) -> Iterator[Chunk]:
    """The file's events in order. A line longer than twice `max_bytes` is cut there. Raises ConfigError."""
    suffix = suffix_of(path)
    if suffix in LINES:
        return _read_lines(path, chunk_rows=chunk_rows, max_bytes=max_bytes)
    if suffix == ".parquet":
        return _read_parquet(path, chunk_rows=chunk_rows)
    return _read_csv(path, chunk_rows=chunk_rows, cells=cells)


# --- the three kinds


def _read_lines(path: Path, *, chunk_rows: int, max_bytes: int) -> Iterator[Chunk]:
    with _opened(path) as source:
        yield from _numbered(_bounded(_lines(source.content, 2 * max_bytes), chunk_rows), source)


def _bounded(lines: Iterator[bytes], chunk_rows: int) -> Iterator[list[bytes]]:
    """Chunks of so many lines, or of fewer where they are long."""
    chunk, size = list[bytes](), 0
    for line in lines:
        chunk.append(line)
        size += len(line)
        if len(chunk) == chunk_rows or size > _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _lines(file: IO[bytes], longest: int) -> Iterator[bytes]:
    for line in iter(partial(file.readline, longest + 1), b""):
        if line.endswith(b"\n"):
            yield line[:-1]
            continue
        yield line[:longest]
        if len(line) > longest:
            _skip_line(file, longest)


def _skip_line(file: IO[bytes], limit: int) -> None:
    for rest in iter(partial(file.readline, limit), b""):
        if rest.endswith(b"\n"):
            return


def _read_csv(path: Path, *, chunk_rows: int, cells: Cells) -> Iterator[Chunk]:
    with _opened(path) as source:
        reader = _csv_reader(source)
        rows = RowFormat(next(reader, []), cells)
        try:
            yield from _numbered(map(rows.render, iter(lambda: list(islice(reader, chunk_rows)), [])), source)
        except csv.Error as error:
            raise WorkerError(f"{path}: it cannot be read as CSV ({error})") from error


def _csv_reader(source: "_Source") -> Iterator[list[str]]:
    text = io.TextIOWrapper(source.content, "utf-8-sig", errors="surrogateescape", newline="")
    header = text.readline()
    text.seek(0)
    if not header.strip():
        raise ConfigError(f"{source.path}: its first line is empty, where it must name the columns")
    return csv.reader(text, delimiter=max(",;\t", key=header.count))


def _read_parquet(path: Path, *, chunk_rows: int) -> Iterator[Chunk]:
    file = _parquet_file(path)
    total = max(1, file.metadata.num_rows)
    first_row = 0
    for batch in file.iter_batches(batch_size=chunk_rows):
        values = parquet_rows.render(batch)
        yield Chunk(first_row, values, read=(first_row + len(values)) / total)
        first_row += len(values)


def _parquet_file(path: Path) -> Any:  # noqa: ANN401  pyarrow is optional and ships no types
    parquet = parquet_rows.pyarrow_module("pyarrow.parquet", path)
    _require(path)
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise ConfigError(f"{path}: it cannot be read as Parquet ({error})") from error


def _parquet_columns(schema: Any) -> Columns:  # noqa: ANN401  a pyarrow.Schema
    kinds = {field.name: str(field.type) for field in schema}
    return Columns(
        names=tuple(kinds),
        times=frozenset(name for name, kind in kinds.items() if parquet_rows.is_time(kind)),
        texts=frozenset(name for name, kind in kinds.items() if kind.endswith("string")),
    )


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


def _numbered(chunks: Iterator[list[bytes]], source: _Source) -> Iterator[Chunk]:
    first_row = 0
    for values in chunks:
        yield Chunk(first_row, values, read=source.share_read())
        first_row += len(values)
