"""Columns in, one JSON fragment a row out: what a record is put together from, a column at a time."""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from worker.batch import Float32, Int64
from worker.decimals import shortest


def json_text(value: object) -> str:
    """One value as JSON."""
    return msgspec.json.encode(value).decode()


def numbers(column: Int64 | NDArray[np.float64]) -> list[str]:
    """Of a flat column; null for what is not finite."""
    return json_text(column.tolist())[1:-1].split(",") if len(column) else []


def float32s(column: Float32) -> list[str]:
    """Of a flat column, in the fewest digits; null for what is not finite."""
    return numbers(shortest(column))


def escaped(texts: Sequence[str]) -> list[str]:
    """What stands between the quotes."""
    together = json_text(texts)
    if "\\" in together:  # an escaped quote could look like the end of a text
        return [json_text(text)[1:-1] for text in texts]
    return together[2:-2].split('","') if texts else []


def hexadecimals(column: NDArray[np.uint64]) -> list[str]:
    """16 digits each."""
    return column.astype(">u8").tobytes().hex(",", 8).split(",") if len(column) else []


class Fragments(dict[int, str]):
    """Renders each number once: for columns of few different numbers."""

    def __init__(self, render: Callable[[int], str]) -> None:
        super().__init__()
        self._render = render

    def __missing__(self, number: int) -> str:
        self[number] = fragment = self._render(number)
        return fragment

    def of(self, column: Int64) -> list[str]:
        """One for each number."""
        return list(map(self.__getitem__, column.tolist()))
