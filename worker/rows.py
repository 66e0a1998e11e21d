"""Columns of cells in, the text of each row out: what a record is put together from becomes one text at once.

Compiled (`_rows.c`) where a C compiler was at hand when the project was installed; else the same in Python (a few
numbers in another notation: 0.00008 for 8e-05), which makes an object of each cell on the way and takes twice as long.
"""

from collections.abc import Iterable
from itertools import repeat
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from worker.batch import Float32, Int64
from worker.fragments import float32s, hexadecimals, numbers

Column: TypeAlias = (
    str | list[str] | tuple[list[str], Int64] | Int64 | NDArray[np.float64] | Float32 | NDArray[np.uint64]
)
"""The same text in each row; a text a row; of these texts the one with each row's number; a number a row: an int64, a
float64 or float32 (in digits that read back as the same; null where it is not finite), a uint64 (in 16 hexadecimal
digits)."""

_PART = 512  # rows at a time: the texts that they are put together from stay in a core's nearest cache


def joined_in_python(columns: tuple[Column, ...], rows: int, /) -> list[bytes]:
    """The text of each row in UTF-8, one cell after another. Raises ValueError where a column is shorter or longer."""
    texts: list[bytes] = []
    for start in range(0, max(rows, 1), _PART):
        part = slice(start, start + _PART if start + _PART < rows else None)
        cells = [_cells(column, part, min(_PART, rows - start)) for column in columns]
        texts.extend(map(str.encode, map("".join, zip(*cells, strict=True))))
    return texts


def _cells(column: Column, part: slice, rows: int) -> Iterable[str]:
    match column:
        case str():
            return repeat(column, rows)
        case list():
            return column[part]
        case (texts, index):
            return map(texts.__getitem__, index[part].tolist())
    if column.dtype == np.uint64:
        return hexadecimals(cast("NDArray[np.uint64]", column[part]))
    if column.dtype == np.float32:
        return float32s(cast("Float32", column[part]))
    return numbers(cast("Int64 | NDArray[np.float64]", column[part]))


def longest_in_python(texts: list[bytes] | list[str], /) -> int:
    """The length of the longest text, 0 where there is none."""
    return max(map(len, texts), default=0)


try:
    from worker import _rows
except ImportError:
    COMPILED = False
    joined, longest = joined_in_python, longest_in_python
else:
    COMPILED = True
    joined, longest = _rows.joined, _rows.longest
