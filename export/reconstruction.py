"""What all families that rebuild a window have in common: windows in, raw score, blame and what was expected out.

Whatever cannot be rebuilt is anomalous. Everything that an event goes through is in the module: imputation by the mean,
z-score, clipping, the network that rebuilds, error, blame.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.corruption import Corruption
from export.detector import OnEpoch, Round
from export.errors import DataError, UsageError
from export.learning import Lessons, learn
from export.windows import Windows

# Chosen on public machine data with one setting for all: see docs/training.md for what each was worth.
CLIP = 20.0
_SCALE_FLOOR = 0.05  # of the largest value: a nearly constant feature must not count thousandfold
_LEAST_SIZE = 1.0  # among several features; a small one is mostly one that stood still while it was looked at
_NOTHING = 1e-30  # what is no larger is 0: float32 could not divide by its scale
_WIDEST_SPAN = 4.0
"""Scales, from the lowest to the highest training value, where features are compared with each other over a window. A
command that is 0 but for one row in four hundred would be 20 deviations away in that row: by such rows it would drown
all features that move steadily, though it was never to be foreseen."""
ERROR_FLOOR = 1e-4  # of a squared z-score; what is rebuilt better than this is not told from perfect
_FAINT = 0.01
"""Of a usual squared error: smaller ones count hardly at all. Where a series stands still most windows are rebuilt but
for rounding, and by plain roots two runtimes that differ by 1e-10 would differ by 1e-5 in the raw score."""
_RECENT_SHARE = 1 / 8  # of the window: the newest rows, counted a second time
_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What a window looks like: its rows, and what is normal for each of its F features."""

    window: int
    mean: NDArray[np.float32]  # (F,)
    scale: NDArray[np.float32]  # (F,)
    alike: bool = False  # an error counts the same in all features

    def in_one_unit(self, *, channels: int) -> Self:
        """As pictures are seen: all pixels of a channel have one scale, and an error counts the same in all.

        In a unit of its own a pixel that never moved in training, as at a picture's edge, would drown all others.
        """
        variance = np.square(self.scale, dtype=np.float64).reshape(-1, channels).mean(axis=0)
        scale = np.tile(np.sqrt(variance).astype(np.float32), self.features // channels)
        return replace(self, scale=scale, alike=True)

    @property
    def features(self) -> int:
        """F."""
        return len(self.mean)

    @property
    def inputs(self) -> int:
        """W * F."""
        return self.window * self.features


class Rebuilt(NamedTuple):
    """Flattened windows on their way, all (batch, W * F)."""

    seen: Tensor  # bool: there is a value
    normal: Tensor  # z-scores
    rebuilt: Tensor  # z-scores


class ReconstructionModule(nn.Module):
    """Normalisation, a network that rebuilds, and its error as one graph.

    The raw score is the root of the mean squared error of all rows plus that of the newest eighth, each over the cells
    that hold a value, in units of the error that is usual for the feature; the root is level at 0.
    """

    # One value a feature, but repeated for every row: ONNX Runtime's CPU code broadcasts along a short last axis at an
    # eighth of its speed, and the whole graph took 1.8 times as long.
    mean: Tensor  # (W * F,)
    scale: Tensor  # (W * F,)
    per_scale: Tensor  # (W * F,) its inverse
    counted: Tensor  # (W * F, 2) which cells count for the whole and for the recent error
    weight: Tensor  # (W * F, 2) the same, over the squared z-score that is a usual error

    def __init__(self, network: nn.Module, frame: Frame, lessons: Lessons, *, alike: bool = False) -> None:
        super().__init__()
        self.window = frame.window
        self.features = frame.features
        self.network = network  # (batch, W * F) z-scores in, the same rebuilt out
        self.lessons = lessons
        self.alike = alike or frame.alike  # one usual error for all features
        self.corruption = Corruption(lessons.noise)
        self.register_buffer("mean", torch.from_numpy(np.tile(frame.mean, frame.window)))
        self.register_buffer("scale", torch.from_numpy(np.tile(frame.scale, frame.window)))
        self.register_buffer("per_scale", torch.from_numpy(np.tile(1 / frame.scale, frame.window)))
        self.register_buffer("counted", _counted(self.window, self.features))
        self.register_buffer("weight", _counted(self.window, self.features))

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, W, F) in input units -> raw score (batch,), blame and expected (batch, W, F)."""
        return self.judged(self.rebuilt(window))

    def rebuilt(self, window: Tensor) -> Rebuilt:
        """(batch, W, F) in input units, rebuilt from the cells that hold a value."""
        flat = window.flatten(1)
        seen = ~torch.isnan(flat)
        normal = self.normalised(flat, seen)
        return Rebuilt(seen, normal, self.rebuild(normal, seen))

    def rebuild(self, normal: Tensor, seen: Tensor) -> Tensor:
        """(batch, W * F) z-scores, 0 where nothing is seen, and what the network makes of them."""
        del seen  # families that compare windows need it
        rebuilt: Tensor = self.network(normal)
        return rebuilt

    def judged(self, windows: Rebuilt) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`."""
        squared, blame, expected = self.measured(windows)
        return level_root(squared), blame, expected

    def measured(self, windows: Rebuilt) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, before the root is taken: squared (batch,), blame and expected (batch, W, F)."""
        seen, normal, rebuilt = windows
        known = seen.to(normal.dtype)
        error = (rebuilt - normal) * known
        squared = error * error
        cells = (known @ self.counted).clamp(min=1.0)  # (batch, 2)
        whole = ((squared @ self.weight) / cells).sum(dim=1)
        blame = squared * ((1 / cells) @ self.weight.T)
        expected = rebuilt * self.scale + self.mean
        return whole, blame.reshape(-1, self.window, self.features), expected.reshape(-1, self.window, self.features)

    def normalised(self, flat: Tensor, seen: Tensor) -> Tensor:
        """(batch, W * F) z-scores within the clip; 0, the mean, where nothing is seen."""
        return torch.where(seen, torch.clamp((flat - self.mean) * self.per_scale, -CLIP, CLIP), 0.0)

    def teach(self, training: Windows, validation: Windows, on_epoch: OnEpoch) -> tuple[Round, ...]:
        """Finds the weights, by the shared loop unless a family has a better way; returns the curve."""
        return learn(
            self,
            training,
            validation,
            loss=self.loss,
            held_back_error=self.held_back_error,
            lessons=self.lessons,
            on_epoch=on_epoch,
        )

    def loss(self, window: Tensor, chance: torch.Generator) -> Tensor:
        """() mean squared error over the cells that the network was shown, some having been hidden from it."""
        flat = window.flatten(1)
        shown = ~torch.isnan(flat) & self.corruption.shown(window.shape, chance).flatten(1)
        normal = self.normalised(flat, shown)
        squared: Tensor = (self.rebuild(self.corruption.noisy(normal, chance), shown) - normal) ** 2 * shown
        return squared.sum() / shown.sum().clamp(min=1)

    @torch.no_grad()
    def held_back_error(self, windows: Windows) -> float:
        """Mean squared error of windows as they are; where noise is to be removed, with noise, always the same."""
        if not self.corruption.noise:
            return mean_error(self, windows)
        chance = torch.Generator().manual_seed(0)
        losses = [float(self.loss(batch, chance)) * len(batch) for batch in batches(windows)]
        return sum(losses) / len(windows)

    def accustom(self, windows: Windows) -> None:
        """From now on the squared error that is usual in these windows counts as 1, feature by feature unless alike."""
        usual = usual_error(self, windows)
        self.weigh(usual.mean().expand(self.features) if self.alike else usual)

    def weigh(self, usual: Tensor) -> None:
        """From now on a squared z-score error (F,) of this size counts as 1."""
        self.weight.copy_(self.counted / usual.repeat(self.window)[:, None])


def level_root(squared: Tensor) -> Tensor:
    """The root of a squared error >= 0 in its usual size, but 0 and as good as level where there is hardly any."""
    return torch.sqrt(squared + _FAINT) - sqrt(_FAINT)


def batches(windows: Windows) -> Iterator[Tensor]:
    """(batch, W, F) all of them, some at a time."""
    for places in np.array_split(np.arange(len(windows)), -(-len(windows) // _AT_ONCE)):
        yield torch.from_numpy(windows.take(places))


def bottleneck_size(inputs: int, features: int, asked: int | None) -> int:
    """To how many numbers a window of so many inputs is compressed.

    Unless told otherwise to a sixteenth of the inputs, though half as many as there are features, rounded to a power of
    2. Raises UsageError where that would be no bottleneck.
    """
    if inputs < 2:
        raise UsageError("one feature in a window of one row leaves nothing to compress; give --window 2 or more.")
    bottleneck = asked or min(power_of_two(max(inputs / 16, features / 2, 2)), inputs // 2)
    if bottleneck >= inputs:
        raise UsageError(f"--bottleneck {bottleneck} is no bottleneck for {inputs} inputs (window * features).")
    return bottleneck


def power_of_two(size: float) -> int:
    """The nearest one."""
    return int(2 ** round(np.log2(size)))


def normalisation(
    rows: NDArray[np.float32], features: Sequence[str], *, window: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(F,) mean and (F,) scale of the training rows (r, F). Raises DataError for a feature without any value.

    The scale is the standard deviation with a floor; in windows of several features none spans more than
    `_WIDEST_SPAN` scales. What lies beyond the clip does not widen it: one absurd value must not hide all others.
    """
    known = np.count_nonzero(~np.isnan(rows), axis=0)
    for name, count in zip(features, known, strict=True):
        if count == 0:
            raise DataError(f"feature {name!r} has no value in the training rows; leave it out with --features.")
    return mean_and_scale(rows, window=window)


