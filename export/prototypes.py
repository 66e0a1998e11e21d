"""The family `prototypes`: a window is as anomalous as it is far from the nearest of many typical ones.

The typical ones are the centres of Lloyd's k-means (Least Squares Quantization in PCM, 1982): the distance to the
nearest neighbour (Ramaswamy et al., SIGMOD 2000) at the price of two matrix products. Nothing is learnt by steps.
"""

import torch
from torch import Tensor, nn

from export.detector import OnEpoch, Round
from export.learning import Lessons
from export.reconstruction import ERROR_FLOOR, Frame, ReconstructionModule, batches, mean_error
from export.windows import Windows

MOST = 1024
_WINDOWS = 20_000  # to find the centres among
_A_CENTRE = 4  # windows, at least
_PRODUCTS = 5e9  # of windows, centres and cells, a round: what keeps a training within a minute
_ROUNDS = 15
_AT_ONCE = 2048


class PrototypeModule(ReconstructionModule):
    """A window is rebuilt by the prototype that is nearest over the cells that are seen; all features count alike."""

    prototypes: Tensor  # (k, W * F) z-scores

    def __init__(self, frame: Frame, lessons: Lessons, *, count: int) -> None:
        super().__init__(nn.Identity(), frame, lessons, alike=True)
        self.count = count
        self.register_buffer("prototypes", torch.zeros(0, frame.inputs))

    def rebuild(self, normal: Tensor, seen: Tensor) -> Tensor:
        """(batch, W * F) the nearest prototype."""
        return self.prototypes.index_select(0, self.nearest(normal, seen))

    def nearest(self, normal: Tensor, seen: Tensor) -> Tensor:
        """(batch,) its place."""
        known = seen.to(normal.dtype)
        # The squared distance but for what is the same for all prototypes.
        distance = known @ (self.prototypes**2).T - 2 * (normal @ self.prototypes.T)
        return distance.argmin(dim=1)

    @torch.no_grad()
    def teach(self, training: Windows, validation: Windows, on_epoch: OnEpoch) -> tuple[Round, ...]:
        """k-means. What is missing in a window lies where its centre lies."""
        windows, count = _affordable(training, self.count)
        flat = torch.cat(list(batches(windows))).flatten(1)
        seen = ~torch.isnan(flat)
        normal = self.normalised(flat, seen)
        chance = torch.Generator().manual_seed(self.lessons.seed)
        self.prototypes = normal[torch.randperm(len(normal), generator=chance)[:count]].clone()
        before = torch.empty(0)
        for done in range(1, _ROUNDS + 1):
            parts = zip(torch.split(normal, _AT_ONCE), torch.split(seen, _AT_ONCE), strict=True)
            nearest = torch.cat([self.nearest(*part) for part in parts])
            if torch.equal(nearest, before):
                break
            before = nearest
            self._move(normal, seen, nearest)
            on_epoch(done, _ROUNDS, mean_error(self, validation.spread(_AT_ONCE)))
        self.prototypes = _distinct(self.prototypes)
        return ()

    def _move(self, normal: Tensor, seen: Tensor, nearest: Tensor) -> None:
        """Each prototype to the mean of the windows nearest to it, cell by cell; where there is none it stays."""
        total, cells = torch.zeros_like(self.prototypes), torch.zeros_like(self.prototypes)
        total.index_add_(0, nearest, normal)
        cells.index_add_(0, nearest, seen.to(normal.dtype))
        self.prototypes = torch.where(cells > 0, total / cells.clamp(min=1), self.prototypes)


def _distinct(prototypes: Tensor) -> Tensor:
    """(k, n) without those that are next to an earlier one, where training rows stand still but for rounding.

    Which of them is nearest would be a matter of rounding, too, and two runtimes round differently.
    """
    near = torch.cdist(prototypes, prototypes, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    near = near < ERROR_FLOOR * prototypes.shape[1]
    kept: list[int] = []
    for place in range(len(prototypes)):
        if not near[place, kept].any():
            kept.append(place)
    return prototypes[kept]


def _affordable(windows: Windows, count: int) -> tuple[Windows, int]:
    """The windows, and the number of prototypes, that a training has time for."""
    few = windows.spread(_WINDOWS)
    count = min(count, max(len(few) // _A_CENTRE, 1))
    cells = windows.window * windows.rows.shape[1]
    share = min(1.0, (_PRODUCTS / (len(few) * count * cells)) ** 0.5)
    count = max(int(count * share), 1)
    return few.spread(max(int(len(few) * share), count)), count
