"""Prototypes: the nearest ones rebuild a window, feature by feature, and no tie is broken by rounding."""

import numpy as np
import torch

from export.learning import Lessons
from export.prototypes import PrototypeModule
from export.reconstruction import Frame
from export.windows import Windows


def taught(rows: np.ndarray, *, window: int = 1, step: int = 1, count: int = 64) -> PrototypeModule:
    features = rows.shape[1]
    frame = Frame(window=window, mean=np.zeros(features, np.float32), scale=np.ones(features, np.float32))
    module = PrototypeModule(frame, Lessons(), count=count)
    last = np.arange(window - 1, len(rows), step)
    windows = Windows(rows=rows.astype(np.float32), last=last, length=np.full(len(last), window), window=window)
    module.teach(windows, windows, lambda *_: None)
    return module.requires_grad_(requires_grad=False).eval()


def with_prototypes(prototypes: torch.Tensor) -> PrototypeModule:
    """(k, F) of single rows."""
    module = taught(np.zeros((8, prototypes.shape[1])))
    module.prototypes = prototypes[None]
    return module


def test_rows_that_are_seen_again_are_rebuilt_and_others_by_the_nearest() -> None:
    states = torch.tensor([[0.0, 0.0], [1.0, -1.0], [3.0, 2.0]])
    module = taught(np.repeat(states.numpy(), 200, axis=0))
    torch.testing.assert_close(module(states[:, None])[2][:, 0], states, atol=1e-3, rtol=0)
    torch.testing.assert_close(module(torch.tensor([[[9.0, 8.0]]]))[2][0, 0], states[2], atol=1e-3, rtol=0)


def test_of_two_that_are_as_near_both_count_whatever_rounding_says() -> None:
    module = with_prototypes(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-9.0, -9.0]]))
    between = torch.zeros(3, 1, 2)
    between[1, 0, 0], between[2, 0, 1] = 1e-6, 1e-6  # what two runtimes may differ by
    raw, blame, expected = module(between)
    torch.testing.assert_close(expected[:, 0], torch.full((3, 2), 0.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(blame[1:], blame[:1].expand(2, -1, -1), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(raw[1:], raw[:1].expand(2), atol=0, rtol=1e-4)


def test_far_away_the_nearer_of_two_is_told_by_its_share_of_the_distance() -> None:
    module = with_prototypes(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    _, _, expected = module(torch.tensor([[[20.0, 20.0]], [[20.0, 10.0]]]))
    torch.testing.assert_close(expected[0, 0], torch.tensor([0.5, 0.5]), atol=1e-3, rtol=0)
    torch.testing.assert_close(expected[1, 0], torch.tensor([1.0, 0.0]), atol=0.05, rtol=0)


def test_each_features_course_is_known_whatever_the_others_do() -> None:
    courses = np.random.default_rng(0).normal(size=(3, 8, 2)).astype(np.float32)  # of 8 rows, for either feature
    module = taught(np.concatenate([courses[0], courses[1]] * 50), window=8, step=8)
    crossed = np.stack([courses[0, :, 0], courses[1, :, 1]], axis=1)  # each is known, never seen together
    known, foreign = module(torch.from_numpy(np.stack([crossed, courses[2]])))[0].tolist()
    assert module.prototypes.shape == (2, 25, 8)
    assert known < 0.01 * foreign


def test_many_features_have_fewer_prototypes_each() -> None:
    rows = np.random.default_rng(0).normal(size=(600, 200))
    assert taught(rows, window=2, count=1024).prototypes.shape == (200, 81, 2)
    assert taught(rows[:, :2], window=2, count=1024).prototypes.shape == (2, 149, 2)


def test_of_few_events_that_stand_alone_each_is_a_prototype() -> None:
    rows = np.random.default_rng(0).normal(size=(1200, 3))
    counts = [taught(rows[:few], count=1024).prototypes.shape[1] for few in (90, 256, 600, 1200)]
    assert counts == [90, 256, 256, 300]
    assert taught(rows[:90], count=20).prototypes.shape[1] == 20
