"""Rows of text, compiled and in Python: the same texts, the same refusals."""

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.broker import CHECKOUT
from worker import rows as module
from worker.decimals import shortest
from worker.rows import Column, joined, joined_in_python, longest, longest_in_python

Joined = Callable[[tuple[Column, ...], int], list[bytes]]

both = pytest.mark.parametrize("joined", [joined, joined_in_python], ids=["compiled", "in Python"])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


@st.composite
def tables(draw: st.DrawFn) -> tuple[tuple[Column, ...], int]:
    rows = draw(st.integers(0, 20) | st.just(1_100))

    def a_row(of: st.SearchStrategy[object]) -> st.SearchStrategy[list[object]]:
        return st.lists(of, min_size=rows, max_size=rows) if rows <= 20 else of.map(lambda cell: [cell] * rows)

    choices = draw(st.lists(texts, min_size=1, max_size=5))
    column = st.one_of(
        texts,
        a_row(texts),
        a_row(st.integers(-(2**63), 2**63 - 1)).map(lambda cells: np.array(cells, np.int64)),
        a_row(st.integers(0, 2**64 - 1)).map(lambda cells: np.array(cells, np.uint64)),
        a_row(st.integers(0, len(choices) - 1)).map(lambda cells: (choices, np.array(cells, np.int64))),
    )
    return tuple(draw(st.lists(column, min_size=1, max_size=6))), rows


def cell(column: Column, row: int) -> str:
    match column:
        case str():
            return column
        case list():
            return column[row]
        case (choices, index):
            return choices[index[row]]
    return f"{column[row]:016x}" if column.dtype == np.uint64 else str(column[row])


@both
@given(table=tables())
def test_a_row_is_its_cells_one_after_another(joined: Joined, table: tuple[tuple[Column, ...], int]) -> None:
    columns, rows = table
    texts = [text.decode() for text in joined(columns, rows)]
    assert texts == ["".join(cell(column, row) for column in columns) for row in range(rows)]


@both
@given(
    st.lists(
        st.floats()
        | st.floats(width=32).map(lambda number: float(str(np.float32(number))))
        | st.integers(0, 10**9).map(lambda number: number / 10**7)
    )
)
def test_a_float_is_a_json_number_that_reads_back_as_the_same(joined: Joined, floats: list[float]) -> None:
    for text, number in zip(joined((np.array(floats, np.float64),), len(floats)), floats, strict=True):
        read = json.loads(text)
        if np.isfinite(number):
            assert isinstance(read, float)
            assert (read, np.signbit(read)) == (number, np.signbit(number))
        else:
            assert read is None


@both
@given(st.lists(st.floats(width=32) | st.integers(-45, 38).map(lambda power: float(np.float32(f"1e{power}")))))
def test_a_float32_is_written_in_the_shortest_decimals(joined: Joined, floats: list[float]) -> None:
    column = np.array(floats, np.float32)
    assert joined((column,), len(column)) == joined((shortest(column),), len(column))


@both
@pytest.mark.parametrize("rows", [1, 3, 600])
@pytest.mark.parametrize(
    "column", [["a", "b"], np.zeros(2, np.int64), np.zeros(2, np.uint64), (["a"], np.zeros(2, int))]
)
def test_a_column_of_another_length_is_refused(joined: Joined, column: Column, rows: int) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer|rows"):
        joined(("x", column), rows)


@both
def test_a_choice_that_is_not_there_is_refused(joined: Joined) -> None:
    with pytest.raises(IndexError):
        joined(((["a", "b"], np.array([0, 2])),), 2)


@pytest.mark.parametrize(
    "column",
    [
        [1, 2],
        [b"a", b"b"],
        ("a", np.zeros(2, np.int64)),
        (["a"], np.zeros(2, np.uint64)),
        (["a"], [0, 0]),
        np.zeros(2, np.int32),
        np.zeros(2, np.float16),
        np.zeros(2, np.bool_),
        (["a"], np.zeros(2)),
        np.zeros((2, 1), np.int64),
        np.zeros((1, 2), np.int64),
        None,
        7,
    ],
    ids=repr,
)
def test_what_is_no_column_is_refused_by_the_compiled_part(column: Column) -> None:
    with pytest.raises(TypeError):
        joined(("x", column), 2)


def test_an_array_with_gaps_is_refused_by_the_compiled_part() -> None:
    with pytest.raises((ValueError, BufferError)):
        joined((np.zeros(4, np.int64)[::2],), 2)


def test_texts_that_are_not_unicode_are_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        joined((["\ud800"],), 1)


def test_nothing_is_kept() -> None:
    numbers = np.arange(3)
    before = sys.getrefcount(numbers)
    for _ in range(100):
        joined((numbers, ["a", "b", "c"]), 3)
        with pytest.raises(TypeError):
            joined((numbers, ["a", 1, "c"]), 3)
    assert sys.getrefcount(numbers) == before


@pytest.mark.parametrize("longest", [longest, longest_in_python], ids=["compiled", "in Python"])
def test_the_longest_is_found(longest: Callable[[list[bytes] | list[str]], int]) -> None:
    assert [longest([]), longest([b"", b"abc", b"de"]), longest(["ä" * 300, "b"])] == [0, 3, 300]
    with pytest.raises(TypeError):
        longest([b"a", None])


def test_the_compiled_part_is_in_use_wherever_it_can_be_built() -> None:
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if shutil.which("cc") and headers.exists():
        assert joined is not joined_in_python


def test_without_the_compiled_part_the_other_is_used() -> None:
    program = "import sys; sys.modules['worker._rows'] = None; import worker.rows as r; print(r.joined.__name__)"
    found = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == module.joined_in_python.__name__
