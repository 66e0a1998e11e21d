"""What an event's own past says of it: the inputs that `--derive` names, made of a window inside the graph.

All are causal: an event is compared with those of its entity before it and with itself. The window's own median stands
for what is usual, not its mean: the very outliers that are looked for would draw a mean towards them. Aggregates over
the last hour, day and week follow Whitrow et al., Transaction Aggregation as a Strategy for Credit Card Fraud
Detection, Data Mining and Knowledge Discovery 2009.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.view import Told, View

DERIVATIONS = ("differences", "ratios", "rolling", "velocities")
"""What `--derive` takes, in the order in which the inputs stand."""
SPANS_S = {"1h": 3_600.0, "24h": 86_400.0, "7d": 604_800.0}

_USUAL_SHARE = 0.05  # of a feature's usual size: nothing is divided by less
_FARTHEST = 1e30  # stands for a missing value while values are sorted


class DerivedInputs(View):
    """The event's own features, then what is derived of each."""

    least: Tensor  # (F,) the smallest divisor
    culprit: Tensor  # (D, F) to which features the blame of a derived input goes

    def __init__(self, features: Sequence[str], derive: Sequence[str], least: NDArray[np.float32]) -> None:
        super().__init__()
        self.derive = tuple(name for name in DERIVATIONS if name in derive)
        self.names = derived_names(features, derive)
        self.features = len(features)
        self.register_buffer("least", torch.from_numpy(least))
        self.register_buffer("culprit", torch.tensor([_culprits(name, features) for name in self.names]))

    def derived(self, window: Tensor, elapsed: Tensor | None) -> Tensor:
        """See View."""
        seen = ~torch.isnan(window)
        values = torch.where(seen, window, 0.0)
        parts = [window[:, -1]]
        for derivation in self.derive:
            if derivation == "differences":
                parts.append(_differences(window))
            elif derivation == "ratios":
                parts.append(self._ratios(window, seen))
            elif derivation == "rolling":
                parts.extend(_rolling(values, seen))
            elif elapsed is not None:
                parts.extend(_velocities(values, elapsed))
        return torch.cat(parts, dim=1)

    def told_back(self, window: Tensor, blame: Tensor, expected: Tensor) -> Told:
        """Whatever was derived of a feature is blamed on the event's own value; of the past there is no opinion."""
        past = torch.zeros_like(window[:, :-1])
        return Told(
            blame=torch.cat((past, (blame @ self.culprit).unsqueeze(1)), dim=1),
            expected=torch.cat((past + torch.nan, expected[:, : self.features].unsqueeze(1)), dim=1),
        )

    def _ratios(self, window: Tensor, seen: Tensor) -> Tensor:
        """(batch, F) the event's value over the window's median."""
        middle = _median(window, seen).abs()
        return window[:, -1] / torch.maximum(middle, self.least)


def derived_names(features: Sequence[str], derive: Sequence[str]) -> tuple[str, ...]:
    """(D,) what the detector behind the view is shown."""
    wanted = (derivation for derivation in DERIVATIONS if derivation in derive)
    return (*features, *(name for derivation in wanted for name in _names(derivation, features)))


def least_divisors(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(F,) of training rows (r, F): a share of each feature's usual size, never 0."""
    size = np.nan_to_num(np.nanmean(np.abs(rows), axis=0, dtype=np.float64))
    return np.asarray(np.maximum(_USUAL_SHARE * size, 1e-6), dtype=np.float32)


def _names(derivation: str, features: Sequence[str]) -> list[str]:
    if derivation == "differences":
        return [f"{name}: change" for name in features]
    if derivation == "ratios":
        return [f"{name}: over its median" for name in features]
    if derivation == "rolling":
        return [f"{name}: {what}" for what in ("mean", "deviation") for name in features]
    sums = [f"{name}: sum of {span}" for span in SPANS_S for name in features]
    return [*(f"events of {span}" for span in SPANS_S), *sums]


def _culprits(name: str, features: Sequence[str]) -> list[float]:
    """(F,) the shares of the features in a derived input; of a number of events all alike."""
    own = [float(name == feature or name.startswith(f"{feature}: ")) for feature in features]
    return [share / sum(own) for share in own] if any(own) else [1 / len(features)] * len(features)


def _differences(window: Tensor) -> Tensor:
    """(batch, F) the last row less the one before it."""
    return window[:, -1] - window[:, -2]


def _median(window: Tensor, seen: Tensor) -> Tensor:
    """(batch, F) the lower median of the values that are there; 0 where there is none."""
    ordered = torch.sort(torch.where(seen, window, _FARTHEST), dim=1).values
    middle = ((seen.sum(dim=1, keepdim=True) - 1) // 2).clamp(min=0)
    value = torch.gather(ordered, 1, middle).squeeze(1)
    return torch.where(seen.any(dim=1), value, 0.0)


def _rolling(values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """(batch, F) mean and standard deviation of the window; NaN where nothing is there."""
    known = seen.to(values.dtype)
    count = known.sum(dim=1)
    mean = values.sum(dim=1) / count.clamp(min=1.0)
    variance = ((values - mean.unsqueeze(1)) ** 2 * known).sum(dim=1) / count.clamp(min=1.0)
    return torch.where(count > 0, mean, torch.nan), torch.where(count > 0, torch.sqrt(variance), torch.nan)


def _velocities(values: Tensor, elapsed: Tensor) -> list[Tensor]:
    """(batch, 1) for each span the number of events in it, then (batch, F) for each the sums."""
    within = [(elapsed <= span).to(values.dtype) for span in SPANS_S.values()]  # NaN is in none
    counts = [each.sum(dim=1, keepdim=True) for each in within]
    return [*counts, *((values * each.unsqueeze(2)).sum(dim=1) for each in within)]
