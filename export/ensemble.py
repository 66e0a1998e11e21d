"""Several detectors as one: the raw score is the sum of the logarithms of theirs.

log(1 + raw / usual raw) of each, so that none drowns the others whatever its scale (normalise, then combine: Aggarwal
and Sathe, Theoretical Foundations and Algorithms for Outlier Ensembles, SIGKDD Explorations 2015). Knows no family.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.detector import Detector, Fitted, OnEpoch, raw_scores
from export.graph import shares
from export.windows import Windows

_SMALLEST_USUAL = 1e-6


class EnsembleModule(nn.Module):
    """As export.detector.Fitted asks for; `expected` is what the first member thinks."""

    usual: Tensor  # (members,)

    def __init__(self, members: Sequence[nn.Module], usual: Sequence[float]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("usual", torch.tensor(usual))

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each member is blamed for its part of the sum."""
        said = [member(window) for member in self.members]
        parts = [torch.log1p(raw / self.usual[place]) for place, (raw, _, _) in enumerate(said)]
        blame = [part[:, None, None] * shares(each) for part, (_, each, _) in zip(parts, said, strict=True)]
        return torch.stack(parts).sum(dim=0), torch.stack(blame).sum(dim=0), said[0][2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """Detectors that are fitted one after the other; the first tells the errors and the curve."""

    members: Sequence[Detector]

    @property
    def family(self) -> str:
        """The names of all."""
        return " + ".join(member.family for member in self.members)

    def fit(
        self, training: Windows, validation: Windows, *, training_rows: NDArray[np.float32], on_epoch: OnEpoch
    ) -> Fitted:
        """See Detector."""
        fitted = [
            member.fit(training, validation, training_rows=training_rows, on_epoch=on_epoch) for member in self.members
        ]
        usual = [max(float(np.median(raw_scores(each.module, validation))), _SMALLEST_USUAL) for each in fitted]
        first = fitted[0]
        return Fitted(
            module=EnsembleModule([each.module for each in fitted], usual).eval(),
            hyperparameters={
                member.family: each.hyperparameters for member, each in zip(self.members, fitted, strict=True)
            },
            training_error=first.training_error,
            validation_error=first.validation_error,
            curve=first.curve,
            remarks=tuple(dict.fromkeys(remark for each in fitted for remark in each.remarks)),
        )
