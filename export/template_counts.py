"""The lines of a log as numbers: how often each template stands among an entity's last W lines.

Counts of templates find most of what is found in logs (Xu et al., Detecting Large-Scale System Problems by Mining
Console Logs, SOSP 2009; He et al., Experience Report: System Log Analysis for Anomaly Detection, ISSRE 2016). The
logarithm keeps a burst of one template from drowning the others.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.view import Told, View

MOST_TEMPLATES = 1000
"""Rarer ones than these count as unseen: a window is compared with every template."""


class TemplateCounts(View):
    """(batch, W, 1) template numbers -> (batch, K + 1) log(1 + count), the last that of templates not seen before."""

    templates: Tensor  # (K,) their numbers

    def __init__(self, templates: NDArray[np.float32]) -> None:
        super().__init__()
        self.names = (*(f"template {number:.0f}" for number in templates), "unseen templates")
        self.register_buffer("templates", torch.from_numpy(templates))

    def derived(self, window: Tensor, elapsed: Tensor | None) -> Tensor:
        """See View."""
        del elapsed
        return torch.log1p(self._lines(window).sum(dim=1))

    def told_back(self, window: Tensor, blame: Tensor, expected: Tensor) -> Told:
        """A template's blame is shared by its lines; that of lines which are missing falls on the newest line.

        Templates are names, so there is no opinion on which number should have stood there.
        """
        lines = self._lines(window)
        count = lines.sum(dim=1)
        of_lines = (lines * (blame / count.clamp(min=1.0)).unsqueeze(1)).sum(dim=2)
        missing = torch.where(count > 0, 0.0, blame).sum(dim=1, keepdim=True)
        newest = torch.cat((of_lines[:, :-1], of_lines[:, -1:] + missing), dim=1)
        del expected
        return Told(blame=newest.unsqueeze(2), expected=torch.zeros_like(window) + torch.nan)

    def _lines(self, window: Tensor) -> Tensor:
        """(batch, W, K + 1) 1 where a line is of this template."""
        known = (window == self.templates).to(window.dtype)
        seen = (~torch.isnan(window)).to(window.dtype)
        return torch.cat((known, seen - known.sum(dim=2, keepdim=True)), dim=2)


def templates_of(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(K,) the template numbers that the training rows (r, 1) hold, ascending, the most frequent ones of very many."""
    numbers, counts = np.unique(rows[~np.isnan(rows)], return_counts=True)
    frequent = np.argsort(-counts, kind="stable")[:MOST_TEMPLATES]
    return np.sort(numbers[frequent])
