"""One graph on one provider: columns of any number of rows go in, columns come out.

Knows neither the runtime nor what the columns mean: it cuts, pads, retries, and puts together.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from itertools import pairwise
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from worker.batch import Float32
from worker.errors import InferenceError

Column: TypeAlias = NDArray[np.float32] | NDArray[np.int64]


class SessionError(Exception):
    """The provider failed on a call; the text is its own message as one clause."""


class Session(Protocol):
    """A graph, ready to run."""

    def run(self, columns: Mapping[str, Column]) -> Sequence[Float32]:
        """Every output of the graph, in its order. Raises SessionError."""

    def give_up(self) -> None:
        """From another thread: the call under way and all later ones raise SessionError."""


class Network:
    """One graph on one provider.

    Every call is padded to one of `sessions`' row numbers. On a GPU each has a session whose shapes are fixed; on a CPU
    they are multiples of what a vector instruction takes, so that a row is computed by the same instructions wherever
    it stands in a batch: its outputs do not depend on its neighbours to the last bit.

    `at_once`, if there is one, computes any number of calls of the largest size as one.
    """

    def __init__(
        self,
        sessions: Mapping[int, Session],
        *,
        inputs: frozenset[str],
        outputs: Sequence[str],
        provider: str,
        at_once: Session | None = None,
        side_by_side: Executor | None = None,
    ) -> None:
        self.inputs = inputs
        self.outputs = tuple(outputs)
        self.sizes = tuple(sorted(sessions))
        self._sessions = sessions
        self._provider = provider
        self._at_once = at_once
        self._map = map if side_by_side is None else side_by_side.map

    def compute(self, columns: Mapping[str, Column]) -> dict[str, Float32]:
        """The outputs for columns of (rows, ...), of which there is at least one row; those not read are ignored.

        Raises InferenceError where the provider fails on a single row: what fails on several is tried in halves.
        """
        taken = {name: column for name, column in columns.items() if name in self.inputs}
        rows = len(next(iter(taken.values())))
        parts = self._largest_at_once(taken, rows)
        done = sum(len(part[0]) for part in parts)
        edges = pairwise([*range(done, rows, self.sizes[-1]), rows])
        parts += self._map(lambda edge: self._persistently(taken, *edge), edges)
        return dict(zip(self.outputs, _joined(parts), strict=True))

    def give_up(self) -> None:
        """From another thread: what is being computed raises InferenceError soon, and so does all that comes after."""
        for session in self._sessions.values():
            session.give_up()
        if self._at_once is not None:
            self._at_once.give_up()

    def _largest_at_once(self, columns: Mapping[str, Column], rows: int) -> list[Sequence[Float32]]:
        """All calls of the largest size; nothing where there are not several, or they fail: then each is tried."""
        largest = rows - rows % self.sizes[-1]
        if self._at_once is None or largest == self.sizes[-1] or not largest:
            return []
        try:
            return [self._at_once.run({name: column[:largest] for name, column in columns.items()})]
        except SessionError:
            return []

    def _persistently(self, columns: Mapping[str, Column], start: int, stop: int) -> Sequence[Float32]:
        try:
            return self._run({name: column[start:stop] for name, column in columns.items()}, stop - start)
        except SessionError as error:
            if stop - start == 1:
                raise InferenceError(f"the {self._provider} provider failed on a single window: {error}") from error
        middle = (start + stop) // 2
        return _joined([self._persistently(columns, start, middle), self._persistently(columns, middle, stop)])

    def _run(self, columns: Mapping[str, Column], rows: int) -> Sequence[Float32]:
        size = self.sizes[bisect_left(self.sizes, rows)]
        if size == rows:
            return self._sessions[size].run(columns)
        padded = {name: _padded(column, size) for name, column in columns.items()}
        return [output[:rows] for output in self._sessions[size].run(padded)]


def _padded(column: Column, size: int) -> Column:
    padded = np.zeros((size, *column.shape[1:]), dtype=column.dtype)
    padded[: len(column)] = column
    return padded


def _joined(parts: Sequence[Sequence[Float32]]) -> Sequence[Float32]:
    """The parts' rows one after another, output by output."""
    return parts[0] if len(parts) == 1 else [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
