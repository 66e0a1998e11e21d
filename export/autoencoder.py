"""The family `ae`: a multilayer perceptron that rebuilds the flattened window through a bottleneck.

Windows in, a trained module out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import Tensor, nn

from export.detector import Fitted, OnEpoch
from export.reconstruction import (
    CLIP,
    ReconstructionModule,
    bottleneck_size,
    mean_error,
    normalisation,
    power_of_two,
    small_features,
    usual_error,
)
from export.windows import Windows

# Chosen on public machine data with one setting for all: see docs/training.md for what each was worth.
_BATCH = 256
_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 1e-4
_ENOUGH_STEPS = 800
_MOST_EPOCHS = 200
_STEPS_A_ROUND = 50
_PATIENCE_ROUNDS = 4
_LEAST_IMPROVEMENT = 0.003
_ROUND_WINDOWS = 4096  # of the validation part, each round
# So that windows still filling and missing values score like others, a share of the training windows gets some.
_BLANKED_SHARE = 0.3
_DROPPED_CELLS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoencoder:
    """The family's hyperparameters; None = by the rule of `layer_sizes` and by the amount of data."""

    window: int
    features: Sequence[str]
    bottleneck: int | None = None
    hidden: Sequence[int] | None = None
    epochs: int | None = None
    seed: int = 0

    family = "ae"

    def __post_init__(self) -> None:
        layer_sizes(self.window * len(self.features), len(self.features), self.hidden, self.bottleneck)

    def fit(
        self, training: Windows, validation: Windows, *, training_rows: NDArray[np.float32], on_epoch: OnEpoch
    ) -> Fitted:
        """See Detector. Raises DataError where a feature has no value at all."""
        mean, scale = normalisation(training_rows, self.features)
        sizes = layer_sizes(self.window * len(self.features), len(self.features), self.hidden, self.bottleneck)
        torch.manual_seed(self.seed)
        module = ReconstructionModule(nn.Sequential(*_layers(sizes)), window=self.window, mean=mean, scale=scale)
        epochs = _train(module, training, validation, epochs=self.epochs, seed=self.seed, on_epoch=on_epoch)
        module.accustom(usual_error(module, validation))
        return Fitted(
            module=module.eval(),
            hyperparameters=self._told(sizes, epochs),
            training_error=mean_error(module, training.spread(_ROUND_WINDOWS)),
            validation_error=mean_error(module, validation),
            remarks=small_features(training_rows, self.features),
        )

    def _told(self, sizes: Sequence[int], epochs: int) -> dict[str, JsonValue]:
        return {
            "hidden": list(sizes[1:-1]),
            "bottleneck": sizes[-1],
            "epochs": epochs,
            "seed": self.seed,
            "clip": CLIP,
        }


def layer_sizes(inputs: int, features: int, hidden: Sequence[int] | None, bottleneck: int | None) -> tuple[int, ...]:
    """Input, hidden layers and bottleneck of the encoder; the decoder mirrors it.

    Unless told otherwise one hidden layer lies between inputs and bottleneck, at their geometric mean rounded to a
    power of 2 (256-64-16 for 32 rows of 8). Raises UsageError where the bottleneck would not be one.
    """
    bottleneck = bottleneck_size(inputs, features, bottleneck)
    if hidden is None:
        hidden = (max(power_of_two(sqrt(inputs * bottleneck)), bottleneck),)
    return (inputs, *hidden, bottleneck)


def _layers(sizes: Sequence[int]) -> Iterator[nn.Module]:
    """Encoder and mirrored decoder; the bottleneck and the output are linear."""
    places = [*sizes, *sizes[-2::-1]]
    for place, (inputs, outputs) in enumerate(pairwise(places), start=1):
        yield nn.Linear(inputs, outputs)
        if place not in {len(sizes) - 1, len(places) - 1}:
            yield nn.ReLU()


def _train(
    module: ReconstructionModule,
    training: Windows,
    validation: Windows,
    *,
    epochs: int | None,
    seed: int,
    on_epoch: OnEpoch,
) -> int:
    """Trains in place, keeps the weights that were best on the validation windows; returns the epochs it took."""
    steps_an_epoch = -(-len(training) // _BATCH)
    planned = epochs or min(max(-(-_ENOUGH_STEPS // steps_an_epoch), 1), _MOST_EPOCHS)
    optimizer = torch.optim.AdamW(module.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=_LEARNING_RATE, total_steps=planned * steps_an_epoch + 1
    )
    watched = validation.spread(_ROUND_WINDOWS)
    best = _Best(module, mean_error(module, watched))
    epochs_a_round = -(-_STEPS_A_ROUND // steps_an_epoch)
    noise = torch.Generator().manual_seed(seed)
    order = np.random.default_rng(seed)
    for epoch in range(1, planned + 1):
        for places in np.array_split(order.permutation(len(training)), steps_an_epoch):
            optimizer.zero_grad()
            _loss(module, torch.from_numpy(training.take(places)), noise).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            schedule.step()
        if epoch % epochs_a_round == 0 or epoch == planned:
            on_epoch(epoch, planned, best.after(module, mean_error(module, watched)))
            if best.rounds_since >= _PATIENCE_ROUNDS:
                break
    else:
        epoch = planned
    module.load_state_dict(best.weights)
    return epoch


class _Best:
    """The weights with the lowest validation error so far."""

    def __init__(self, module: nn.Module, error: float) -> None:
        self.error = error
        self.rounds_since = 0
        self.weights = {name: value.clone() for name, value in module.state_dict().items()}

    def after(self, module: nn.Module, error: float) -> float:
        """Takes note of a round; returns its error."""
        self.rounds_since = 0 if error < self.error * (1 - _LEAST_IMPROVEMENT) else self.rounds_since + 1
        if error < self.error:
            self.error = error
            self.weights = {name: value.clone() for name, value in module.state_dict().items()}
        return error


def _loss(module: ReconstructionModule, window: Tensor, noise: torch.Generator) -> Tensor:
    """Mean squared error over the cells that the network was shown, some having been hidden from it."""
    flat = window.flatten(1)
    shown = ~torch.isnan(flat) & _shown(window.shape, noise).flatten(1)
    normal = module.normalised(flat, shown)
    squared: Tensor = (module.network(normal) - normal) ** 2 * shown
    return squared.sum() / shown.sum().clamp(min=1)


def _shown(shape: torch.Size, noise: torch.Generator) -> Tensor:
    """(batch, W, F) whether a cell is shown: some windows begin late, some have holes."""
    batch, rows, _ = shape
    begin = torch.randint(0, rows, (batch,), generator=noise)
    begin = torch.where(torch.rand(batch, generator=noise) < _BLANKED_SHARE, begin, 0)
    holed = torch.rand(batch, generator=noise) < _BLANKED_SHARE
    hole = torch.rand(shape, generator=noise) < _DROPPED_CELLS
    return (torch.arange(rows) >= begin[:, None])[:, :, None] & ~(hole & holed[:, None, None])
