"""The one training loop: a module, its loss and windows become its best weights, and the curve that led there.

AdamW (Loshchilov and Hutter, ICLR 2019) with one rise and fall of the learning rate and clipped gradients (Pascanu et
al., On the Difficulty of Training Recurrent Neural Networks, ICML 2013), stopped early by the validation windows.
Knows no family and no score.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from export.detector import OnEpoch, Round
from export.windows import Windows

# Chosen on public machine data with one setting for all: see docs/training.md for what each was worth.
WEIGHT_DECAY = 1e-4
_BATCH = 256
_LEARNING_RATE = 3e-3
_STEEPEST = 1.0  # norm of the gradient: one steep batch while the rate is high, and all units may fall silent for good
_ENOUGH_STEPS = 800
_MOST_EPOCHS = 200
_STEPS_A_ROUND = 50
_PATIENCE_ROUNDS = 4
_LEAST_IMPROVEMENT = 0.003
ROUND_WINDOWS = 4096  # of the validation part, each round


Loss = Callable[[Tensor, torch.Generator], Tensor]
"""Windows (batch, W, F), and chance to hide and spoil some of them by, become () what is to be lowered."""

HeldBackError = Callable[[Windows], float]
"""What to stop by: the same figure whenever it is asked with the same weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """How a module is to learn."""

    epochs: int | None = None  # None = by the number of windows
    noise: float = 0.0  # the largest standard deviation, in z-scores
    weight_decay: float = WEIGHT_DECAY
    seed: int = 0


def learn(
    module: nn.Module,
    training: Windows,
    validation: Windows,
    *,
    loss: Loss,
    held_back_error: HeldBackError,
    lessons: Lessons,
    on_epoch: OnEpoch,
) -> tuple[Round, ...]:
    """Trains in place and keeps the weights that were best on the validation windows; returns the curve."""
    steps_an_epoch = -(-len(training) // _BATCH)
    planned = lessons.epochs or min(max(-(-_ENOUGH_STEPS // steps_an_epoch), 1), _MOST_EPOCHS)
    watched = validation.spread(ROUND_WINDOWS)
    best = _Best(module, held_back_error(watched))
    step = _Step(module, loss, lessons, total=planned * steps_an_epoch)
    order = np.random.default_rng(lessons.seed)
    epochs_a_round = -(-_STEPS_A_ROUND // steps_an_epoch)
    curve = []
    for epoch in range(1, planned + 1):
        for places in np.array_split(order.permutation(len(training)), steps_an_epoch):
            step(torch.from_numpy(training.take(places)))
        if epoch % epochs_a_round == 0 or epoch == planned:
            curve.append(Round(epoch, step.mean_loss(), best.after(module, held_back_error(watched))))
            on_epoch(epoch, planned, curve[-1].validation)
            if best.rounds_since >= _PATIENCE_ROUNDS:
                break
    module.load_state_dict(best.weights)
    return tuple(curve)


class _Step:
    """One batch at a time towards a lower loss."""

    def __init__(self, module: nn.Module, loss: Loss, lessons: Lessons, *, total: int) -> None:
        self._module = module
        self._loss = loss
        self._optimizer = torch.optim.AdamW(module.parameters(), lr=_LEARNING_RATE, weight_decay=lessons.weight_decay)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, max_lr=_LEARNING_RATE, total_steps=total + 1
        )
        self._chance = torch.Generator().manual_seed(lessons.seed)
        self._losses: list[float] = []

    def __call__(self, window: Tensor) -> None:
        self._module.train()
        self._optimizer.zero_grad()
        loss = self._loss(window, self._chance)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(self._module.parameters(), _STEEPEST)
        self._optimizer.step()
        self._schedule.step()
        self._module.eval()
        self._losses.append(float(loss.detach()))

    def mean_loss(self) -> float:
        """Since it was last asked."""
        losses, self._losses = self._losses, []
        return sum(losses) / len(losses)


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
