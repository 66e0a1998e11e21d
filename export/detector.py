"""What a detector family promises to the exporter, so that families differ in one module each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import nn

from export.windows import Windows

OnEpoch = Callable[[int, int, float], None]
"""Told after each round of training: epochs done, epochs planned, error on the validation windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A trained detector.

    `module.forward(window)` takes float32 (batch, W, F) in input units, NaN where nothing is known, and returns
    raw score (batch,), finite and >= 0, larger = more anomalous;
    blame (batch, W, F), >= 0: the part of each row and feature in the raw score, up to a factor a window;
    expected (batch, W, F) in input units, finite.
    It must be exportable: tensors only, the batch axis free.
    """

    module: nn.Module
    hyperparameters: dict[str, JsonValue]
    training_error: float
    validation_error: float
    remarks: tuple[str, ...] = ()


class Detector(Protocol):
    """A family with its hyperparameters, not trained yet."""

    family: str

    def fit(
        self, training: Windows, validation: Windows, *, training_rows: NDArray[np.float32], on_epoch: OnEpoch
    ) -> Fitted:
        """Train on the first, stop by the second, take statistics from the rows (r, F).

        Equal inputs, seed and thread count give equal weights.
        """
        ...
