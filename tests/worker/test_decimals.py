"""The decimals that float32 numbers are written as."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.decimals import shortest

float32s = st.one_of(st.floats(width=32), st.floats(0, 2, width=32), st.floats(0, 9_999, width=32))


def test_what_was_written_short_comes_out_short() -> None:
    written = [1.83, 0.1, 41.2, 97.0, 3.2e-6, 123456.0, -0.25, 1e-30, 3.4e38, 1e10, 0.0]
    assert shortest(np.array(written, dtype=np.float32)).tolist() == written


def test_what_is_not_finite_stays_what_it_is() -> None:
    assert repr(shortest(np.array([np.nan, np.inf, -np.inf], dtype=np.float32)).tolist()) == "[nan, inf, -inf]"


def test_the_shape_is_kept() -> None:
    assert shortest(np.full((2, 3, 4), 1e-20, dtype=np.float32)).shape == (2, 3, 4)
    assert shortest(np.empty((0, 3), dtype=np.float32)).shape == (0, 3)


@given(st.lists(float32s, min_size=1))
def test_what_was_written_reads_back_as_it_was_and_is_the_shortest(drawn: list[float]) -> None:
    numbers = np.array(drawn, dtype=np.float32)
    written = shortest(numbers)
    np.testing.assert_array_equal(written.astype(np.float32), numbers)
    for number, found in zip(numbers, written.tolist(), strict=True):
        assert len(_digits(found)) <= max(6, len(_digits(float(str(number)))))


def _digits(number: float) -> str:
    return f"{number:.17g}" if not np.isfinite(number) else repr(number).split("e")[0].strip("-0.").replace(".", "")
