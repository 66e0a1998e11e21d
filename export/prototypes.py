"""The family `prototypes`: a window is as anomalous as it is far from the nearest of many typical ones.

The typical ones are the centres of Lloyd's k-means (Least Squares Quantization in PCM, 1982): the distance to the
nearest neighbour (Ramaswamy et al., SIGMOD 2000) at the price of a few matrix products. Nothing is learnt by steps.
Where a window has several rows, each feature's course has prototypes of its own: with many features no window of all of
them is ever seen again, however usual each one's course is.
"""

import torch
from torch import Tensor, nn

from export.detector import OnEpoch, Round
from export.learning import Lessons
from export.reconstruction import Frame, ReconstructionModule, batches, mean_error
from export.windows import Windows

MOST = 1024
_MOST_APART = 256  # for each feature
_MOST_OF_ALL = 16_384  # for all features: what keeps a batch of a thousand windows within 64 MiB
_WINDOWS = 20_000  # to find the centres among
_A_CENTRE = 4  # windows, at least
_EACH_A_CENTRE = 256  # events that stand alone, up to so many: none has a neighbour that says nearly the same
_PRODUCTS = 5e9  # of windows, centres and cells, a round: what keeps a training within a minute
_ROUNDS = 15
_AT_ONCE = 512
_AS_NEAR = 0.01  # of the least squared distance: what is further by so much counts 1 / e as much
_LEAST_DISTANCE = 1e-2  # of a squared z-score, a cell: nearer ones are all as near


class PrototypeModule(ReconstructionModule):
    """A window is rebuilt by the prototypes that are nearest over the cells that are seen; all features count alike.

    Of two that are nearly as near the window is rebuilt by a mean: were the nearest one taken, and two were exactly as
    near as where features are 0 or 1, it would be a matter of rounding what is expected, and what is blamed.
    """

    prototypes: Tensor  # (G, k, W * F / G) z-scores; G = F where features are taken apart, else 1

    def __init__(self, frame: Frame, lessons: Lessons, *, count: int) -> None:
        super().__init__(nn.Identity(), frame, lessons, alike=True)
        self.groups = frame.features if frame.window > 1 else 1
        self.count = count if self.groups == 1 else min(count, _MOST_APART, max(_MOST_OF_ALL // self.groups, 1))
        self.register_buffer("prototypes", torch.zeros(self.groups, 0, frame.inputs // self.groups))

    def rebuild(self, normal: Tensor, seen: Tensor) -> Tensor:
        """(batch, W * F) the mean of the nearest prototypes."""
        distance = self.distances(self._grouped(normal), self._grouped(seen))
        least = distance.amin(dim=2, keepdim=True)
        unit = _AS_NEAR * (least + _LEAST_DISTANCE * self.prototypes.shape[2])
        nearness = torch.softmax((least - distance) / unit, dim=2)
        return (nearness @ self.prototypes).permute(1, 2, 0).flatten(1)

    def distances(self, normal: Tensor, seen: Tensor) -> Tensor:
        """(G, batch, k) the squared ones over what is seen, from (G, batch, W * F / G)."""
        known = seen.to(normal.dtype)
        from_origin = (normal**2).sum(dim=2, keepdim=True)
        across = normal @ self.prototypes.transpose(1, 2)
        return (known @ (self.prototypes**2).transpose(1, 2) - 2 * across + from_origin).clamp(min=0.0)

    def _grouped(self, flat: Tensor) -> Tensor:
        """(batch, W * F) -> (G, batch, W * F / G)."""
        return flat.reshape(-1, self.prototypes.shape[2], self.groups).permute(2, 0, 1)

    @torch.no_grad()
    def teach(self, training: Windows, validation: Windows, on_epoch: OnEpoch) -> tuple[Round, ...]:
        """k-means. What is missing in a window lies where its centre lies."""
        windows, count = _affordable(training, self.count)
        flat = torch.cat(list(batches(windows))).flatten(1)
        seen = ~torch.isnan(flat)
        normal, seen = (self._grouped(cells).contiguous() for cells in (self.normalised(flat, seen), seen))
        chance = torch.Generator().manual_seed(self.lessons.seed)
        self.prototypes = normal[:, torch.randperm(len(windows), generator=chance)[:count]].clone()
        before = torch.empty(0)
        for done in range(1, _ROUNDS + 1):
            parts = zip(*(torch.split(cells, _AT_ONCE, dim=1) for cells in (normal, seen)), strict=True)
            nearest = torch.cat([self.distances(*part).argmin(dim=2) for part in parts], dim=1)
            if torch.equal(nearest, before):
                break
            before = nearest
            self._move(normal, seen, nearest)
            on_epoch(done, _ROUNDS, mean_error(self, validation.spread(_AT_ONCE)))
        return ()

    def _move(self, normal: Tensor, seen: Tensor, nearest: Tensor) -> None:
        """Each prototype to the mean of the windows nearest to it, cell by cell; where there is none it stays."""
        place = (nearest + torch.arange(self.groups)[:, None] * self.prototypes.shape[1]).flatten()
        total, cells = (torch.zeros_like(self.prototypes).flatten(0, 1) for _ in range(2))
        total.index_add_(0, place, normal.flatten(0, 1))
        cells.index_add_(0, place, seen.to(normal.dtype).flatten(0, 1))
        mean = (total / cells.clamp(min=1)).reshape(self.prototypes.shape)
        self.prototypes = torch.where(cells.reshape(mean.shape) > 0, mean, self.prototypes)


def _affordable(windows: Windows, count: int) -> tuple[Windows, int]:
    """The windows, and the number of prototypes, that a training has time for."""
    few = windows.spread(_WINDOWS)
    each = min(len(few), _EACH_A_CENTRE) if windows.window == 1 else 1
    count = min(count, max(len(few) // _A_CENTRE, each))
    cells = windows.window * windows.rows.shape[1]
    share = min(1.0, (_PRODUCTS / (len(few) * count * cells)) ** 0.5)
    count = max(int(count * share), 1)
    return few.spread(max(int(len(few) * share), count)), count
