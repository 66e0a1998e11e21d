"""What the data say of the window, where the user says nothing: docs/quality.md tells why these rules and no others."""

import bisect

import numpy as np
from numpy.typing import NDArray

from export.errors import UsageError
from export.split import rows_by_part
from export.training_config import TrainingConfig
from export.windows import Parts

FEWEST_WINDOWS = {"training": 50, "validation": 10, "calibration": 50}
"""Fewer than these leave the network, the early stop or the p-value without ground."""

FEWEST_EVENTS = {"training": 50, "validation": 7, "calibration": 14}
"""The same for events that stand alone: neighbouring windows share most of their rows, such events share nothing."""

_ONE_FEATURE_ROWS, _MANY_FEATURES_ROWS = 96, 64
_SHORTER_ROWS = (96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 2)


_PAST_ROWS = 64  # of an entity's events, to compare one with; lines of a log that are counted together
_DERIVED = ("ratios", "rolling")
_PAST_AT_LEAST = 4  # events of the median entity: fewer are no past
_MOST_TIMES_THE_ROWS = 100_000  # a single row grown by so much fills every part, whatever the window


def recommended(config: TrainingConfig, rows_of_entity: NDArray[np.int64], *, features: int) -> TrainingConfig:
    """The settings with all that the data choose: what is derived, then the window."""
    return with_window(_with_derivations(config, rows_of_entity), rows_of_entity, features=features)


def _with_derivations(config: TrainingConfig, rows_of_entity: NDArray[np.int64]) -> TrainingConfig:
    """Events that stand alone but belong to someone are compared with the others of theirs."""
    is_open = config.derive is None and config.kind == "tabular" and config.window is None
    if not is_open or config.entity is None or np.median(rows_of_entity) < _PAST_AT_LEAST:
        return config
    return config.model_copy(update={"derive": list(_DERIVED)})


def with_window(config: TrainingConfig, rows_of_entity: NDArray[np.int64], *, features: int) -> TrainingConfig:
    """The settings with a window: the user's, else one row for events that stand alone, else `sensor_window`.

    Raises UsageError where it cannot hold `min_length` rows.
    """
    if config.window is not None:
        return config
    if config.event_kind != "sensor":
        window = _PAST_ROWS if config.event_kind == "log" or config.derivations else 1
        if (config.min_length or 1) > window:
            raise UsageError(f"--min-length {config.min_length} is more than the window's {window} rows: lower it.")
        return config.model_copy(update={"window": window})
    return config.model_copy(
        update={"window": sensor_window(rows_of_entity, features=features, least=config.min_length)}
    )


def fewest_windows(window: int) -> dict[str, int]:
    """Windows of so many rows that each part must have."""
    return FEWEST_EVENTS if window == 1 else FEWEST_WINDOWS


def lets_all_train(parts: Parts) -> bool:
    """Whether events stand alone and are so few that a part held back of them would calibrate nothing."""
    return parts.calibration.window == 1 and len(parts.calibration) < FEWEST_WINDOWS["calibration"]


def sensor_window(rows_of_entity: NDArray[np.int64], *, features: int, least: int | None) -> int:
    """96 rows of one feature, 64 of several; where entities are short the longest window that leaves enough of them.

    Args:
        rows_of_entity: (entities,)
        features: F.
        least: Rows that a window must be able to hold.
    """
    longest = max(_ONE_FEATURE_ROWS if features == 1 else _MANY_FEATURES_ROWS, least or 1)
    fitting = [longest, *(rows for rows in _SHORTER_ROWS if (least or 1) <= rows < longest)]
    typical = float(np.median(rows_of_entity))
    return next(
        (
            rows
            for rows in fitting
            if rows <= typical and _leaves_enough(rows_of_entity, window=rows, warm_length=rows // 2)
        ),
        fitting[-1],
    )


def remedy(config: TrainingConfig, rows_of_entity: NDArray[np.int64]) -> str:
    """What to do where a part has too few windows: only what would help, by the numbers of rows.

    Args:
        config: With its window chosen.
        rows_of_entity: (entities,)
    """
    if _is_enough(config, rows_of_entity):  # so it is not their number
        return _leave_more(config, rows=int(rows_of_entity.sum()))
    needed = _rounded_up(_rows_needed(config, rows_of_entity))
    ways = [f"give about {needed:,} rows{' in all' if len(rows_of_entity) > 1 else ''}"]
    lengths = () if config.kind in {"tabular", "image"} else _SHORTER_ROWS  # of those kinds none is to be chosen
    shorter = (rows for rows in lengths if (config.min_length or 1) <= rows < config.window_rows)
    window = next((rows for rows in shorter if _is_enough(_with(config, window=rows), rows_of_entity)), None)
    if window is not None:
        ways.append(f"--window {window} (now {config.window_rows})")
    if config.min_length is not None and _is_enough(_with(config, min_length=None), rows_of_entity):
        ways.append(f"leave --min-length {config.min_length} out")
    return ", or ".join(ways)


def _leave_more(config: TrainingConfig, *, rows: int) -> str:
    takers = {
        "--max-gap": config.max_gap is not None,
        "--exclude-ranges": config.exclude_ranges is not None,
        "--max-windows": rows > config.max_windows,
    }
    taking = [option for option, takes in takers.items() if takes]
    return f"let {' and '.join(taking)} leave more of them" if taking else "give more data"


def _with(config: TrainingConfig, **settings: int | None) -> TrainingConfig:
    return config.model_copy(update=settings)


def _rows_needed(config: TrainingConfig, rows_of_entity: NDArray[np.int64]) -> int:
    """Rows of as many entities, each as much longer than it is, that fill every part."""

    def grown(percent: int) -> NDArray[np.int64]:
        return -(-rows_of_entity * percent // 100)

    percents = range(100, 100 * _MOST_TIMES_THE_ROWS)
    place = bisect.bisect_left(percents, x=True, key=lambda percent: _is_enough(config, grown(percent)))
    return int(grown(percents[place]).sum())


def _rounded_up(number: int) -> int:
    """To two digits."""
    unit: int = 10 ** max(len(str(number)) - 2, 0)
    return -(-number // unit) * unit


def _is_enough(config: TrainingConfig, rows_of_entity: NDArray[np.int64]) -> bool:
    return _leaves_enough(rows_of_entity, window=config.window_rows, warm_length=config.warm_length)


def _leaves_enough(rows_of_entity: NDArray[np.int64], *, window: int, warm_length: int) -> bool:
    counts = (rows_by_part(rows_of_entity, window) - warm_length + 1).clip(min=0).sum(axis=0)
    return bool((counts >= np.array(list(fewest_windows(window).values()))).all())
