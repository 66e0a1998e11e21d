"""Calls of the compiled part with whatever may come, for `test_rows_sanitized.py`: a fault in memory ends the process.

`python sanitized_rows.py FOLDER`: with the `_rows` that lies in this folder.
"""

import importlib
import random
import sys

import numpy as np

BAD = [
    (("x", [1, 2]), 2),
    (("x", (["a"], np.array([0, 5]))), 2),
    (("x", (["a"], np.array([-5, 0]))), 2),
    (("x", ["a"]), 2),
    ((None, "x"), 2),
    (("x", np.zeros(3)), 2),
    (("x", "\ud800"), 2),
    (("x", ["a", "\ud800"]), 2),
    (("x",), -1),
]


def main() -> None:
    """Every kind of column and of text, many times."""
    sys.path.insert(0, sys.argv[1])
    rows = importlib.import_module("_rows")
    for seed in range(300):
        _join(rows, np.random.default_rng(seed))
        _look(rows, random.Random(seed))
    for columns, count in BAD:
        try:
            rows.joined(columns, count)
        except (TypeError, ValueError, IndexError):
            continue
        raise AssertionError(columns)


def _join(rows, rng: np.random.Generator) -> None:  # noqa: ANN001 - a module
    count = int(rng.integers(0, 1_500))
    bits = rng.integers(0, 2**63, count)
    with np.errstate(invalid="ignore"):  # some of these bits are signalling NaNs
        single = bits.astype(np.uint32).view(np.float32)
        columns = (
            "constant",
            ["ä" * int(length) for length in rng.integers(0, 5, count)],
            (["a", "bb", ""], rng.integers(0, 3, count)),
            bits,
            bits.astype(np.uint64),
            bits.view(np.float64),
            single,
            rng.normal(size=count).round(3),
        )
    assert len(rows.joined(columns, count)) == count


def _look(rows, chance: random.Random) -> None:  # noqa: ANN001 - a module
    texts = [bytes(chance.choices(b'[]{}"a\xc3\xa9', k=chance.randrange(0, 1_200))) for _ in range(20)]
    rows.unusual([*texts, None], chance.randrange(1_300), chance.randrange(300))
    assert rows.longest(texts) == max(map(len, texts))


if __name__ == "__main__":
    main()
