"""Several detectors as one, some of which look at the newest rows alone."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.detector import Fitted
from export.ensemble import Ensemble, Member
from export.windows import Windows


class Sum(nn.Module):
    """Its raw score is the sum of all that it sees, times a factor; each cell is blamed for itself."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.factor * window.sum(dim=(1, 2)), window, window + self.factor


@dataclass
class Summing:
    """A detector that has nothing to learn."""

    factor: float
    family: str = "sum"

    def fit(self, training: Windows, validation: Windows, **rest: object) -> Fitted:
        return Fitted(
            module=Sum(self.factor),
            hyperparameters={"rows": training.window, "factor": self.factor},
            training_error=self.factor,
            validation_error=self.factor,
            remarks=("the same from both",),
        )


SEEN = Windows(rows=np.ones((40, 2), np.float32), last=np.arange(3, 40), length=np.full(37, 4), window=4)


def fitted(*members: Member) -> Fitted:
    return Ensemble(members=members).fit(SEEN, SEEN, training_rows=SEEN.rows, on_epoch=lambda *_: None)


def test_the_raw_score_is_the_sum_of_the_logarithms_whatever_the_scales() -> None:
    module = fitted(Member(detector=Summing(1.0, "a"), rows=4), Member(detector=Summing(1000.0, "b"), rows=2)).module
    raw, _, _ = module(torch.ones(1, 4, 2))
    torch.testing.assert_close(raw, torch.tensor([2 * np.log(2)], dtype=torch.float32))  # both at their usual score


def test_a_member_with_a_short_view_is_blamed_on_the_newest_rows_alone() -> None:
    module = fitted(Member(detector=Summing(1.0), rows=4), Member(detector=Summing(5.0, "short"), rows=1)).module
    raw, blame, expected = module(torch.ones(1, 4, 2))
    assert blame.sum().item() == pytest.approx(raw.item())
    assert blame[0, :3].flatten().tolist() == pytest.approx([np.log(2) / 8] * 6)
    assert blame[0, 3].tolist() == pytest.approx([np.log(2) / 8 + np.log(2) / 2] * 2)
    torch.testing.assert_close(expected, torch.full((1, 4, 2), 2.0))  # the first member's


def test_each_member_tells_of_itself_and_a_remark_is_made_once() -> None:
    detector = Ensemble(members=(Member(detector=Summing(1.0), rows=4), Member(detector=Summing(5.0), rows=2)))
    found = detector.fit(SEEN, SEEN, training_rows=SEEN.rows, on_epoch=lambda *_: None)
    assert detector.family == "sum@4 + sum@2"
    assert found.hyperparameters == {"sum@4": {"rows": 4, "factor": 1.0}, "sum@2": {"rows": 2, "factor": 5.0}}
    assert (found.validation_error, found.remarks) == (1.0, ("the same from both",))


def test_a_member_that_is_never_wrong_has_no_rounding_magnified() -> None:
    module = fitted(Member(detector=Summing(1e-9), rows=4)).module
    raw, _, _ = module(torch.full((1, 4, 2), 1e5))  # 0.0008, where 8e-9 is usual: too faint to count
    assert 0 < raw.item() < 0.05
