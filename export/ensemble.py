"""Several detectors as one: the raw score is the sum of the logarithms of theirs.

log(1 + raw / usual raw) of each, so that none drowns the others whatever its scale (normalise, then combine: Aggarwal
and Sathe, Theoretical Foundations and Algorithms for Outlier Ensembles, SIGKDD Explorations 2015). Some may look at the
newest rows of the window alone: what is short is found by a short view, what is slow by a long one. Knows no family.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from export.detector import Detector, Fitted, OnEpoch, raw_scores
from export.graph import shares
from export.windows import Windows

_SMALLEST_USUAL = 0.04
"""A raw score is divided by no less: that of an error as faint as counts, the root of 0.02 less that of 0.01. A member
that rebuilds all but for rounding would have it magnified a thousandfold, and two runtimes would disagree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A detector of windows of so many rows: the newest of the ensemble's."""

    detector: Detector
    rows: int

    @property
    def name(self) -> str:
        """The family, and how far it looks."""
        return self.detector.family if self.rows == 1 else f"{self.detector.family}@{self.rows}"


class EnsembleModule(nn.Module):
    """As export.detector.Fitted asks for; `expected` is what the first member thinks, which sees the whole window."""

    usual: Tensor  # (members,)

    def __init__(self, modules: Sequence[nn.Module], rows: Sequence[int], usual: Sequence[float]) -> None:
        super().__init__()
        self.members = nn.ModuleList(modules)
        self.rows = tuple(rows)
        self.register_buffer("usual", torch.tensor(usual))

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each member is blamed for its part of the sum."""
        said = [member(window[:, -rows:]) for member, rows in zip(self.members, self.rows, strict=True)]
        parts = [torch.log1p(raw / self.usual[place]) for place, (raw, _, _) in enumerate(said)]
        unseen = window.shape[1]
        blame = [
            functional.pad(part[:, None, None] * shares(each), (0, 0, unseen - rows, 0))
            for part, (_, each, _), rows in zip(parts, said, self.rows, strict=True)
        ]
        return torch.stack(parts).sum(dim=0), torch.stack(blame).sum(dim=0), said[0][2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """Detectors that are fitted one after the other; the first tells the errors and the curve."""

    members: Sequence[Member]

    @property
    def family(self) -> str:
        """The names of all."""
        return " + ".join(member.name for member in self.members)

    def fit(
        self, training: Windows, validation: Windows, *, training_rows: NDArray[np.float32], on_epoch: OnEpoch
    ) -> Fitted:
        """See Detector."""
        fitted = [
            member.detector.fit(
                training.newest(member.rows),
                validation.newest(member.rows),
                training_rows=training_rows,
                on_epoch=on_epoch,
            )
            for member in self.members
        ]
        usual = [
            max(float(np.median(raw_scores(each.module, validation.newest(member.rows)))), _SMALLEST_USUAL)
            for member, each in zip(self.members, fitted, strict=True)
        ]
        first = fitted[0]
        return Fitted(
            module=EnsembleModule(
                [each.module for each in fitted], [member.rows for member in self.members], usual
            ).eval(),
            hyperparameters={
                member.name: each.hyperparameters for member, each in zip(self.members, fitted, strict=True)
            },
            training_error=first.training_error,
            validation_error=first.validation_error,
            curve=first.curve,
            remarks=tuple(dict.fromkeys(remark for each in fitted for remark in each.remarks)),
        )
