"""A file that appears under its name only once it is whole: an interrupted command leaves nothing half-written."""

import contextlib
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from worker.errors import ConfigError


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Another name to write to, beside `path`: renamed to it on success, removed on failure. Raises ConfigError."""
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}")
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """The file to write to, packed where its name ends in .gz; the same content gives the same bytes."""
    with unfinished(path) as partial, partial.open("wb") as raw:
        if path.suffix.lower() != ".gz":
            yield raw
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed:
            yield cast("IO[bytes]", packed)
