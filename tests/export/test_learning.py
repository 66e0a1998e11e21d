"""The training loop, with a module so small that its best weight is known."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.learning import Lessons, learn
from export.windows import Windows

SEEN = Windows(rows=np.zeros((256, 1), np.float32), last=np.arange(256), length=np.ones(256, np.int64), window=1)


class Number(nn.Module):
    """Learns to be 1; held back it should rather be 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))

    def loss(self, window: Tensor, chance: torch.Generator) -> Tensor:
        return (self.value - 1) ** 2 + 0 * window.sum()

    def held_back_error(self, windows: Windows) -> float:
        return float((self.value - 0.5).detach() ** 2)


def learnt(lessons: Lessons) -> tuple[Number, tuple[tuple[int, float, float], ...], list[int]]:
    module, told = Number(), []
    curve = learn(
        module,
        SEEN,
        SEEN,
        loss=module.loss,
        held_back_error=module.held_back_error,
        lessons=lessons,
        on_epoch=lambda done, planned, error: told.append(done),
    )
    return module, curve, told


def test_it_stops_when_the_validation_error_no_longer_falls_and_keeps_the_best() -> None:
    module, curve, told = learnt(Lessons(epochs=5000))
    assert curve[-1].epoch < 5000
    best = min(curve, key=lambda point: point.validation)
    assert curve.index(best) == len(curve) - 1 - 4  # rounds of patience
    assert module.held_back_error(SEEN) == best.validation
    assert told == [point.epoch for point in curve]


def test_the_curve_tells_the_training_loss_of_each_round() -> None:
    _, curve, _ = learnt(Lessons(epochs=200))
    assert [point.epoch for point in curve] == [50, 100, 150, 200]
    assert all(later.training < earlier.training for earlier, later in pairwise(curve))


def test_weight_decay_holds_weights_near_to_zero() -> None:
    (free, _, _), (held, _, _) = (learnt(Lessons(epochs=400, weight_decay=decay)) for decay in (0.0, 1.0))
    assert held.value < free.value


def test_a_steep_batch_does_not_throw_the_weights() -> None:
    module = Number()
    learn(
        module,
        SEEN,
        SEEN,
        loss=lambda window, chance: 1e6 * module.loss(window, chance),
        held_back_error=module.held_back_error,
        lessons=Lessons(epochs=3),
        on_epoch=lambda done, planned, error: None,
    )
    assert module.value.grad is not None
    assert abs(float(module.value.grad)) == pytest.approx(1.0, abs=1e-4)
