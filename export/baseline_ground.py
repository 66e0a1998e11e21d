"""What the baselines of `evaluate` learn from: the files the model was trained on, or else the oldest labelled rows.

Labels play no part in it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.dataset import Dataset
from export.labelled import LabelledRows
from export.windows import Windows, cut, every_window
from schemas.manifest import Manifest

OLDEST_SHARE = 0.3
"""Of each entity's labelled rows, where the training data are not at hand."""

_MOST_WINDOWS = 20_000  # plain detectors gain nothing from more


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Windows to learn from, and rows to take statistics from."""

    windows: Windows
    rows: NDArray[np.float32]  # (r, F)
    told: str  # how a sentence names it


def ground_of_training(dataset: Dataset, manifest: Manifest, on_rows: Callable[[int, int | None], None]) -> Ground:
    """The part of these files that `train` learns from. Raises DataError as `Dataset` does."""
    survey = dataset.survey(lambda rows: on_rows(rows, None))
    sample = dataset.sample(
        survey, window=manifest.window, max_windows=_MOST_WINDOWS, on_rows=lambda rows: on_rows(rows, survey.rows)
    )
    parts = cut(sample, window=manifest.window, min_length=manifest.min_length, max_gap_ms=manifest.max_gap_ms)
    is_the_models = survey.sha256 == manifest.training.sha256
    return Ground(
        windows=parts.training,
        rows=parts.training_rows,
        told="what the model was trained on" if is_the_models else "other data than the model was trained on",
    )


def ground_of_labelled(rows: LabelledRows, manifest: Manifest) -> Ground:
    """The oldest rows of every entity."""
    sample = rows.sample
    windows = every_window(sample, window=manifest.window, max_gap_ms=manifest.max_gap_ms)
    oldest = sample.position < OLDEST_SHARE * sample.rows_of_entity[sample.entity]
    kept = np.flatnonzero(oldest & (windows.length >= manifest.min_length))
    return Ground(
        windows=Windows(
            rows=windows.rows, last=windows.last[kept], length=windows.length[kept], window=manifest.window
        ),
        rows=sample.features[oldest],
        told=f"the oldest {OLDEST_SHARE * 100:g} % of these rows",
    )
