"""The family `vae`: a code that is a distribution, held near to the standard normal one.

Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014; for anomalies An and Cho, Variational Autoencoder based
Anomaly Detection using Reconstruction Probability, SNU 2015. The noise of the reconstruction is learnt as one number
(Rybkin et al., Simple and Effective VAE Training with Calibrated Decoders, ICML 2021).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from export.autoencoder import layers
from export.learning import Lessons
from export.reconstruction import Frame, ReconstructionModule, batches
from export.windows import Windows

_CERTAIN, _UNCERTAIN = -10.0, 10.0  # log variance, so that no step of the training leaves float32


class VariationalAutoencoder(nn.Module):
    """Encoder and decoder over (batch, W * F). At inference the code is the distribution's mean."""

    def __init__(self, sizes: Sequence[int], *, dropout: float = 0.0) -> None:
        super().__init__()
        *outer, code = sizes
        self.body = nn.Sequential(*layers(outer, dropout, ends_linear=False))
        self.mean = nn.Linear(outer[-1], code)
        self.log_variance = nn.Linear(outer[-1], code)
        self.decoder = nn.Sequential(*layers(sizes[::-1], dropout, ends_linear=True))
        self.log_noise = nn.Parameter(torch.zeros(()))  # log variance of the reconstruction

    def forward(self, normal: Tensor) -> Tensor:
        """(batch, W * F) z-scores, rebuilt from the mean of the code."""
        rebuilt: Tensor = self.decoder(self.code(normal)[0])
        return rebuilt

    def code(self, normal: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, code) mean and log variance."""
        body = self.body(normal)
        return self.mean(body), self.log_variance(body).clamp(_CERTAIN, _UNCERTAIN)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(batch,) Kullback-Leibler divergence of the code from the standard normal distribution."""
    return (mean * mean + log_variance.exp() - log_variance - 1).sum(dim=1) / 2


class VariationalModule(ReconstructionModule):
    """The raw score is the root of reconstruction / (2 sigma^2) + divergence, in units of what is usual for the sum.

    sigma^2 is the squared error that is usual for the feature. As in all families the newest eighth of the rows counts
    twice; of missing cells the others stand in.
    """

    usual: Tensor  # () the sum's mean over the validation windows

    def __init__(self, network: VariationalAutoencoder, frame: Frame, lessons: Lessons) -> None:
        super().__init__(network, frame, lessons)
        self.variational = network
        self.register_buffer("usual", torch.ones(()))

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As the class it is derived from; the blame is that of the reconstruction."""
        windows = self.rebuilt(window)
        raw, blame, expected = self.judged(windows)
        energy = self._energy(raw, windows.normal)
        return torch.sqrt(energy / self.usual), blame, expected

    def loss(self, window: Tensor, chance: torch.Generator) -> Tensor:
        """() negative evidence lower bound, a cell that was shown."""
        flat = window.flatten(1)
        shown = ~torch.isnan(flat) & self.corruption.shown(window.shape, chance).flatten(1)
        normal = self.normalised(flat, shown)
        mean, log_variance = self.variational.code(normal)
        drawn = mean + torch.exp(log_variance / 2) * torch.randn(mean.shape, generator=chance)
        squared: Tensor = (self.variational.decoder(drawn) - normal) ** 2 * shown
        log_noise = self.variational.log_noise.clamp(_CERTAIN, _UNCERTAIN)
        cells = shown.sum().clamp(min=1)
        reconstruction = squared.sum() / cells / torch.exp(log_noise) + log_noise
        bound: Tensor = reconstruction / 2 + divergence(mean, log_variance).sum() / cells
        return bound

    def accustom(self, windows: Windows) -> None:
        """As the class it is derived from; the usual sum counts as 1."""
        super().accustom(windows)
        with torch.no_grad():
            total = sum(
                float(self._energy(self.judged(rebuilt)[0], rebuilt.normal).sum())
                for rebuilt in map(self.rebuilt, batches(windows))
            )
        self.usual.fill_(max(total / len(windows), 1e-6))

    def _energy(self, raw: Tensor, normal: Tensor) -> Tensor:
        """(batch,) the sum, from what the class it is derived from calls the raw score, and the z-scores."""
        return raw * raw * (normal.shape[1] / 2) + divergence(*self.variational.code(normal))
