"""How every family that rebuilds windows is fitted: its module becomes a trained one, with what is told of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue

from export.detector import Fitted, OnEpoch, Round
from export.learning import ROUND_WINDOWS
from export.reconstruction import CLIP, Frame, ReconstructionModule, mean_error, normalisation, small_features
from export.report import CURVE
from export.windows import Windows

Build = Callable[[Frame], ReconstructionModule]
"""A module with weights that torch's seed decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilder:
    """A family with its hyperparameters, as export.detector asks for."""

    family: str
    window: int
    features: Sequence[str]
    build: Build
    hyperparameters: Mapping[str, JsonValue]
    seed: int = 0
    channels: int | None = None
    """Of a pixel, where the features are a picture."""

    def fit(
        self, training: Windows, validation: Windows, *, training_rows: NDArray[np.float32], on_epoch: OnEpoch
    ) -> Fitted:
        """See Detector. Raises DataError where a feature has no value at all."""
        module, curve = self.taught(training, validation, training_rows=training_rows, on_epoch=on_epoch)
        module.accustom(validation)
        return Fitted(
            module=module,
            hyperparameters={**self.hyperparameters, **_learnt(curve), "seed": self.seed, "clip": CLIP},
            training_error=mean_error(module, training.spread(ROUND_WINDOWS)),
            validation_error=mean_error(module, validation),
            curve=curve,
            remarks=small_features(training_rows, self.features) if self.channels is None else (),
        )

    def taught(
        self, training: Windows, validation: Windows, *, training_rows: NDArray[np.float32], on_epoch: OnEpoch
    ) -> tuple[ReconstructionModule, tuple[Round, ...]]:
        """The module with its weights and its curve, not accustomed to any error yet; see `fit`."""
        mean, scale = normalisation(training_rows, self.features, window=self.window)
        frame = Frame(window=self.window, mean=mean, scale=scale)
        if self.channels is not None:
            frame = frame.in_one_unit(channels=self.channels)
        torch.manual_seed(self.seed)
        module = self.build(frame).eval()
        return module, module.teach(training, validation, on_epoch)


def _learnt(curve: Sequence[Round]) -> dict[str, JsonValue]:
    """The epochs that it took, and what each round came to."""
    if not curve:
        return {}
    points: list[JsonValue] = [[point.epoch, round(point.training, 6), round(point.validation, 6)] for point in curve]
    return {"epochs": curve[-1].epoch, CURVE: points}
