"""What is spoilt in training, so that a network learns to do without it: cells are hidden, and noise is added.

Hidden cells prepare it for windows still filling and for missing values. Noise makes a denoising autoencoder of it
(Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders, ICML 2008), at many scales at
once, so that no single one must be right (Geras and Sutton, Scheduled Denoising Autoencoders, ICLR 2015).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# So that windows still filling and missing values score like others, a share of the training windows gets some.
BLANKED_SHARE = 0.3
_DROPPED_CELLS = 0.2
_MOST_DROPPED_PIXELS = 0.4
_LEAST_NOISE = 0.05


@dataclass(frozen=True, slots=True)
class Corruption:
    """How much is spoilt; `noise` is the largest standard deviation, in z-scores, 0 = none."""

    noise: float = 0.0

    def shown(self, shape: torch.Size, chance: torch.Generator) -> Tensor:
        """(batch, W, F) whether a cell is shown: some windows begin late, some have holes."""
        batch, rows, _ = shape
        begin = torch.randint(0, rows, (batch,), generator=chance)
        begin = torch.where(torch.rand(batch, generator=chance) < BLANKED_SHARE, begin, 0)
        holed = torch.rand(batch, generator=chance) < BLANKED_SHARE
        hole = torch.rand(shape, generator=chance) < _DROPPED_CELLS
        return (torch.arange(rows) >= begin[:, None])[:, :, None] & ~(hole & holed[:, None, None])

    def pierced(self, shape: torch.Size, chance: torch.Generator) -> Tensor:
        """(batch, W, F) whether a value of a picture is shown: each has holes, of a share that it draws for itself."""
        share = _MOST_DROPPED_PIXELS * torch.rand(shape[0], 1, 1, generator=chance)
        return torch.rand(shape, generator=chance) >= share

    def noisy(self, normal: Tensor, chance: torch.Generator) -> Tensor:
        """(batch, W * F) z-scores with noise, of a scale that each window draws for itself, log-uniformly."""
        if not self.noise:
            return normal
        least = min(_LEAST_NOISE, self.noise)
        scale = least * (self.noise / least) ** torch.rand(len(normal), 1, generator=chance)
        return normal + scale * torch.randn(normal.shape, generator=chance)
