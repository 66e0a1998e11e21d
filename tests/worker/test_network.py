"""Batches of any size through sessions that fail on demand."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.batch import Float32
from worker.errors import InferenceError
from worker.network import Column, Network, Session, SessionError


class FakeSession:
    """Doubles and negates the first column of its input, if there are rows enough and none that it cannot bear."""

    def __init__(self, calls: list[int], *, most_rows: int = 1 << 30, unbearable: float | None = None) -> None:
        self.calls = calls
        self.most_rows = most_rows
        self.unbearable = unbearable

    def run(self, columns: Mapping[str, Column]) -> Sequence[Float32]:
        x = columns["x"]
        self.calls.append(len(x))
        if np.count_nonzero(x) > self.most_rows:  # padding is zeros, the rows of these tests are not
            raise SessionError("out of memory")
        if self.unbearable in x:
            raise SessionError("a row that cannot be borne")
        return [x * 2, -x]


def network(sizes: Sequence[int], session: Session, **kwargs: object) -> Network:
    return Network(
        dict.fromkeys(sizes, session), inputs=frozenset({"x"}), outputs=("double", "minus"), provider="cpu", **kwargs
    )


def rows(count: int) -> dict[str, Column]:
    return {"x": np.arange(1, count + 1, dtype=np.float32), "not read": np.zeros(count, np.float32)}


@given(
    count=st.integers(1, 100),
    sizes=st.sets(st.integers(1, 40), min_size=1).map(sorted),
    most_rows=st.integers(1, 100),
)
def test_every_row_comes_back_in_its_place_however_calls_are_cut_or_fail(
    count: int, sizes: list[int], most_rows: int
) -> None:
    calls: list[int] = []
    outputs = network(sizes, FakeSession(calls, most_rows=most_rows)).compute(rows(count))
    expected = np.arange(1, count + 1, dtype=np.float32)
    np.testing.assert_array_equal(outputs["double"], 2 * expected)
    np.testing.assert_array_equal(outputs["minus"], -expected)
    assert set(calls) <= set(sizes)


def test_a_batch_is_cut_into_the_largest_calls_and_a_padded_rest() -> None:
    calls: list[int] = []
    network((16, 32, 64), FakeSession(calls)).compute(rows(64 + 64 + 20))
    assert calls == [64, 64, 32]


def test_each_number_of_rows_has_its_own_session() -> None:
    calls: dict[int, list[int]] = {4: [], 8: []}
    sessions = {size: FakeSession(seen) for size, seen in calls.items()}
    made = Network(sessions, inputs=frozenset({"x"}), outputs=("double", "minus"), provider="cuda")
    made.compute(rows(10))
    assert calls == {4: [4], 8: [8]}


def test_a_call_that_fails_is_tried_in_halves() -> None:
    calls: list[int] = []
    network((1, 2, 4, 8), FakeSession(calls, most_rows=2)).compute(rows(8))
    assert calls == [8, 4, 2, 2, 4, 2, 2]


def test_what_fails_on_a_single_row_is_an_inference_error_that_names_the_provider() -> None:
    calls: list[int] = []
    with pytest.raises(InferenceError) as caught:
        network((1, 2, 4, 8), FakeSession(calls, unbearable=3)).compute(rows(8))
    assert str(caught.value) == "the cpu provider failed on a single window: a row that cannot be borne"
    assert calls == [8, 4, 2, 2, 1]


def test_calls_side_by_side_come_back_in_order() -> None:
    with ThreadPoolExecutor(4) as pool:
        outputs = network((4,), FakeSession([]), side_by_side=pool).compute(rows(101))
    np.testing.assert_array_equal(outputs["double"], 2 * np.arange(1, 102))


def test_an_error_side_by_side_is_raised() -> None:
    with ThreadPoolExecutor(4) as pool, pytest.raises(InferenceError):
        network((4,), FakeSession([], unbearable=50), side_by_side=pool).compute(rows(101))


def test_calls_of_the_largest_size_are_made_at_once_where_there_are_several() -> None:
    calls: list[int] = []
    at_once: list[int] = []
    made = network((16, 64), FakeSession(calls), at_once=FakeSession(at_once))
    for count in (20, 64, 100, 128, 3 * 64 + 20):
        outputs = made.compute(rows(count))
        np.testing.assert_array_equal(outputs["double"], 2 * np.arange(1, count + 1))
    assert at_once == [128, 192]
    assert calls == [64, 64, 64, 64, 64]  # of 20, of 64, two of 100, of the last 20


def test_where_calls_at_once_fail_each_is_tried() -> None:
    calls: list[int] = []
    made = network((8,), FakeSession(calls), at_once=FakeSession([], most_rows=8))
    np.testing.assert_array_equal(made.compute(rows(24))["double"], 2 * np.arange(1, 25))
    assert calls == [8, 8, 8]