def mean_and_scale(
    rows: NDArray[np.float32], *, window: int, sizes: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """As `normalisation`, of features that all have a value, and how large each is taken to get, (F,)."""
    values = rows.astype(np.float64)
    floor = _SCALE_FLOOR * (feature_sizes(values) if sizes is None else sizes)
    mean, scale = np.nanmean(values, axis=0), np.maximum(np.nanstd(values, axis=0), floor)
    if window > 1 and values.shape[1] > 1:
        z_scores = np.clip((values - mean) / scale, -CLIP, CLIP)
        span = np.nanmax(z_scores, axis=0) - np.nanmin(z_scores, axis=0)
        scale = scale * np.maximum(1.0, span / _WIDEST_SPAN)
    return np.asarray(mean, np.float32), np.asarray(scale, np.float32)


def feature_sizes(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """(F,) how large each feature gets in rows (r, F); > 0. Of a feature alone the unit does not matter."""
    own = np.nanmax(np.abs(values), axis=0)
    return np.where(own > _NOTHING, own, _LEAST_SIZE) if len(own) == 1 else np.maximum(own, _LEAST_SIZE)


def small_features(rows: NDArray[np.float32], features: Sequence[str]) -> tuple[str, ...]:
    """A remark for each feature whose unit makes its movements vanish under the floor of the scale."""
    if len(features) == 1:
        return ()
    deviation = np.nanstd(rows, axis=0, dtype=np.float64)
    small = (deviation > 0) & (deviation < _SCALE_FLOOR / 10) & (np.nanmax(np.abs(rows), axis=0) < _LEAST_SIZE)
    return tuple(
        f"{name} moves by only {moves:.2g}: in a smaller unit it would count for more."
        for name, moves, is_small in zip(features, deviation, small, strict=True)
        if is_small
    )


@torch.no_grad()
def _squared_errors(module: ReconstructionModule, windows: Windows) -> tuple[Tensor, Tensor]:
    """(F,) the sum of squared errors and (F,) the number of cells with a value."""
    shape = (-1, module.features)
    total, cells = torch.zeros(module.features, dtype=torch.float64), torch.zeros(module.features, dtype=torch.float64)
    for window in batches(windows):
        seen, normal, rebuilt = module.rebuilt(window)
        squared = (rebuilt - normal) ** 2 * seen
        total += squared.reshape(shape).sum(dim=0, dtype=torch.float64)
        cells += seen.reshape(shape).sum(dim=0)
    return total, cells


def mean_error(module: ReconstructionModule, windows: Windows) -> float:
    """Mean squared error in units of the normalised values: 1 is what answering with the mean would give."""
    total, cells = _squared_errors(module, windows)
    return float(total.sum() / cells.sum().clamp(min=1))


@torch.no_grad()
def denoising_error(module: ReconstructionModule, windows: Windows, *, noise: float) -> float:
    """As `mean_error`, of windows from which a noise of this largest deviation is to be removed, always the same."""
    chance = torch.Generator().manual_seed(0)
    total, cells = 0.0, 0
    for window in batches(windows):
        flat = window.flatten(1)
        seen = ~torch.isnan(flat)
        normal = module.normalised(flat, seen)
        rebuilt = module.rebuild(Corruption(noise).noisy(normal, chance) * seen, seen)
        total += float(((rebuilt - normal) ** 2 * seen).sum())
        cells += int(seen.sum())
    return total / max(cells, 1)


def usual_error(module: ReconstructionModule, windows: Windows) -> Tensor:
    """(F,) the mean squared error of each feature; 1 where none was seen."""
    total, cells = _squared_errors(module, windows)
    usual = torch.where(cells > 0, total / cells.clamp(min=1), 1.0)
    return torch.clamp(usual, min=ERROR_FLOOR).float()


def recent_rows(window: int) -> int:
    """How many of the newest rows count a second time."""
    return max(1, round(window * _RECENT_SHARE))


def _counted(window: int, features: int) -> Tensor:
    counted = torch.ones(window, features, 2)
    counted[: window - recent_rows(window), :, 1] = 0.0
    return counted.flatten(0, 1)
