"""The family `ae`: a multilayer perceptron that rebuilds the flattened window through a bottleneck.

Windows in, a trained module out; what it cannot rebuild is anomalous. Everything an event goes through is in the
module: imputation by the mean, z-score, clipping, network, error, blame.
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
from export.errors import DataError, UsageError
from export.windows import Windows

# Chosen on public machine data with one setting for all: see docs/training.md for what each was worth.
_CLIP = 20.0
_SCALE_FLOOR = 0.05  # of the largest value, at least of 1: a nearly constant feature must not count thousandfold
_ERROR_FLOOR = 1e-4  # of a squared z-score; what is rebuilt better than this is not told from perfect
_RECENT_SHARE = 1 / 8  # of the window: the newest rows, counted a second time
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
        module = AutoencoderModule(window=self.window, sizes=sizes, mean=mean, scale=scale)
        epochs = _train(module, training, validation, epochs=self.epochs, seed=self.seed, on_epoch=on_epoch)
        module.accustom(_usual_error(module, validation))
        return Fitted(
            module=module.eval(),
            hyperparameters=self._told(sizes, epochs),
            training_error=_error(module, training.spread(_ROUND_WINDOWS)),
            validation_error=_error(module, validation),
            remarks=_small_features(training_rows, self.features),
        )

    def _told(self, sizes: Sequence[int], epochs: int) -> dict[str, JsonValue]:
        return {
            "hidden": list(sizes[1:-1]),
            "bottleneck": sizes[-1],
            "epochs": epochs,
            "seed": self.seed,
            "clip": _CLIP,
        }


class AutoencoderModule(nn.Module):
    """Normalisation, network and error as one graph.

    The raw score is the root of the mean squared error of all rows plus that of the newest eighth, each over the cells
    that hold a value, in units of the error that is usual for the feature.
    """

    # One value a feature, but repeated for every row: ONNX Runtime's CPU code broadcasts along a short last axis at an
    # eighth of its speed, and the whole graph took 1.8 times as long.
    mean: Tensor  # (W * F,)
    scale: Tensor  # (W * F,)
    per_scale: Tensor  # (W * F,) its inverse
    counted: Tensor  # (W * F, 2) which cells count for the whole and for the recent error
    weight: Tensor  # (W * F, 2) the same, over the squared z-score that is a usual error

    def __init__(
        self, *, window: int, sizes: Sequence[int], mean: NDArray[np.float32], scale: NDArray[np.float32]
    ) -> None:
        super().__init__()
        self.window = window
        self.features = len(mean)
        self.network = nn.Sequential(*_layers(sizes))
        self.register_buffer("mean", torch.from_numpy(np.tile(mean, window)))
        self.register_buffer("scale", torch.from_numpy(np.tile(scale, window)))
        self.register_buffer("per_scale", torch.from_numpy(np.tile(1 / scale, window)))
        self.register_buffer("counted", _counted(window, self.features))
        self.register_buffer("weight", _counted(window, self.features))

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, W, F) in input units -> raw score (batch,), blame and expected (batch, W, F)."""
        flat = window.flatten(1)
        seen = ~torch.isnan(flat)
        normal = self.normalised(flat, seen)
        rebuilt = self.network(normal)
        known = seen.to(flat.dtype)
        error = (rebuilt - normal) * known
        squared = error * error
        cells = (known @ self.counted).clamp(min=1.0)  # (batch, 2)
        raw = torch.sqrt(((squared @ self.weight) / cells).sum(dim=1))
        blame = squared * ((1 / cells) @ self.weight.T)
        expected = rebuilt * self.scale + self.mean
        return raw, blame.reshape(-1, self.window, self.features), expected.reshape(-1, self.window, self.features)

    def normalised(self, flat: Tensor, seen: Tensor) -> Tensor:
        """(batch, W * F) z-scores within the clip; 0, the mean, where nothing is seen."""
        return torch.where(seen, torch.clamp((flat - self.mean) * self.per_scale, -_CLIP, _CLIP), 0.0)

    def accustom(self, usual_error: Tensor) -> None:
        """From now on a squared z-score error (F,) of this size counts as 1."""
        self.weight.copy_(self.counted / usual_error.repeat(self.window)[:, None])


