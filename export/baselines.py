"""Windows in, the scores of two plain detectors out, which every model must beat: PCA and prototypes. Knows no files.

Both see the flattened window as z-scores, a missing value as the mean, and learn without labels. They are written in
numpy, so that a model can be judged where no torch is installed, and are deliberately plain: no rule here was chosen by
how well it finds anomalies.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.windows import Windows

FEWEST_WINDOWS = 50
"""To learn from; fewer make no baseline."""

_MOST_WINDOWS = 20_000
_MOST_VALUES = 1 << 25  # of them together: 128 MiB of float32
_EXACT_INPUTS = 2048  # up to so many the matrix of second moments is decomposed, beyond as many windows themselves
_AT_ONCE_VALUES = 1 << 22
_CLIP = 20.0  # a feature that left its training range by more says no more by it
_FLOOR = 0.05  # of the largest value, and of 1: a feature that never moved does not divide by nothing
_SMALLEST_MOMENT = 1e-6  # of a squared z-score: a direction without movement is not infinitely far away
_PROTOTYPES = 512
_WINDOWS_A_PROTOTYPE = 4
_ROUNDS = 10

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Flat = Callable[[Float32], Float64]
"""z-scores of flattened windows (n, W * F) become scores (n,), high = anomalous."""


@dataclass(frozen=True, slots=True)
class Baselines:
    """The plain detectors by name, fitted."""

    _z_scores: "_ZScores"
    _detectors: Mapping[str, Flat]

    def score(self, windows: Windows, on_rows: Callable[[int, int | None], None]) -> dict[str, Float64]:
        """(n,) of every window, by name."""
        scores = {name: np.empty(len(windows)) for name in self._detectors}
        for places in _pieces(windows):
            flat = self._z_scores(windows.take(places))
            for name, detector in self._detectors.items():
                scores[name][places] = detector(flat)
            on_rows(int(places[-1]) + 1, len(windows))
        return scores


def fit_baselines(training: Windows, training_rows: Float32) -> Baselines | None:
    """Fits both; None where there are too few windows to learn from. The same windows give the same baselines.

    Args:
        training: What is mostly normal; of very many an even part is used.
        training_rows: (r, F) rows to take each feature's mean and deviation from.
    """
    if len(training) < FEWEST_WINDOWS:
        return None
    z_scores = _ZScores.of(training_rows)
    inputs = training.window * training_rows.shape[1]
    some = training.spread(min(_MOST_WINDOWS, max(FEWEST_WINDOWS, _MOST_VALUES // inputs)))
    flat = np.concatenate([z_scores(some.take(places)) for places in _pieces(some)])
    return Baselines(
        z_scores,
        {"PCA": _PrincipalComponents.of(flat, features=training_rows.shape[1]), "prototypes": _Prototypes.of(flat)},
    )


@dataclass(frozen=True, slots=True)
class _ZScores:
    mean: Float32  # (F,)
    deviation: Float32  # (F,)

    @classmethod
    def of(cls, rows: Float32) -> "_ZScores":
        seen = ~np.isnan(rows)
        values = np.where(seen, rows, 0.0).astype(np.float64)
        count = np.maximum(seen.sum(axis=0), 1)
        mean = values.sum(axis=0) / count
        variance = (np.square(values - mean) * seen).sum(axis=0) / count
        floor = _FLOOR * np.maximum(1.0, np.abs(values).max(axis=0))
        deviation = np.where(seen.any(axis=0), np.maximum(np.sqrt(variance), floor), np.inf)  # of none nothing is far
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    def __call__(self, windows: Float32) -> Float32:
        """(n, W, F) in input units -> (n, W * F)."""
        z = np.clip((windows - self.mean) / self.deviation, -_CLIP, _CLIP)
        return np.where(np.isnan(z), np.float32(0), z).reshape(len(z), -1)


@dataclass(frozen=True, slots=True)
class _PrincipalComponents:
    """The squared error left by the leading directions, and the squared distance along them, each in its usual size.

    Q and T^2 of Jackson and Mudholkar, Technometrics 21(3), 1979.
    """

    directions: Float32  # (W * F, k)
    per_moment: Float32  # (k,)
    usual_error: float

    @classmethod
    def of(cls, flat: Float32, *, features: int) -> "_PrincipalComponents":
        inputs = flat.shape[1]
        components = min(max(inputs // 16, features // 2, 1), inputs - 1)  # none of a single input: its z-score is left
        directions, moments = _leading(flat, components)
        plain = cls(directions, (1 / np.maximum(moments, _SMALLEST_MOMENT)).astype(np.float32), usual_error=1.0)
        usual = float(plain.error(flat).mean())
        return cls(directions, plain.per_moment, usual_error=max(usual, _SMALLEST_MOMENT))

    def error(self, flat: Float32) -> Float64:
        left = flat - (flat @ self.directions) @ self.directions.T
        return np.asarray(np.square(left).mean(axis=1, dtype=np.float64))

    def __call__(self, flat: Float32) -> Float64:
        along = np.square(flat @ self.directions) @ self.per_moment / max(1, len(self.per_moment))
        return np.asarray(self.error(flat) / self.usual_error + along)


def _leading(flat: Float32, components: int) -> tuple[Float32, Float32]:
    """Directions (inputs, k) about the origin, which is the mean, and their second moments (k,)."""
    inputs = flat.shape[1]
    if inputs > _EXACT_INPUTS:
        some = flat[np.linspace(0, len(flat) - 1, min(len(flat), _EXACT_INPUTS)).astype(np.int64)]
        _, lengths, directions = np.linalg.svd(some, full_matrices=False)
        return directions[:components].T, np.square(lengths[:components]) / len(some)
    moments, directions = np.linalg.eigh((flat.T @ flat).astype(np.float64) / len(flat))
    leading = slice(inputs - components, None)  # eigh sorts ascending
    return directions[:, leading].astype(np.float32), moments[leading].astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Prototypes:
    """The distance to the nearest of some typical windows, the means of Lloyd's algorithm (k-means)."""

    centres: Float32  # (k, W * F)

    @classmethod
    def of(cls, flat: Float32) -> "_Prototypes":
        count = min(_PROTOTYPES, len(flat) // _WINDOWS_A_PROTOTYPE)
        first = np.random.default_rng(0).choice(len(flat), count, replace=False)
        prototypes = cls(flat[first])
        for _ in range(_ROUNDS):
            prototypes = prototypes.moved(flat)
        return prototypes

    def moved(self, flat: Float32) -> "_Prototypes":
        """Each to the middle of the windows that are nearest to it; one without any stays."""
        nearest = np.concatenate([part.argmin(axis=1) for part in self._squared_distances(flat)])
        order = np.argsort(nearest, kind="stable")
        taken, begin, count = np.unique(nearest[order], return_index=True, return_counts=True)
        centres = self.centres.copy()
        centres[taken] = np.add.reduceat(flat[order], begin, axis=0) / count[:, None]
        return _Prototypes(centres)

    def __call__(self, flat: Float32) -> Float64:
        squared = np.concatenate([part.min(axis=1) for part in self._squared_distances(flat)])
        return np.asarray(np.sqrt(np.maximum(squared, 0.0)), dtype=np.float64)

    def _squared_distances(self, flat: Float32) -> Iterator[Float32]:
        """(n, k), some rows at a time, so that n * k stays small."""
        lengths = np.square(self.centres).sum(axis=1)
        for part in np.array_split(flat, -(-len(flat) * len(self.centres) // _AT_ONCE_VALUES)):
            yield np.square(part).sum(axis=1)[:, None] - 2 * part @ self.centres.T + lengths


def _pieces(windows: Windows) -> list[NDArray[np.int64]]:
    """Places of windows, as many at a time as fit in some megabytes."""
    values = len(windows) * windows.window * windows.rows.shape[1]
    return np.array_split(np.arange(len(windows)), max(1, -(-values // _AT_ONCE_VALUES)))
