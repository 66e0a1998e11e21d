"""Windows that show a detector's every side: full, with holes, still filling, empty, far beyond anything seen."""

import numpy as np

from export.windows import Inputs, Windows
from schemas.artifact import ELAPSED, ENTITY, WINDOW

_PROBED_WINDOWS = 600


def golden_inputs(windows: Windows, *, min_length: int) -> Inputs:
    """Inputs by the contract's names, 8 of each: two as they are, then one of each kind, made from others."""
    inputs = windows.spread(8).inputs(np.resize(np.arange(min(8, len(windows))), 8))
    values = inputs[WINDOW]
    values[2, ::2, 0] = np.nan  # holes in one feature
    _still_filling(inputs, 3, min_length)
    _still_filling(inputs, 4, 1)
    values[5, -1] = np.nan  # nothing known of the scored row
    values[6] = np.nan
    span = np.nanmax(values, axis=(0, 1), initial=0.0, where=~np.isnan(values)) - np.nanmin(
        values, axis=(0, 1), initial=0.0, where=~np.isnan(values)
    )
    values[7, -1] = np.nan_to_num(values[7, -1]) + 10 * (span + 1)
    _of_a_stranger(inputs, slice(1, 2))
    return inputs


def probing_inputs(windows: Windows, *, min_length: int, seed: int) -> Inputs:
    """For the parity gate: the golden ones, and many more of which some have holes and some still fill."""
    few = windows.spread(_PROBED_WINDOWS)
    inputs = few.inputs(np.arange(len(few)))
    values = inputs[WINDOW]
    chance = np.random.default_rng(seed)
    values[1::3][chance.random(values[1::3].shape) < 0.1] = np.nan
    for place in range(2, len(values), 3):
        _still_filling(inputs, place, int(chance.integers(1, windows.window + 1)))
    _of_a_stranger(inputs, slice(None, None, 5))
    golden = golden_inputs(windows, min_length=min_length)
    return {name: np.concatenate((golden[name], of_many)) for name, of_many in inputs.items()}


def _still_filling(inputs: Inputs, place: int, rows: int) -> None:
    """Of this window only so many rows have been seen."""
    for name in inputs.keys() & {WINDOW, ELAPSED}:
        inputs[name][place, : inputs[name].shape[1] - rows] = np.nan


def _of_a_stranger(inputs: Inputs, places: slice) -> None:
    """These windows' entities are unknown."""
    if ENTITY in inputs:
        inputs[ENTITY][places] = 0