def layer_sizes(inputs: int, features: int, hidden: Sequence[int] | None, bottleneck: int | None) -> tuple[int, ...]:
    """Input, hidden layers and bottleneck of the encoder; the decoder mirrors it.

    Unless told otherwise the bottleneck has a sixteenth of the inputs, though half as many as there are features, and
    one hidden layer lies between, at their geometric mean; all rounded to powers of 2 (256-64-16 for 32 rows of 8).

    Raises:
        UsageError: the bottleneck would not be one.
    """
    if inputs < 2:
        raise UsageError("one feature in a window of one row leaves nothing to compress; give --window 2 or more.")
    if bottleneck is None:
        bottleneck = min(_power_of_two(max(inputs / 16, features / 2, 2)), inputs // 2)
    if bottleneck >= inputs:
        raise UsageError(f"--bottleneck {bottleneck} is no bottleneck for {inputs} inputs (window * features).")
    if hidden is None:
        hidden = (max(_power_of_two(sqrt(inputs * bottleneck)), bottleneck),)
    return (inputs, *hidden, bottleneck)


def normalisation(
    rows: NDArray[np.float32], features: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(F,) mean and (F,) scale of the training rows (r, F). Raises DataError for a feature without any value."""
    known = np.count_nonzero(~np.isnan(rows), axis=0)
    for name, count in zip(features, known, strict=True):
        if count == 0:
            raise DataError(f"feature {name!r} has no value in the training rows; leave it out with --features.")
    values = rows.astype(np.float64)
    floor = _SCALE_FLOOR * np.maximum(1.0, np.nanmax(np.abs(values), axis=0))
    scale = np.maximum(np.nanstd(values, axis=0), floor)
    return np.asarray(np.nanmean(values, axis=0), np.float32), np.asarray(scale, np.float32)


def _power_of_two(size: float) -> int:
    return int(2 ** round(np.log2(size)))


def _layers(sizes: Sequence[int]) -> Iterator[nn.Module]:
    """Encoder and mirrored decoder; the bottleneck and the output are linear."""
    places = [*sizes, *sizes[-2::-1]]
    for place, (inputs, outputs) in enumerate(pairwise(places), start=1):
        yield nn.Linear(inputs, outputs)
        if place not in {len(sizes) - 1, len(places) - 1}:
            yield nn.ReLU()


def _counted(window: int, features: int) -> Tensor:
    recent = max(1, round(window * _RECENT_SHARE))
    counted = torch.ones(window, features, 2)
    counted[: window - recent, :, 1] = 0.0
    return counted.flatten(0, 1)


def _small_features(rows: NDArray[np.float32], features: Sequence[str]) -> tuple[str, ...]:
    """A remark for each feature whose unit makes its movements vanish under the floor of the scale."""
    deviation = np.nanstd(rows, axis=0, dtype=np.float64)
    small = (deviation > 0) & (deviation < _SCALE_FLOOR / 10) & (np.nanmax(np.abs(rows), axis=0) < 1)
    return tuple(
        f"{name} moves by only {moves:.2g}: in a smaller unit it would count for more."
        for name, moves, is_small in zip(features, deviation, small, strict=True)
        if is_small
    )


def _train(
    module: AutoencoderModule,
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
    best = _Best(module, _error(module, watched))
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
            on_epoch(epoch, planned, best.after(module, _error(module, watched)))
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


def _loss(module: AutoencoderModule, window: Tensor, noise: torch.Generator) -> Tensor:
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


@torch.no_grad()
def _squared_errors(module: AutoencoderModule, windows: Windows) -> tuple[Tensor, Tensor]:
    """(F,) the sum of squared errors and (F,) the number of cells with a value."""
    shape = (-1, module.features)
    total, cells = torch.zeros(module.features, dtype=torch.float64), torch.zeros(module.features, dtype=torch.float64)
    for places in np.array_split(np.arange(len(windows)), -(-len(windows) // 1024)):
        flat = torch.from_numpy(windows.take(places)).flatten(1)
        seen = ~torch.isnan(flat)
        normal = module.normalised(flat, seen)
        squared = (module.network(normal) - normal) ** 2 * seen
        total += squared.reshape(shape).sum(dim=0, dtype=torch.float64)
        cells += seen.reshape(shape).sum(dim=0)
    return total, cells


def _error(module: AutoencoderModule, windows: Windows) -> float:
    """Mean squared error in units of the normalised values: 1 is what answering with the mean would give."""
    total, cells = _squared_errors(module, windows)
    return float(total.sum() / cells.sum().clamp(min=1))


def _usual_error(module: AutoencoderModule, windows: Windows) -> Tensor:
    """(F,) the mean squared error of each feature; 1 where none was seen."""
    total, cells = _squared_errors(module, windows)
    usual = torch.where(cells > 0, total / cells.clamp(min=1), 1.0)
    return torch.clamp(usual, min=_ERROR_FLOOR).float()
