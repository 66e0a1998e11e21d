"""Labels and scores in, how well the scores order the rows out. Knows neither thresholds nor time.

Equal scores stand at one place of the order: no figure depends on how they happen to be sorted.
"""

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


def auroc(label: Bool, score: Float64, *, weight: Float64 | None = None) -> float:
    """The chance that an anomalous row scores above a normal one, a tie being half of it.

    Hanley and McNeil, "The meaning and use of the area under a ROC curve", Radiology 143, 1982.

    Args:
        label: (n,) anomalous rows.
        score: (n,) high = anomalous.
        weight: (n,) how many rows each stands for; 1 by default.

    Raises:
        ValueError: only one kind of row is there, or a score is not finite.
    """
    found, false = _counts(label, score, weight)
    recall, false_positive_rate = np.r_[0.0, found / found[-1]], np.r_[0.0, false / false[-1]]
    return float(np.diff(false_positive_rate) @ (recall[1:] + recall[:-1]) / 2)


def average_precision(label: Bool, score: Float64, *, weight: Float64 | None = None) -> float:
    """The mean of the precision over the recall, as steps: sum of (R_n - R_{n-1}) * P_n over the distinct scores.

    Buckley and Voorhees, "Evaluating evaluation measure stability", SIGIR 2000. Arguments and errors as in `auroc`.
    """
    found, false = _counts(label, score, weight)
    recall = found / found[-1]
    return float(np.diff(recall, prepend=0.0) @ (found / (found + false)))


def precision_recall(label: Bool, score: Float64) -> tuple[Float64, Float64]:
    """Recall and precision, (k,) each, at every distinct score, the highest first. Errors as in `auroc`."""
    found, false = _counts(label, score, None)
    return found / found[-1], found / (found + false)


def recall_at(label: Bool, score: Float64, *, false_positive_rate: float, weight: Float64 | None = None) -> float:
    """The largest share of anomalous rows above a threshold that at most this share of the normal rows reaches.

    Nothing is interpolated: it is a recall that some threshold has. Other arguments and errors as in `auroc`.
    """
    found, false = _counts(label, score, weight)
    allowed = false / false[-1] <= false_positive_rate
    return float((found / found[-1])[allowed].max(initial=0.0))


def weights_of_prior(label: Bool, prior: float) -> Float64:
    """(n,) weights by which anomalous rows have the share `prior` of all: an anomalous row stays 1.

    Where a test set holds more, or fewer, anomalies than operation does. At least one row of each kind is needed.
    """
    anomalous = int(label.sum())
    normal = len(label) - anomalous
    return np.where(label, 1.0, anomalous * (1 - prior) / (prior * normal))


def _counts(label: Bool, score: Float64, weight: Float64 | None) -> tuple[Float64, Float64]:
    """Anomalous and normal rows at or above each distinct score, highest first."""
    if not label.any() or label.all():
        raise ValueError("an order is judged by rows of both kinds, normal and anomalous")
    if not np.isfinite(score).all():
        raise ValueError("every score must be finite")
    order = np.argsort(-score, kind="stable")
    last_of_equals = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    counted = np.ones(len(label)) if weight is None else weight[order]
    anomalous = label[order]
    return np.cumsum(counted * anomalous)[last_of_equals], np.cumsum(counted * ~anomalous)[last_of_equals]
