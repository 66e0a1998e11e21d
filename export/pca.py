"""The family `pca`: principal components of the flattened window, the baseline that every training run is held against.

What they cannot rebuild is anomalous, and so is what lies unusually far out along them (Mahalanobis distance): Q and
T^2 of Jackson and Mudholkar, Control Procedures for Residuals Associated With Principal Component Analysis,
Technometrics 1979. Windows in, a fitted module out; nothing is learned by steps.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.detector import OnEpoch, Round
from export.learning import Lessons
from export.reconstruction import Frame, ReconstructionModule, batches, level_root, mean_error
from export.windows import Windows

_WINDOWS = 20_000  # components gain nothing from more
_EXACT_INPUTS = 2048  # up to so many the whole matrix of second moments is decomposed, beyond only its leading part
_SMALLEST_MOMENT = 1e-6  # of a squared z-score: a direction without movement is not infinitely far away


class PrincipalModule(ReconstructionModule):
    """Projection and back; the raw score is the root of the squared error and of the squared distance along the way."""

    nearness: Tensor  # (k,) what a squared coordinate counts; 0 until components are taken

    def __init__(self, frame: Frame, lessons: Lessons, *, components: int) -> None:
        projection = nn.Linear(frame.inputs, components, bias=False)
        back = nn.Linear(components, frame.inputs, bias=False)
        super().__init__(nn.Sequential(projection, back), frame, lessons)
        self.projection, self.back = projection, back
        self.register_buffer("nearness", torch.zeros(components))

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As the class it is derived from; a cell's blame grows with what it adds to the distance."""
        windows = self.rebuilt(window)
        squared, blame, expected = self.measured(windows)
        code = self.projection(windows.normal)
        pull = code * self.nearness
        added = (windows.normal * (pull @ self.projection.weight)).clamp(min=0.0)
        return level_root(squared + (code * pull).sum(dim=1)), blame + added.reshape(blame.shape), expected

    @torch.no_grad()
    def teach(self, training: Windows, validation: Windows, on_epoch: OnEpoch) -> tuple[Round, ...]:
        """Takes the components that the training windows have."""
        directions, moments = _components(self, training.spread(_WINDOWS))
        self.projection.weight.copy_(directions.T)
        self.back.weight.copy_(directions)
        self.nearness.copy_(1 / moments.clamp(min=_SMALLEST_MOMENT))
        on_epoch(1, 1, mean_error(self, validation))
        return ()

    @torch.no_grad()
    def accustom(self, windows: Windows) -> None:
        """As the class it is derived from; the squared distance that is usual counts as 1 too."""
        super().accustom(windows)
        few = windows.spread(_WINDOWS)
        total = torch.zeros((), dtype=torch.float64)
        for normal in _normalised(self, few):
            code = self.projection(normal)
            total += (code * code * self.nearness).sum(dtype=torch.float64)
        self.nearness /= max(float(total) / len(few), _SMALLEST_MOMENT)


def _normalised(module: ReconstructionModule, windows: Windows) -> Iterator[Tensor]:
    """(batch, W * F) z-scores, some windows at a time."""
    for window in batches(windows):
        flat = window.flatten(1)
        yield module.normalised(flat, ~torch.isnan(flat))


@torch.no_grad()
def _components(module: PrincipalModule, windows: Windows) -> tuple[Tensor, Tensor]:
    """The leading directions (W * F, k) of the z-scores and the second moment along each (k,), the largest first.

    About the origin, which is the mean: a window that holds nothing lies there, and scores nothing.
    """
    components, inputs = module.projection.weight.shape
    if inputs > _EXACT_INPUTS:
        whole = torch.cat(list(_normalised(module, windows.spread(4 * _EXACT_INPUTS))))
        # Fewer windows than components have no more directions; the others stay without weight.
        _, values, directions = torch.svd_lowrank(whole, q=min(components, len(whole)), niter=4)
        lacking = (0, components - len(values))
        return functional.pad(directions, lacking), functional.pad(values**2 / len(whole), lacking)
    moments = torch.zeros(inputs, inputs, dtype=torch.float64)
    for normal in _normalised(module, windows):
        wide = normal.double()
        moments += wide.T @ wide
    values, directions = torch.linalg.eigh(moments / len(windows))
    leading = slice(-components, None)
    return directions[:, leading].flip(1).float(), values[leading].flip(0).float()
