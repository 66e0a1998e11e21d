"""Batches of Parquet columns in, JSON objects out. It is the one place that knows pyarrow's types."""

import importlib
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from worker.errors import ConfigError

_TIMES = ("timestamp", "date")
_PLAIN = ("int", "uint", "float", "double", "halffloat", "bool")  # their JSON holds no comma
_INFINITE = b"1e999"  # what JSON can say of an infinity: the decoder refuses it as not finite


def pyarrow_module(name: str, path: Path) -> ModuleType:
    """A module of pyarrow, which is not in the base install. Raises ConfigError that says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{path}: Parquet needs pyarrow: pip install 'anomaly-worker[files]', or give a .csv.gz file instead"
        ) from error


def is_time(kind: str) -> bool:
    """Whether a column of that type holds times, which are read as milliseconds since 1970."""
    return kind.startswith(_TIMES)


def render(batch: Any) -> list[bytes]:  # noqa: ANN401  a pyarrow.RecordBatch; pyarrow is optional and ships no types
    """Each row as a JSON object. NaN and null are null."""
    names = [msgspec.json.encode(name).replace(b"%", b"%%") for name in batch.schema.names]
    row_format = b"{" + b",".join(name + b":%b" for name in names) + b"}"
    return [row_format % row for row in zip(*map(_tokens, batch.columns), strict=True)]


def _tokens(column: Any) -> list[bytes]:  # noqa: ANN401  a pyarrow.Array
    kind = str(column.type)
    if is_time(kind):
        return _numbers(column.cast("timestamp[ms]", safe=False).cast("int64"))
    if kind.startswith("decimal"):
        return _numbers(column.cast("float64"))
    if kind.startswith(_PLAIN):
        return _numbers(column)
    return list(map(msgspec.json.Encoder().encode, column.to_pylist()))


def _numbers(column: Any) -> list[bytes]:  # noqa: ANN401  a pyarrow.Array
    """One call for the whole column: four times as fast as one a value."""
    values = column.to_pylist()
    tokens = msgspec.json.encode(values)[1:-1].split(b",")
    for place, value in enumerate(values):
        if value in (math.inf, -math.inf):
            tokens[place] = _INFINITE
    return tokens
