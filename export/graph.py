"""Detector and p-value curve as one module with the contract's outputs: this is what becomes the ONNX graph."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.calibration import PValueCurve

_SMALLEST_P = 1e-37  # p never becomes 0, nor a float32 too small to be normal
_ENDLESS = 1e30  # where the tail ends
_LEAST_BLAME = 1e-3
"""In all, of the squared error that is usual. What a window lacks to it is blamed on the last row, all features alike:
of one that is rebuilt but for rounding that is nearly all, and no two runtimes name different culprits."""


class Outputs(NamedTuple):
    """In the order and under the names of the artifact contract."""

    score: Tensor  # (batch,)
    p_value: Tensor  # (batch,)
    contribution: Tensor  # (batch, W, F)
    expected: Tensor  # (batch, W, F)
    step_score: Tensor  # (batch, W)


class _Scored(nn.Module):
    """What makes outputs of -log(p).

    Score and p-value keep the promise "score > 1 exactly where p_value < alarm rate" to the last bit, compared as
    float32 or as float64: at the border p is held to the float32 numbers on either side of the rate.
    """

    def __init__(self, alarm_rate: float) -> None:
        super().__init__()
        self.surprise_at_threshold = -math.log(alarm_rate)
        self.p_above, self.p_below = _neighbours(alarm_rate)

    def outputs(self, surprise: Tensor, blame: Tensor, expected: Tensor) -> Outputs:
        """Of -log(p) (batch,), blame and expectation (batch, W, F)."""
        score = surprise / self.surprise_at_threshold
        p_value = torch.exp(score * -self.surprise_at_threshold).clamp(min=_SMALLEST_P)
        p_value = torch.where(score > 1, p_value.clamp(max=self.p_below), p_value.clamp(min=self.p_above))
        # Of all its rows a window says the same: a mean of whole windows' scores finds more than one of rows' errors.
        step_score = score.unsqueeze(1).expand(-1, blame.shape[1])
        return Outputs(score, p_value, shares(blame), expected, step_score)


class ScoredDetector(_Scored):
    """float32 (batch, W, F) in input units and, where the detector asks for them, seconds (batch, W) -> Outputs."""

    def __init__(self, detector: nn.Module, curve: PValueCurve) -> None:
        super().__init__(curve.alarm_rate)
        self.detector = detector
        self.surprise = Surprise(curve)

    def forward(self, window: Tensor, elapsed: Tensor | None = None) -> Outputs:
        """See the class."""
        raw, blame, expected = self.detector(window) if elapsed is None else self.detector(window, elapsed)
        return self.outputs(self.surprise(raw), blame, expected)


class EntityDetector(_Scored):
    """float32 (batch, W, F) in input units and places (batch,) of the windows' entities -> Outputs.

    The detector sees each window at the level and in the scale of its entity, and its raw score is held to the entity's
    curve; what is expected is led back. A place beyond the tables is an unknown entity, as 0 is.
    """

    level: Tensor  # (E + 1, F)
    scale: Tensor  # (E + 1, F)
    curve: Tensor  # (E + 1,) a place in the curves

    def __init__(
        self,
        detector: nn.Module,
        level: NDArray[np.float32],
        scale: NDArray[np.float32],
        curve: NDArray[np.int64],
        curves: Sequence[PValueCurve],
    ) -> None:
        super().__init__(curves[0].alarm_rate)
        self.detector = detector
        self.surprise = Surprise(*curves)
        self.register_buffer("level", torch.from_numpy(level))
        self.register_buffer("scale", torch.from_numpy(scale))
        self.register_buffer("curve", torch.from_numpy(curve))

    def forward(self, window: Tensor, entity: Tensor) -> Outputs:
        """See the class."""
        place = torch.where((entity > 0) & (entity < len(self.curve)), entity, 0)
        level, scale = (table.index_select(0, place).unsqueeze(1) for table in (self.level, self.scale))
        raw, blame, expected = self.detector((window - level) / scale)
        surprise = self.surprise(raw, self.curve.index_select(0, place))
        return self.outputs(surprise, blame, expected * scale + level)


class Surprise(nn.Module):
    """Raw scores (batch,) -> -log(p) (batch,), before any rounding of p; by one curve, or each by one of several."""

    knots: Tensor  # (curves, k) raw scores where a segment of a curve begins
    at_knot: Tensor  # (curves * k,) -log(p)
    slope: Tensor  # (curves * k,)
    at_end: Tensor  # (curves * k,) where the next segment begins

    def __init__(self, *curves: PValueCurve) -> None:
        super().__init__()
        self.size = max(len(curve.knots) for curve in curves)
        self.register_buffer("knots", self._table([curve.knots for curve in curves]))
        self.register_buffer("at_knot", self._table([curve.surprise for curve in curves]).flatten())
        self.register_buffer("slope", self._table([curve.slopes for curve in curves]).flatten())
        ends = [np.append(curve.surprise[1:], _ENDLESS) for curve in curves]
        self.register_buffer("at_end", self._table(ends).flatten())

    def forward(self, raw: Tensor, curve: Tensor | None = None) -> Tensor:
        """(batch,) raw scores and, where curves are several, the place of each one's."""
        knots = self.knots if curve is None else self.knots.index_select(0, curve)
        passed = (raw.unsqueeze(1) >= knots[:, 1:]).to(raw.dtype).sum(dim=1).to(torch.int64)
        place = passed if curve is None else passed + curve * self.size
        beyond = raw - self.knots.flatten().index_select(0, place)
        rising = self.at_knot.index_select(0, place) + beyond * self.slope.index_select(0, place)
        # Rounding must not lift the end of one segment above the beginning of the next.
        return torch.minimum(rising, self.at_end.index_select(0, place))

    def _table(self, rows: Sequence[NDArray[np.float64]]) -> Tensor:
        """(curves, k): a curve of fewer segments has no score that reaches further ones."""
        return torch.stack([_float32(np.append(row, np.full(self.size - len(row), _ENDLESS))) for row in rows])


def shares(blame: Tensor) -> Tensor:
    """(batch, W, F) each cell's part of the whole; of the last row alike where there is hardly anything to blame."""
    whole = blame.sum(dim=(1, 2), keepdim=True)
    lacking = (1 - whole / _LEAST_BLAME).clamp(min=0.0)
    last = torch.zeros(1, *blame.shape[1:])
    last[:, -1, :] = 1 / blame.shape[2]
    return blame / whole.clamp(min=_LEAST_BLAME) + lacking * last


def _float32(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _neighbours(rate: float) -> tuple[float, float]:
    """The smallest float32 >= rate and the largest float32 < rate."""
    nearest = np.float32(rate)
    if float(nearest) >= rate:
        return float(nearest), float(np.nextafter(nearest, np.float32(0)))
    return float(np.nextafter(nearest, np.float32(1))), float(nearest)
