"""Each row's place in its entity becomes its part: training, validation or calibration. Knows no values.

The oldest 70 % of an entity's rows train, the next 10 % stop the training early, the newest 20 % calibrate: the p-value
is learned on rows the network has not seen, and on those nearest to what comes next. Entities too short to be divided
are held back whole, in turn.
"""

import numpy as np
from numpy.typing import NDArray

TRAINING, VALIDATION, CALIBRATION = 0, 1, 2
EXCLUDED = -1  # of no part

_TRAINING_SHARE = 0.7
_VALIDATION_SHARE = 0.1
# Of ten short entities in a row: seven, one and two, spread so that a few entities already fill every part.
_TURNS = np.array(
    [TRAINING, CALIBRATION, TRAINING, VALIDATION, TRAINING, TRAINING, CALIBRATION, TRAINING, TRAINING, TRAINING],
    dtype=np.int8,
)
# A part shorter than this many windows' rows would hold few full windows.
_WINDOWS_A_PART = 2


def _whole_entity_part(rows: NDArray[np.int64], window: int) -> NDArray[np.int8]:
    """(entities,) the part of each entity that is taken whole, -1 where it is divided."""
    calibration_share = 1 - _TRAINING_SHARE - _VALIDATION_SHARE
    short = rows * calibration_share < _WINDOWS_A_PART * window
    part = np.full(len(rows), -1, dtype=np.int8)
    if np.count_nonzero(short) >= len(_TURNS):
        part[short] = np.resize(_TURNS, np.count_nonzero(short))
    return part


def part_of(
    *, entity: NDArray[np.int32], position: NDArray[np.int64], rows: NDArray[np.int64], window: int
) -> NDArray[np.int8]:
    """(n,) the part of each row.

    Args:
        entity: (n,) which entity, a place in `rows`.
        position: (n,) the row's place in its entity, 0 = the oldest.
        rows: (entities,) rows of each entity.
        window: W.
    """
    share = position / rows[entity]
    by_time = np.where(
        share < _TRAINING_SHARE,
        TRAINING,
        np.where(share < _TRAINING_SHARE + _VALIDATION_SHARE, VALIDATION, CALIBRATION),
    ).astype(np.int8)
    whole = _whole_entity_part(rows, window)[entity]
    return np.where(whole >= 0, whole, by_time).astype(np.int8)


def rows_by_part(rows: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """(entities, 3) how many rows of each entity `part_of` gives to training, validation and calibration."""
    shares = np.array([0, _TRAINING_SHARE, _TRAINING_SHARE + _VALIDATION_SHARE, 1])
    counts: NDArray[np.int64] = np.diff(np.ceil(rows[:, None] * shares).astype(np.int64), axis=1)
    whole = _whole_entity_part(rows, window)
    counts[whole >= 0] = np.where(whole[whole >= 0, None] == np.arange(3), rows[whole >= 0, None], 0)
    return counts
