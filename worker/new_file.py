"""A file that appears under its name only once it is whole: an interrupted command leaves nothing half-written."""

import contextlib
import gzip
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, cast

from worker.errors import ConfigError


def refuse_overwriting(outputs: Iterable[Path], read: Mapping[str, Path | None]) -> None:
    """Raise ConfigError where a file that is read would be replaced, by whatever path or link it is named.

    Args:
        outputs: what the command is going to write.
        read: what it reads, by what it is for the user ("the model"); None where there is none.
    """
    for output in outputs:
        for what, path in read.items():
            if path is not None and _are_one(output, path):
                raise ConfigError(f"--output: {output} would overwrite {what}, {path}: give another name.")


def _are_one(path: Path, other: Path) -> bool:
    try:
        return path.resolve() == other.resolve() or path.samefile(other)
    except (OSError, RuntimeError, ValueError):  # one of them is not there, a ring of links, or no name of a file
        return False


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Another name to write to, beside `path`: renamed to it on success, removed on failure. Raises ConfigError."""
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}; create it, or give another name.")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: give the name of a file in it.")
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
