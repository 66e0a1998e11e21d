"""An error that no single feature can decide: each feature's by itself, in its own unit, and added as roots.

As export.reconstruction, but for the score: the mean over the features of the root of each one's mean squared error, of
the whole window and of its newest eighth. Where squares are added before the root is taken, a feature that never moved
in training and then moves once drowns all others.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.learning import Lessons
from export.reconstruction import Frame, Rebuilt, ReconstructionModule, recent_rows

_HUSH = 0.1
"""Of a usual error. A root is infinitely steep at 0, where errors are nothing but rounding: sqrt(error + hush^2) - hush
stands for it, which is nearly the same for errors that matter."""


class FeaturewiseModule(ReconstructionModule):
    """Normalisation, a network that rebuilds, and the errors of its features as one graph."""

    per_usual: Tensor  # (F,) one over the squared z-score that is a usual error

    def __init__(self, network: nn.Module, frame: Frame, lessons: Lessons) -> None:
        super().__init__(network, frame, lessons)
        self.register_buffer("per_usual", torch.ones(frame.features))

    def judged(self, windows: Rebuilt) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`; a cell's blame is its part in the mean square, and that one's in the sum of the roots."""
        shape = (-1, self.window, self.features)
        known = windows.seen.to(windows.normal.dtype).reshape(shape)
        squared = (windows.rebuilt - windows.normal).reshape(shape) ** 2 * known
        raw, blame = torch.zeros(()), torch.zeros(())
        for rows in (self.window, recent_rows(self.window)):
            newest = squared[:, -rows:]
            cells = known[:, -rows:].sum(dim=1).clamp(min=1.0)  # (batch, F)
            root = torch.sqrt(newest.sum(dim=1) * self.per_usual / cells + _HUSH**2)
            # As (root - hush) * (root + hush) is the error, this shares root - hush among the cells.
            pull = self.per_usual / (cells * (root + _HUSH))
            raw = raw + (root - _HUSH).sum(dim=1) / self.features
            blame = blame + functional.pad(newest * pull[:, None], (0, 0, self.window - rows, 0))
        expected = windows.rebuilt * self.scale + self.mean
        return raw, blame, expected.reshape(shape)

    def weigh(self, usual: Tensor) -> None:
        """As the class it is derived from."""
        self.per_usual.copy_(1 / usual)
