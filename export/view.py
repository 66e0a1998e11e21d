"""A detector that looks at what is made of a window inside the graph: counts, ratios, sums over the last hour.

A view turns a window into one row of derived inputs, and leads blame and expectations back to the window's own cells.
Between the two stands any detector of rows. Knows no family and no view.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import Tensor, nn

from export.detector import Detector, Fitted, OnEpoch
from export.windows import Windows

_AT_ONCE = 4096


class Told(NamedTuple):
    """What a detector says of derived inputs, of the window's cells; both (batch, W, F)."""

    blame: Tensor
    expected: Tensor  # NaN where it has no opinion


class View(nn.Module):
    """What is seen of a window.

    `derived(window, elapsed)` gives (batch, D) in any units, NaN where nothing is known; `told_back` answers to them.
    """

    names: tuple[str, ...]  # (D,)

    def derived(self, window: Tensor, elapsed: Tensor | None) -> Tensor:
        """(batch, D) of windows (batch, W, F) and, where they are known, seconds (batch, W)."""
        raise NotImplementedError

    def told_back(self, window: Tensor, blame: Tensor, expected: Tensor) -> Told:
        """Blame and expectation of the derived inputs, (batch, D) each, as those of the window's cells."""
        raise NotImplementedError


class ViewedModule(nn.Module):
    """As export.detector.Fitted asks for."""

    def __init__(self, view: View, detector: nn.Module) -> None:
        super().__init__()
        self.view, self.detector = view, detector

    def forward(self, window: Tensor, elapsed: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, W, F) in input units -> raw score (batch,), blame and expected (batch, W, F)."""
        raw, blame, expected = self.detector(self.view.derived(window, elapsed).unsqueeze(1))
        told = self.view.told_back(window, blame.squeeze(1), expected.squeeze(1))
        return raw, told.blame, told.expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewed:
    """A detector behind a view; both are made once the training rows are known."""

    family: str
    view: Callable[[NDArray[np.float32]], View]  # of the training rows (r, F)
    detector: Callable[[Sequence[str]], Detector]  # of the names of the derived inputs
    hyperparameters: Callable[[View], dict[str, JsonValue]]

    def fit(
        self, training: Windows, validation: Windows, *, training_rows: NDArray[np.float32], on_epoch: OnEpoch
    ) -> Fitted:
        """See Detector."""
        view = self.view(training_rows).eval()
        seen, held_back = through(view, training), through(view, validation)
        fitted = self.detector(view.names).fit(seen, held_back, training_rows=seen.rows, on_epoch=on_epoch)
        return replace(
            fitted,
            module=ViewedModule(view, fitted.module).eval(),
            hyperparameters={**self.hyperparameters(view), **fitted.hyperparameters},
        )


@torch.no_grad()
def through(view: View, windows: Windows) -> Windows:
    """The same windows as the detector behind the view sees them: one row of derived inputs each."""
    rows = np.empty((len(windows), len(view.names)), dtype=np.float32)
    for places in np.array_split(np.arange(len(windows)), -(-len(windows) // _AT_ONCE)):
        window, *elapsed = map(torch.from_numpy, windows.inputs(places).values())
        rows[places] = view.derived(window, elapsed[0] if elapsed else None).numpy()
    return Windows(rows=rows, last=np.arange(len(rows)), length=np.ones(len(rows), dtype=np.int64), window=1)
