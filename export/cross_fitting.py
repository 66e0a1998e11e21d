"""Few events that stand alone in, raw scores to calibrate by out, though none is held back for it from the training.

What calibrates must be scores of events that the detector has not seen. So beside it some others are trained by the
same settings, each without a part of the events, and score that part: cross-conformal prediction (Vovk, Annals of
Mathematics and Artificial Intelligence 2015), of which Barber et al. (Predictive Inference with the Jackknife+, Annals
of Statistics 2021) tell what holds. They have seen fewer events than the detector whose scores theirs stand for, so it
raises rather fewer alarms than promised. What stops the training early, and tells which error is usual, all of them
share; it calibrates nothing.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from export.detector import Detector, OnEpoch, raw_scores
from export.windows import Parts

FOLDS = 5
"""With a tenth for the early stop each of them sees 72 % of the events, as many as where a part is held back."""


def joined(parts: Parts) -> Parts:
    """The same events, but what was to be held back for the calibration trains, too, and what trains calibrates."""
    kept = parts.training
    last = np.sort(np.concatenate((kept.last, parts.calibration.last)))
    every = replace(kept, last=last, length=np.ones(len(last), dtype=np.int64))
    return replace(parts, training=every, calibration=every, training_rows=every.rows[last], folds=FOLDS)


def left_out_scores(detector: Detector, parts: Parts, on_epoch: OnEpoch) -> NDArray[np.float32]:
    """(m,) of each calibration window by a detector that was trained without it.

    Those that are left out together stand side by side: what was recorded one after the other is often alike, and
    would be known from its neighbour.
    """
    places = np.arange(len(parts.training))
    scores = []
    for left_out in np.array_split(places, parts.folds):
        rest = parts.training.at(np.setdiff1d(places, left_out))
        fitted = detector.fit(rest, parts.validation, training_rows=rest.rows[rest.last], on_epoch=on_epoch)
        scores.append(raw_scores(fitted.module, parts.calibration.at(left_out)))
    return np.concatenate(scores)
