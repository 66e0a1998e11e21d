"""Two plain detectors in numpy, to hold the trained one against: z-scores, and PCA on the same windows.

They get what it gets: the same training rows, the same windows, the same held-back end of them to calibrate on, the
same alarm rate and the same kind of threshold (an exponential tail). No labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from worker.batch import Float32

Float64 = NDArray[np.float64]

CLIP = 20.0
"""Standard deviations; a metric that left its training range by more says no more by it."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A baseline's scores of each server's test rows, in units of its threshold: above 1 is an alarm."""

    name: str
    score: Mapping[str, Float64]  # server -> (n,), NaN in front where the first window is not full


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the trained detector was told, for the baselines to be told the same."""

    window: int
    bottleneck: int
    alarm_rate: float
    held_back: float  # share of each server's training rows, at their end, that only calibrates
    tail_share: float  # of the held-back scores, that the exponential tail is fitted to


@dataclass(frozen=True, slots=True)
class Scale:
    """Training mean and standard deviation of each metric, all servers together."""

    mean: Float64  # (feature,)
    deviation: Float64  # (feature,)

    @classmethod
    def of(cls, rows: Float32) -> "Scale":
        """With a floor, so that a metric that never moved does not divide by nothing."""
        values = rows.astype(np.float64)
        floor = 0.05 * np.maximum(1.0, np.abs(values).max(axis=0))
        return cls(values.mean(axis=0), np.maximum(values.std(axis=0), floor))

    def __call__(self, rows: Float32) -> Float64:
        """(n, feature) in standard deviations."""
        return np.clip((rows - self.mean) / self.deviation, -CLIP, CLIP)


def z_score(train: Mapping[str, Float32], test: Mapping[str, Float32], setting: Setting) -> Calibrated:
    """The mean square of an event's distances from the training means, in standard deviations; knows no time."""
    scale = Scale.of(np.concatenate([_fitted(rows, setting) for rows in train.values()]))
    return _calibrated("z-score", lambda rows: np.square(scale(rows)).mean(axis=1), train, test, setting)


def pca(train: Mapping[str, Float32], test: Mapping[str, Float32], setting: Setting) -> Calibrated:
    """What as many principal components as the bottleneck has leave of a window: the autoencoder's linear sibling."""
    scale = Scale.of(np.concatenate([_fitted(rows, setting) for rows in train.values()]))
    windows = np.concatenate([_windows(scale(_fitted(rows, setting)), setting.window) for rows in train.values()])
    centre = windows.mean(axis=0)
    windows -= centre
    _, axes = np.linalg.eigh((windows.T @ windows).astype(np.float64))
    components = axes[:, -setting.bottleneck :].astype(
        np.float32
    )  # (window * feature, component): eigh sorts ascending

    def residual(rows: Float32) -> Float64:
        centred = _windows(scale(rows), setting.window) - centre
        left = centred - (centred @ components) @ components.T
        filling = np.full(setting.window - 1, np.nan)
        return np.concatenate([filling, np.square(left).mean(axis=1)])

    return _calibrated("PCA", residual, train, test, setting)


def tail_threshold(scores: Float64, *, alarm_rate: float, tail_share: float) -> float:
    """The score that data like these exceed at the alarm rate, by an exponential tail over the highest of them."""
    tail_start = float(np.quantile(scores, 1.0 - tail_share))
    excess = scores[scores > tail_start] - tail_start
    tail_scale = float(excess.mean()) if len(excess) else 0.0
    return tail_start + tail_scale * float(np.log(tail_share / alarm_rate))


def _calibrated(
    name: str,
    detector: Callable[[Float32], Float64],
    train: Mapping[str, Float32],
    test: Mapping[str, Float32],
    setting: Setting,
) -> Calibrated:
    held_back = np.concatenate([detector(_held_back(rows, setting)) for rows in train.values()])
    threshold = tail_threshold(
        held_back[np.isfinite(held_back)], alarm_rate=setting.alarm_rate, tail_share=setting.tail_share
    )
    return Calibrated(name, {server: detector(rows) / threshold for server, rows in test.items()})


def _windows(rows: Float64, window: int) -> Float32:
    """(n - window + 1, window * feature), in the precision of the data: there are many."""
    return (
        sliding_window_view(rows.astype(np.float32), window, axis=0).swapaxes(1, 2).reshape(len(rows) - window + 1, -1)
    )


def _fitted(rows: Float32, setting: Setting) -> Float32:
    return rows[: len(rows) - round(len(rows) * setting.held_back)]


def _held_back(rows: Float32, setting: Setting) -> Float32:
    return rows[len(rows) - round(len(rows) * setting.held_back) :]
