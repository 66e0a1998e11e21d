"""What a detector family promises to the exporter, so that families differ in one module each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import nn

from export.windows import Windows

OnEpoch = Callable[[int, int, float], None]
"""Told after each round of training: epochs done, epochs planned, error on the validation windows."""


class Round(NamedTuple):
    """A point of the curve that a training draws; both errors are what the family's loss is made of."""

    epoch: int
    training: float
    validation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A trained detector.

    `module.forward(window)` takes float32 (batch, W, F) in input units, NaN where nothing is known, and, where the
    windows know their times, the seconds from each row to the last, float32 (batch, W); it returns
    raw score (batch,), finite and >= 0, larger = more anomalous;
    blame (batch, W, F), >= 0: the part of each row and feature in the raw score, up to a factor a window, a usual
    window's being of the order of 1;
    expected (batch, W, F) in input units, finite, or NaN where it has no opinion.
    It must be exportable: tensors only, the batch axis free.
    """

    module: nn.Module
    hyperparameters: dict[str, JsonValue]
    training_error: float
    validation_error: float
    curve: tuple[Round, ...] = ()
    remarks: tuple[str, ...] = ()


class Detector(Protocol):
    """A family with its hyperparameters, not trained yet."""

    @property
    def family(self) -> str:
        """Its name."""
        ...

    def fit(
        self, training: Windows, validation: Windows, *, training_rows: NDArray[np.float32], on_epoch: OnEpoch
    ) -> Fitted:
        """Train on the first, stop by the second, take statistics from the rows (r, F).

        Equal inputs, seed and thread count give equal weights.
        """
        ...


@torch.no_grad()
def raw_scores(module: nn.Module, windows: Windows) -> NDArray[np.float32]:
    """(m,) of a fitted module's windows."""
    scores = []
    for places in np.array_split(np.arange(len(windows)), -(-len(windows) // 1024)):
        raw, _, _ = module(*map(torch.from_numpy, windows.inputs(places).values()))
        scores.append(raw.numpy())
    return np.concatenate(scores)
