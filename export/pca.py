"""The family `pca`: principal components of the flattened window, the baseline that every training run is held against.

What they cannot rebuild is anomalous, and so is what lies unusually far out along them (Mahalanobis distance): Q and
T^2 of Jackson and Mudholkar, Control Procedures for Residuals Associated With Principal Component Analysis,
Technometrics 1979. Windows in, a fitted module out; nothing is learned by steps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.detector import Fitted, OnEpoch
from export.errors import UsageError
from export.reconstruction import (
    CLIP,
    ReconstructionModule,
    bottleneck_size,
    mean_error,
    normalisation,
    small_features,
    usual_error,
)
from export.windows import Windows

_WINDOWS = 20_000  # components gain nothing from more
_EXACT_INPUTS = 2048  # up to so many the whole matrix of second moments is decomposed, beyond only its leading part
_AT_ONCE = 1024
_SMALLEST_MOMENT = 1e-6  # of a squared z-score: a direction without movement is not infinitely far away


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalComponents:
    """The family's hyperparameters; `bottleneck` is the number of components, None = as many as `ae` would have."""

    window: int
    features: Sequence[str]
    bottleneck: int | None = None
    seed: int = 0

    family = "pca"

    def __post_init__(self) -> None:
        self._count()

    def _count(self) -> int:
        return bottleneck_size(self.window * len(self.features), len(self.features), self.bottleneck)

    def fit(
        self, training: Windows, validation: Windows, *, training_rows: NDArray[np.float32], on_epoch: OnEpoch
    ) -> Fitted:
        """See Detector. Raises DataError where a feature has no value at all."""
        mean, scale = normalisation(training_rows, self.features)
        torch.manual_seed(self.seed)
        inputs, components = self.window * len(self.features), self._count()
        module = PrincipalModule(inputs=inputs, components=components, window=self.window, mean=mean, scale=scale)
        module.take_components(_components(module, training.spread(_WINDOWS)))
        module.accustom(usual_error(module, validation))
        module.accustom_to_distance(validation.spread(_WINDOWS))
        on_epoch(1, 1, mean_error(module, validation))
        return Fitted(
            module=module.eval(),
            hyperparameters={"bottleneck": components, "seed": self.seed, "clip": CLIP},
            training_error=mean_error(module, training.spread(_WINDOWS)),
            validation_error=mean_error(module, validation),
            remarks=small_features(training_rows, self.features),
        )


def refuse_what_pca_has_not(*, hidden: Sequence[int] | None, epochs: int | None) -> None:
    """Raises UsageError for options that say nothing about principal components."""
    for option, value in (("--hidden", hidden), ("--epochs", epochs)):
        if value is not None:
            raise UsageError(f"{option} means nothing to --detector pca: leave it out.")


class PrincipalModule(ReconstructionModule):
    """Projection and back; the raw score is the root of the squared error and of the squared distance along the way."""

    nearness: Tensor  # (k,) what a squared coordinate counts; 0 until components are taken

    def __init__(
        self, *, inputs: int, components: int, window: int, mean: NDArray[np.float32], scale: NDArray[np.float32]
    ) -> None:
        projection, back = nn.Linear(inputs, components, bias=False), nn.Linear(components, inputs, bias=False)
        super().__init__(nn.Sequential(projection, back), window=window, mean=mean, scale=scale)
        self.projection, self.back = projection, back
        self.register_buffer("nearness", torch.zeros(components))

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As the class it is derived from; a cell's blame grows with what it adds to the distance."""
        windows = self.rebuilt(window)
        raw, blame, expected = self.judged(windows)
        code = self.projection(windows.normal)
        pull = code * self.nearness
        added = (windows.normal * (pull @ self.projection.weight)).clamp(min=0.0)
        return torch.sqrt(raw * raw + (code * pull).sum(dim=1)), blame + added.reshape(blame.shape), expected

    @torch.no_grad()
    def take_components(self, found: tuple[Tensor, Tensor]) -> None:
        """Directions (W * F, k) and their second moments (k,), the largest first."""
        directions, moments = found
        self.projection.weight.copy_(directions.T)
        self.back.weight.copy_(directions)
        self.nearness.copy_(1 / moments.clamp(min=_SMALLEST_MOMENT))

    @torch.no_grad()
    def accustom_to_distance(self, windows: Windows) -> None:
        """From now on the mean squared distance of these windows counts as 1."""
        total = torch.zeros((), dtype=torch.float64)
        for normal in _normalised(self, windows):
            code = self.projection(normal)
            total += (code * code * self.nearness).sum(dtype=torch.float64)
        self.nearness /= max(float(total) / len(windows), _SMALLEST_MOMENT)


def _normalised(module: ReconstructionModule, windows: Windows) -> Iterator[Tensor]:
    """(batch, W * F) z-scores, some windows at a time."""
    for places in np.array_split(np.arange(len(windows)), -(-len(windows) // _AT_ONCE)):
        flat = torch.from_numpy(windows.take(places)).flatten(1)
        yield module.normalised(flat, ~torch.isnan(flat))


@torch.no_grad()
def _components(module: PrincipalModule, windows: Windows) -> tuple[Tensor, Tensor]:
    """The leading directions (W * F, k) of the z-scores and the second moment along each (k,), the largest first.

    About the origin, which is the mean: a window that holds nothing lies there, and scores nothing.
    """
    components, inputs = module.projection.weight.shape
    if inputs > _EXACT_INPUTS:
        whole = torch.cat(list(_normalised(module, windows.spread(4 * _EXACT_INPUTS))))
        _, values, directions = torch.svd_lowrank(whole, q=components, niter=4)
        return directions, values**2 / len(whole)
    moments = torch.zeros(inputs, inputs, dtype=torch.float64)
    for normal in _normalised(module, windows):
        wide = normal.double()
        moments += wide.T @ wide
    values, directions = torch.linalg.eigh(moments / len(windows))
    leading = slice(-components, None)
    return directions[:, leading].flip(1).float(), values[leading].flip(0).float()
