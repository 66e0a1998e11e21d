"""Prototypes: as many as there are different windows, and no two that only rounding tells apart."""

import numpy as np
import torch

from export.learning import Lessons
from export.prototypes import PrototypeModule
from export.reconstruction import Frame
from export.windows import Windows


def taught(rows: np.ndarray) -> PrototypeModule:
    frame = Frame(window=1, mean=np.zeros(2, np.float32), scale=np.ones(2, np.float32))
    module = PrototypeModule(frame, Lessons(), count=64)
    count = len(rows)
    windows = Windows(
        rows=rows.astype(np.float32), last=np.arange(count), length=np.ones(count, dtype=np.int64), window=1
    )
    module.teach(windows, windows, lambda *_: None)
    return module


def test_rows_that_stand_still_but_for_rounding_have_one_prototype_a_state() -> None:
    chance = np.random.default_rng(0)
    states = np.repeat([[0.0, 0.0], [1.0, -1.0], [3.0, 2.0]], 200, axis=0)
    module = taught(states + chance.normal(scale=1e-4, size=states.shape))
    found = module.prototypes[module.prototypes[:, 0].argsort()]
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0], [1.0, -1.0], [3.0, 2.0]]), atol=1e-3, rtol=0)


def test_rows_that_differ_keep_all_of_theirs() -> None:
    module = taught(np.random.default_rng(0).normal(size=(600, 2)))
    assert len(module.prototypes) == 64
